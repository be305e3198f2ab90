"""Several versions at once: sticky, restart-proof, nobody moved by widening, helped out by the champion."""

import asyncio
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from raypipe.contracts.arms import BUCKETS, Arm, bucket, with_share
from raypipe.errors import ServingError, SettingsError
from raypipe.serving.app import App
from raypipe.serving.engine import Engine
from raypipe.serving.log import Asked, PredictionLog
from raypipe.serving.meter import Meter
from raypipe.serving.model import Served
from raypipe.serving.routing import Router
from raypipe.spec import Pipeline
from tests.serving.conftest import make_bundle
from tests.serving.grpc_caller import QUESTION, over_grpc
from tests.serving.reader import FakeReader
from tests.serving.test_log import SEED, everything, with_log
from tests.serving.test_oip import raw_request, send
from tests.serving.test_parse import GOOD


def arm(version: int, role: str = "challenger", **where: str) -> Arm:
    return Arm(version=version, role=role, ranges=(), where=tuple(where.items()))


def owner(arms: tuple[Arm, ...], unit: str) -> str:
    place = bucket("salt", unit)
    return next((one.name for one in arms if one.owns(place)), "champion")


def test_widening_a_share_moves_nobody_between_arms() -> None:
    units = [f"unit-{number}" for number in range(4_000)]
    one = with_share((), arm(2), 0.1)
    two = with_share(one, arm(3), 0.2)
    wider = with_share(two, arm(2), 0.4)
    narrower = with_share(wider, arm(2), 0.05)
    for before, after in ((one, two), (two, wider)):
        for unit in units:
            if owner(before, unit) != "champion":
                assert owner(after, unit) == owner(before, unit)
    moved = [u for u in units if owner(narrower, u) != owner(wider, u)]
    assert {owner(narrower, unit) for unit in moved} == {"champion"}
    shares = [sum(owner(wider, u) == name for u in units) / len(units) for name in ("challenger/2", "challenger/3")]
    assert shares == pytest.approx([0.4, 0.2], abs=0.03)
    assert with_share(narrower, arm(2), 0)[0].name == "challenger/3"


def test_no_more_than_all_can_be_given() -> None:
    with pytest.raises(SettingsError, match="only 30% are free"):
        with_share(with_share((), arm(2), 0.7), arm(3), 0.4)
    assert with_share(with_share((), arm(2), 1.0), arm(3, "shadow"), 1.0)[1].share == 1.0
    assert len(with_share(with_share((), arm(2), 1.0), arm(3, origin="JFK"), 1.0)) == 2, "a segment is its own"


