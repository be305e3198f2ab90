"""The prediction log: what was answered is in a file first, outlives the process, and is in the lake once."""

import json
import os
import signal
import time
from pathlib import Path

import httpx
import polars as pl
import pytest

from raypipe.clock import ManualClock
from raypipe.contracts.logs import PREDICTIONS, opened
from raypipe.contracts.segment import Segment, frames, left, segments
from raypipe.errors import WorkspaceError
from raypipe.flows.collect import collect
from raypipe.lake import Lake
from raypipe.serving import log as module
from raypipe.serving.app import App
from raypipe.serving.engine import Engine
from raypipe.serving.keys import the_key
from raypipe.serving.log import Keyed, PredictionLog
from raypipe.serving.meter import Meter
from raypipe.serving.model import Served
from raypipe.spec import Log, Pipeline
from tests.processes import processes_with
from tests.serving.conftest import make_bundle
from tests.serving.reader import FakeReader
from tests.serving.test_parse import GOOD

AT = 1_372_640_400_000_000
SEED = Keyed(b"key")
PROCESSES = processes_with("tests.serving.test_log")


def logging_app(served: Served, folder: Path, meter: Meter | None = None) -> App:
    """An application that writes its answers into a folder."""
    meter = meter or Meter()
    log = PredictionLog(folder, SEED, ManualClock(1), lost=meter.unlogged)

    def open_recorder(model, fields):
        kept = model.pipeline.log
        names = model.pipeline.feature_names
        return log.recorder(kept, version=served.version, digest=served.digest, fields=fields, features=names)

    app = App("late", meter, clock=ManualClock(AT))
    app.hold(Engine(served, FakeReader, meter, open_recorder=open_recorder))
    return app


async def ask(app: App, body: object, id_: str) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        return await client.post("/late/predict", json=body, headers={"X-Request-Id": id_})


def asked(app: App, body: object, id_: str = "mine") -> dict[str, object]:
    import asyncio

    answer = asyncio.run(ask(app, body, id_))
    assert answer.status_code == 200, answer.text
    told: dict[str, object] = answer.json()
    return told


def everything(folder: Path) -> pl.DataFrame:
    return pl.concat([module.read(path, 0)[0] for path in segments(folder)])


def with_log(pipeline: Pipeline, **log: object) -> Pipeline:
    changed = object.__new__(Pipeline)
    for name, value in vars(pipeline).items():
        object.__setattr__(changed, name, value)
    object.__setattr__(changed, "log", Log(**log))
    return changed


def test_an_answer_is_in_the_log_as_it_was_given(served: Served, tmp_path: Path) -> None:
    app = logging_app(served, tmp_path)
    told = asked(app, {"rows": [GOOD, GOOD | {"carrier": "AA"}]})
    rows = everything(tmp_path)
    assert rows["score"].to_list() == [one["probability"] for one in told["predictions"]]
    assert rows.schema == dict(PREDICTIONS.columns)
    first = rows.row(1, named=True)
    assert (first["request_id"], first["row"], first["arm"], first["answered"]) == ("mine", 1, "champion", True)
    assert (first["version"], first["digest"], first["generation"]) == (1, served.digest, 7)
    assert rows["at"].cast(pl.Int64).to_list() == [AT, AT]
    assert first["watermark"].isoformat() == "2013-07-01T00:00:00+00:00"
    assert json.loads(first["request"])["carrier"] == "AA"
    types = {"carrier": pl.String(), "hour": pl.Int8(), "distance": pl.Float64(), "origin_delay_1h": pl.Float64()}
    assert opened(rows, "features", types)["carrier"].to_list() == [GOOD["carrier"], "AA"]
    assert 0 < first["latency"] < 60_000_000


def test_what_is_no_number_in_json_comes_back_as_it_was(tmp_path: Path) -> None:
    """Nothing, NaN and the two infinities are four answers of a tree, so the log tells them apart."""
    log = PredictionLog(tmp_path, SEED, ManualClock(1))
    recorder = log.recorder(Log(), version=1, digest="d", fields=(), features=("x", "name"))
    seen = [float("inf"), float("-inf"), float("nan"), None, -0.0, 5e-324, 1.5]
    asks = [module.Question((), place, module.Asked("a", AT, 0.0)) for place in range(len(seen))]
    recorder.record(asks, [(one, "NaN") for one in seen], [(0.5, True)] * len(seen), (1, 2), 0.0)
    rows = everything(tmp_path)
    types = {"x": pl.Float64(), "name": pl.String()}
    found = opened(rows, "features", types, whole=True)
    assert [repr(one) for one in found["x"]] == [repr(one) for one in seen]
    assert found["name"].to_list() == ["NaN"] * len(seen)
    assert opened(rows, "features", types)["x"].to_list() == [None] * 4 + [0.0, 5e-324, 1.5]


def test_request_times_come_back_as_times(served: Served, tmp_path: Path) -> None:
    asked(logging_app(served, tmp_path), GOOD)
    got = opened(everything(tmp_path), "request", {"scheduled_at": pl.Datetime("us", "UTC")})["scheduled_at"][0]
    assert got.isoformat() == pl.Series([GOOD["scheduled_at"]]).str.to_datetime(time_zone="UTC")[0].isoformat()


