"""Counts at the replica: the same as counting all rows at once, whatever came together, off the way of a request."""

import asyncio
import json
import time
from pathlib import Path

import httpx
import numpy as np
import polars as pl
import pytest

from raypipe.clock import ManualClock
from raypipe.contracts import bundle, counts
from raypipe.contracts.bins import SPECIAL, Reference
from raypipe.contracts.segment import segments
from raypipe.contracts.watched import Watched
from raypipe.serving.app import App
from raypipe.serving.counter import Counts
from raypipe.serving.engine import Engine
from raypipe.serving.log import Asked, Question
from raypipe.serving.meter import Meter
from raypipe.serving.model import Model, Served
from raypipe.spec import Pipeline
from raypipe.stats.bins import ABOVE, BELOW, FIRST, MISSING, UNSEEN
from tests.serving.conftest import GOLDEN, make_bundle
from tests.serving.reader import FakeReader
from tests.serving.test_parse import GOOD


@pytest.fixture(scope="module")
def watched_bundle(tmp_path_factory: pytest.TempPathFactory, pipeline: Pipeline) -> Served:
    folder = tmp_path_factory.mktemp("watched") / "bundle"
    make_bundle(folder, pipeline)
    signature = bundle.signature(folder)
    rng = np.random.default_rng(0)
    frame = GOLDEN[pl.Series(rng.integers(0, 4, 500))].with_columns(distance=pl.Series(rng.normal(800, 300, 500)))
    reference = Reference.of(frame, signature, rng.random(500).astype(np.float32))
    (folder / bundle.BINS).write_text(reference.to_json())
    return Served(folder=str(folder), digest=bundle.seal(folder), version=1)


def test_what_is_served_is_counted_as_its_log_would_be(watched_bundle: Served, tmp_path: Path) -> None:
    meter = Meter()
    made = Counts(tmp_path, ManualClock(5), meter.failures)
    app = App("late", meter, clock=ManualClock(1))
    engine = Engine(watched_bundle, FakeReader, meter, open_counter=made.counter)
    app.hold(engine)
    bodies = [dict(GOOD, carrier=c, distance=d) for c, d in [("UA", 900.0), ("??", 1e9), ("AA", -5.0), ("UA", None)]]
    asyncio.run(_ask(app, bodies[:1]))
    asyncio.run(_ask(app, bodies[1:]))
    made.write()
    made.write()
    found = [one for path in segments(tmp_path) for one, _ in counts.read(path, 0)]
    assert sum(one.rows for one in found) == 4
    assert {(one.version, one.arm, one.at) for one in found} == {(1, "champion", 5)}
    assert sum(one.cpu for one in found) > 0
    assert 0 < counts.latency_of(found[0].latency, 0.5) < 5
    total = sum(counts.unpack(one.cells, 5) for one in found)
    reference = bundle.bins(Path(watched_bundle.folder))
    assert reference is not None
    rows, _ = engine.parser.parse(json.dumps({"rows": bodies}).encode())
    matrix = engine.matrix(rows)
    # The other implementation of the same cells, over all rows at once.
    for i, column in enumerate(reference.features):
        expected = column.count(matrix[:, i], missing=0)
        assert total[i, [MISSING, BELOW, ABOVE, UNSEEN]].tolist() == expected[: len(SPECIAL)].tolist(), column.name
        own = expected[len(SPECIAL) :]
        assert total[i, FIRST : FIRST + len(own)].tolist() == own.tolist(), column.name
    assert (total.sum(axis=1) == 4).all()
    assert total[Watched.of(reference).names.index("carrier"), UNSEEN] == 1


async def _ask(app: App, rows: list[dict[str, object]]) -> None:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        answer = await client.post("/late/predict", json={"rows": rows})
    assert answer.status_code == 200, answer.text


def test_failures_are_told_once(tmp_path: Path) -> None:
    meter = Meter()
    made = Counts(tmp_path, ManualClock(5), meter.failures)
    meter.refused(422)
    meter.refused(503)
    meter.failed("challenger/4")
    made.write()
    made.write()
    found = [one for path in segments(tmp_path) for one, _ in counts.read(path, 0)]
    assert [(one.arm, one.version, one.failed) for one in found] == [("champion", 0, 1), ("challenger/4", 4, 1)]


def test_counting_costs_a_request_next_to_nothing(watched_bundle: Served, tmp_path: Path) -> None:
    """Under 2 µs a feature and row, both what a request waits for and what the thread does later."""
    made = Counts(tmp_path, ManualClock(5), dict)
    model = Model(watched_bundle)
    counter = made.counter(model)
    matrix = np.ascontiguousarray(np.resize(model.encode(GOLDEN), (64, 4)))
    scores = np.linspace(0, 1, 64, dtype=np.float32)
    questions = [Question((), i, Asked("x", 0, 0.0)) for i in range(64)]
    waited, counted = [], []
    for _ in range(20):
        began = time.perf_counter()
        for _ in range(16):
            counter.add(questions, matrix, scores, {}, 1.0, 1e-4)
        waited.append(time.perf_counter() - began)
        began = time.thread_time()
        counter.count(counter.take()[0] or [(questions, matrix, scores, {}, 1.0, 1e-4)], 1, 0.0)
        counted.append(time.thread_time() - began)
    values = 16 * 64 * 4
    assert sorted(waited)[10] / values < 0.2e-6
    assert sorted(counted)[10] / values < 2e-6


def test_counts_that_nobody_reads_do_not_fill_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raypipe.serving.counter._MOST", 100)
    (tmp_path / "00000000000000000001-old.seg").write_bytes(b"x" * 101)
    meter = Meter()
    made = Counts(tmp_path, ManualClock(5), meter.failures)
    meter.refused(500)
    made.write()
    assert [path.name[:20] for path in segments(tmp_path)] == ["00000000000000000005"]