def test_buckets_are_the_same_in_every_process_and_spread_evenly() -> None:
    assert [bucket("s", "a"), bucket("s", "b"), bucket("t", "a")] == [6900, 5656, 621]
    counts = [0] * 10
    for number in range(20_000):
        counts[bucket("s", str(number)) * 10 // BUCKETS] += 1
    assert sum((count - 2_000) ** 2 / 2_000 for count in counts) < 27.9, "chi-square, 9 degrees, p = 0.001"


@pytest.fixture
def models(tmp_path: Path, pipeline: Pipeline) -> list[Served]:
    united = with_log(pipeline)
    object.__setattr__(united, "unit", "carrier")
    made = [make_bundle(tmp_path / str(number), united, bias=number / 10) for number in range(3)]
    return [Served(folder=one.folder, digest=one.digest, version=number) for number, one in enumerate(made)]


def build(models: list[Served], tmp_path: Path, *arms: Arm, meter: Meter | None = None) -> Router:
    log = PredictionLog(tmp_path / "log", SEED)

    def engine(served: Served) -> Engine:
        def recorder(model, fields):
            names = model.pipeline.feature_names
            return log.recorder(
                model.pipeline.log, version=served.version, digest=served.digest, fields=fields, features=names
            )

        return Engine(served, FakeReader, Meter(), open_recorder=recorder)

    beside = [(one, engine(models[one.version])) for one in arms]
    return Router(engine(models[0]), beside, salt="salt", hash_=SEED, meter=meter)


def ask(router: Router, *rows: dict[str, object]):
    import msgspec

    parsed, _ = router.champion.parser.parse(msgspec.json.encode({"rows": rows}))

    async def go():
        answers = await router.ask(parsed, Asked("id", 1, 0.0))
        await asyncio.gather(*router._tasks)
        return answers

    return asyncio.run(go())


CARRIERS = [GOOD | {"carrier": f"C{number}"} for number in range(40)]


def test_each_unit_stays_with_its_version_and_answers_say_which(models: list[Served], tmp_path: Path) -> None:
    arms = with_share((), arm(1), 0.5)
    first = ask(build(models, tmp_path, *arms), *CARRIERS)
    again = ask(build(models, tmp_path, *arms), *reversed(CARRIERS))
    assert [one.arm for one in first] == [one.arm for one in reversed(again)]
    assert {(one.arm, one.version) for one in first} == {("champion", 0), ("challenger/1", 1)}
    assert [one.arm for one in first] == [owner(arms, SEED(row["carrier"])) for row in CARRIERS]
    logged = everything(tmp_path / "log").filter(request_id="id").head(40).sort("row")
    assert set(zip(logged["arm"], logged["version"], strict=True)) == {("champion", 0), ("challenger/1", 1)}
    assert GOOD["carrier"] not in logged["unit"].to_list()


def test_a_segment_has_a_version_of_its_own(models: list[Served], tmp_path: Path) -> None:
    router = build(models, tmp_path, *with_share((), arm(1, origin="JFK"), 1.0))
    answers = ask(router, GOOD | {"origin": "JFK"}, GOOD | {"origin": "LGA"})
    assert [one.arm for one in answers] == ["challenger/1", "champion"]


def test_the_champion_answers_when_a_challenger_cannot(
    models: list[Served], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meter = Meter()
    router = build(models, tmp_path, *with_share((), arm(1), 1.0), meter=meter)

    def broken(_: object) -> None:
        raise RuntimeError("broken")

    engine = router._challengers[0].engine
    monkeypatch.setattr(engine, "_scorer", replace(engine._scorer, score=broken))
    assert [one.arm for one in ask(router, GOOD)] == ["champion"]
    assert meter.counts()["failed"] == {"challenger/1": 1}


def test_a_shadow_computes_and_never_answers(models: list[Served], tmp_path: Path) -> None:
    answers = ask(build(models, tmp_path, *with_share((), arm(2, "shadow"), 1.0)), GOOD)
    assert [(one.arm, one.version) for one in answers] == [("champion", 0)]
    logged = everything(tmp_path / "log").sort("version")
    assert logged.select("arm", "answered", "version").rows() == [("champion", True, 0), ("shadow/2", False, 2)]
    assert logged["score"][0] != logged["score"][1]


def test_an_arm_by_a_field_that_is_not_there_is_refused(models: list[Served], tmp_path: Path) -> None:
    with pytest.raises(ServingError, match="`nowhere`, which is no request field"):
        build(models, tmp_path, *with_share((), arm(1, nowhere="x"), 1.0))


def test_every_protocol_says_who_answered(models: list[Served], tmp_path: Path) -> None:
    """A challenger that answers is named as such; a version that is asked for by its number answers alone."""
    app = App("late", Meter())
    whole = with_share((), arm(1), 1.0)
    router = build(models, tmp_path, *whole)
    app.hold(router.champion, router)
    open_ = lambda: httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")  # noqa: E731

    def over_rest(at: str) -> tuple[str, str, str]:
        told = send(open_, "POST", f"/late/v2/models/late{at}/infer", **raw_request()).json()
        return told["model_version"], told["parameters"]["arm"], str(told["outputs"][0]["data"])

    def grpc_told(version: str) -> tuple[str, str]:
        told = over_grpc(app, Meter(), "ModelInfer", **QUESTION, model_version=version)
        return told.model_version, told.parameters["arm"].string_param

    assert over_rest("")[:2] == grpc_told("") == ("1", "challenger/1")
    assert over_rest("/versions/0")[:2] == grpc_told("0") == ("0", "champion")
    assert over_rest("")[2] != over_rest("/versions/0")[2]
    told = send(open_, "POST", "/late/invocations", json={"dataframe_records": [GOOD]}).json()
    assert (told["version"], told["arm"]) == (1, "challenger/1")


def test_where_several_answered_each_row_has_its_own(models: list[Served], tmp_path: Path) -> None:
    app = App("late", Meter())
    router = build(models, tmp_path, *with_share((), arm(1, carrier="UA"), 1.0))
    app.hold(router.champion, router)
    open_ = lambda: httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")  # noqa: E731
    told = send(open_, "POST", "/late/v2/models/late/infer", **raw_request()).json()
    assert (told["model_version"], told["parameters"]) == ("0", {"versions": "1,0", "arms": "challenger/1,champion"})
    rows = [GOOD | {"carrier": carrier} for carrier in ("AA", "UA")]
    told = send(open_, "POST", "/late/invocations", json={"dataframe_records": rows}).json()
    assert (told["versions"], told["arms"]) == ([0, 1], ["champion", "challenger/1"])