def test_only_allowed_fields_are_kept_and_ids_as_hashes(pipeline: Pipeline, tmp_path: Path) -> None:
    kept = with_log(pipeline, fields=["carrier", "flight"], features=["hour", "carrier"], hashed=["flight", "carrier"])
    served = make_bundle(tmp_path / "bundle", kept)
    asked(logging_app(served, tmp_path / "log"), GOOD)
    row = everything(tmp_path / "log").row(0, named=True)
    assert json.loads(row["request"]) == {"carrier": SEED(GOOD["carrier"]), "flight": SEED(GOOD["flight"])}
    assert set(json.loads(row["features"])) == {"hour", "carrier"}
    raw = b"".join(path.read_bytes() for path in segments(tmp_path / "log"))
    assert str(GOOD["origin"]).encode() not in raw
    assert SEED(GOOD["carrier"]) != Keyed(b"another")(GOOD["carrier"])


def test_the_key_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "log" / "ids.key"
    assert the_key(path) == the_key(path)
    assert (len(the_key(path)), path.stat().st_mode & 0o777) == (32, 0o600)
    path.chmod(0o640)
    with pytest.raises(WorkspaceError, match="may be read by others"):
        the_key(path)


def serve_and_die(folder: Path, served: Served, told: Path) -> None:
    """Answers, writes down which ids were answered, and is killed while it answers."""
    app = logging_app(served, folder)
    with told.open("a") as file:
        for number in range(200):
            asked(app, GOOD, f"id-{number}")
            file.write(f"id-{number}\n")
            file.flush()
    os.kill(os.getpid(), signal.SIGKILL)


def test_every_answer_of_a_killed_process_is_in_the_lake_once(served: Served, tmp_path: Path) -> None:
    folder, told = tmp_path / "log" / "predictions" / "late", tmp_path / "told"
    process = PROCESSES.Process(target=serve_and_die, args=(folder, served, told))
    process.start()
    lake, clock = Lake(tmp_path / "lake"), ManualClock(1)
    while process.is_alive():  # collected while it grows
        collect(lake, tmp_path, clock)
        time.sleep(0.05)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    collect(lake, tmp_path, clock)
    table = lake.log(PREDICTIONS, "late")
    raw = pl.concat([pl.read_parquet(task.file.file_path) for task in table._find().scan().plan_files()])
    assert sorted(raw["request_id"].to_list()) == sorted(told.read_text().split())
    assert raw.height == 200
    assert not segments(folder), "what was read is given back to the disk"
    assert collect(lake, tmp_path, clock) == 0


def test_a_frame_that_was_cut_off_is_not_read(tmp_path: Path) -> None:
    segment = Segment(tmp_path, 1)
    segment.append(0, b"whole")
    end = segment.path.stat().st_size
    segment.append(0, b"cut off")
    with segment.path.open("r+b") as file:
        file.truncate(end + 12)
    assert [(body, at) for _, body, at in frames(segment.path)] == [(b"whole", end)]
    assert not left(segment.path)
    segment.close()
    assert left(segment.path)


def test_in_mode_fast_the_disk_has_it_within_the_bound(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SYNC_SECONDS", 0.2)
    synced: list[tuple[float, int]] = []
    real = os.fdatasync

    def watched(file: int) -> None:
        size = os.fstat(file).st_size
        real(file)
        synced.append((time.monotonic(), size))

    monkeypatch.setattr(os, "fdatasync", watched)
    app = logging_app(served, tmp_path)
    written: list[tuple[float, int]] = []
    for number in range(15):
        asked(app, GOOD, str(number))
        written.append((time.monotonic(), segments(tmp_path)[0].stat().st_size))
        time.sleep(0.05)
    time.sleep(0.5)
    waits = [next(at for at, seen in synced if seen >= size) - when for when, size in written]
    assert max(waits) < 0.2 + 0.3, "later than the bound, and what a busy machine adds"


def test_in_mode_strict_the_disk_has_it_before_the_answer(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    strict = make_bundle(tmp_path / "bundle", with_log(pipeline, mode="strict"))
    app = logging_app(strict, tmp_path / "log")
    synced: list[int] = []
    real = os.fdatasync

    def watched(file: int) -> None:
        real(file)
        synced.append(os.fstat(file).st_size)

    monkeypatch.setattr(os, "fdatasync", watched)
    asked(app, GOOD)
    assert max(synced) == segments(tmp_path / "log")[0].stat().st_size


@pytest.mark.parametrize(("mode", "status"), [("fast", 200), ("strict", 503)])
def test_a_full_disk_is_counted_or_refused(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, status: int
) -> None:
    import asyncio

    meter = Meter()
    app = logging_app(make_bundle(tmp_path / "bundle", with_log(pipeline, mode=mode)), tmp_path / "log", meter)
    asked(app, GOOD, "before")

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        answer = asyncio.run(ask(app, GOOD, "full"))
    assert (answer.status_code, meter.counts()["unlogged"]) == (status, 1 if status == 200 else 0)
    asked(app, GOOD, "after")
    assert everything(tmp_path / "log")["request_id"].to_list() == ["before", "after"]


def test_a_full_file_is_followed_by_another(served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raypipe.contracts.segment.LARGEST", 500)
    app = logging_app(served, tmp_path)
    for number in range(5):
        asked(app, GOOD, str(number))
    assert len(segments(tmp_path)) > 1
    assert sorted(everything(tmp_path)["request_id"].to_list()) == ["0", "1", "2", "3", "4"]


def test_a_log_that_names_what_is_not_there_is_a_fault(pipeline: Pipeline) -> None:
    from raypipe.errors import DefinitionError
    from raypipe.spec import from_json, lint, to_json

    with pytest.raises(DefinitionError, match=r"`fields` name `carier`.*Did you mean `carrier`"):
        lint(with_log(pipeline, fields=["carier"]))
    kept = with_log(pipeline, hashed=["flight"], mode="strict")
    assert from_json(to_json(kept), Pipeline) == kept
    old = json.loads(to_json(pipeline))
    del old["log"], old["unit"]
    assert from_json(json.dumps(old), Pipeline).log == Log()
