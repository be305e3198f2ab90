"""Answers that are given again: the same ones, of one state of the store, bounded, logged and counted as all others."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest

from raypipe.errors import FeatureError, RequestError
from raypipe.serving.engine import Engine, Prediction
from raypipe.serving.log import Asked, Keyed, PredictionLog, Question, read
from raypipe.serving.meter import Meter
from raypipe.serving.model import Served
from raypipe.serving.tuning import Tuning
from raypipe.spec import Pipeline
from tests.serving.reader import FakeReader
from tests.serving.test_parse import GOOD


class Moving(FakeReader):
    """A store whose generation, watermark and content can be changed."""

    generation, later, delay, gone = 7, 0, 10.0, False

    def state(self) -> tuple[int, int]:
        return self.generation, super().watermark() + self.later

    def watermark(self) -> int:
        if self.gone:
            raise FeatureError("is gone", where="store")
        return super().watermark()

    def compute(self, requests: pl.DataFrame) -> pl.DataFrame:
        return super().compute(requests).with_columns(origin_delay_1h=pl.lit(self.delay))


@pytest.fixture
def opened(served: Served, meter: Meter, tmp_path: Path) -> tuple[Engine, Moving]:
    readers: list[Moving] = []
    log = PredictionLog(tmp_path, Keyed(b"k"))

    def reader(pipeline: Pipeline) -> Moving:
        readers.append(Moving(pipeline))
        return readers[-1]

    def recorder(model: Any, fields: tuple[str, ...]) -> Any:
        return log.recorder(
            model.pipeline.log, version=1, digest="d", fields=fields, features=model.pipeline.feature_names
        )

    engine = Engine(served, reader, meter, open_recorder=recorder)
    engine.tune(Tuning(cache=3))
    readers[0].sizes.clear()
    return engine, readers[0]


def ask(engine: Engine, *flights: int) -> list[float]:
    return [one.probability for one in answers(engine, *flights)]


def answers(engine: Engine, *flights: int) -> list[Prediction]:
    bodies = [engine.parser.parse(msgspec.json.encode(GOOD | {"flight": n, "distance": n * 100.0}))[0] for n in flights]
    questions = [Question(row, place, Asked("r", 0, 0.0)) for place, (row,) in enumerate(bodies)]
    return asyncio.run(engine.answer(questions))


def test_a_repeated_question_gets_the_same_answer_without_computing(opened: tuple[Engine, Moving]) -> None:
    engine, reader = opened
    first = ask(engine, 1, 2)
    assert len(set(first)) == 2
    assert ask(engine, 2, 1, 2) == [first[1], first[0], first[1]]
    assert reader.sizes == [2]
    # What is new is computed alone, and each answer finds its way back to its row.
    assert ask(engine, 1, 3, 2)[::2] == first
    assert reader.sizes == [2, 1]


def test_it_is_off_unless_wanted(opened: tuple[Engine, Moving], meter: Meter) -> None:
    engine, reader = opened
    engine.tune(Tuning())
    assert ask(engine, 1) == ask(engine, 1)
    assert (reader.sizes, meter.counts()["cache"]) == ([1, 1], {})


def test_another_generation_forgets_all(opened: tuple[Engine, Moving]) -> None:
    engine, reader = opened
    before = ask(engine, 1)
    reader.generation, reader.delay = 8, 60.0
    after = ask(engine, 1)
    assert after != before
    assert ask(engine, 1) == after
    assert reader.sizes == [1, 1]


def test_an_update_of_the_same_generation_forgets_all_and_tells_its_time(opened: tuple[Engine, Moving]) -> None:
    engine, reader = opened
    before = [answers(engine, 1)[0] for _ in range(2)]
    reader.later, reader.delay = 90_000_000, 60.0
    after = [answers(engine, 1)[0] for _ in range(2)]
    assert reader.sizes == [1, 1]
    assert before[0] == before[1] != after[0] == after[1]
    assert before[0].probability != after[0].probability
    assert [one.features_as_of for one in (*before, *after)] == ["2013-07-01T00:00:00Z"] * 2 + [
        "2013-07-01T00:01:30Z"
    ] * 2


def test_a_store_that_moves_during_the_computing_mixes_nothing(
    opened: tuple[Engine, Moving], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, reader = opened
    old = ask(engine, 1)
    compute = reader.compute

    def move(requests: pl.DataFrame) -> pl.DataFrame:
        reader.generation, reader.delay = 8, 60.0
        return compute(requests)

    monkeypatch.setattr(reader, "compute", move)
    new = ask(engine, 1, 2)
    assert new[0] != old[0]
    assert ask(engine, 1, 2) == new


def test_it_is_bounded_and_forgets_what_was_not_asked_for_longest(opened: tuple[Engine, Moving]) -> None:
    engine, reader = opened
    ask(engine, 1, 2, 3)
    ask(engine, 1)
    ask(engine, 4)
    assert len(engine.cache) == 3
    reader.sizes.clear()
    ask(engine, 1, 3, 4)
    assert reader.sizes == []
    ask(engine, 2)
    assert reader.sizes == [1]
    engine.tune(Tuning(cache=1))
    assert len(engine.cache) == 1


def test_every_answer_is_logged_and_counted(opened: tuple[Engine, Moving], meter: Meter, tmp_path: Path) -> None:
    engine, _ = opened
    first = ask(engine, 1, 2)
    again = ask(engine, 1, 2)
    rows = pl.concat([read(path, 0)[0] for path in tmp_path.glob("*.seg")])
    assert rows["score"].to_list() == first + again
    features = [msgspec.json.decode(text) for text in rows["features"]]
    assert features[:2] == features[2:]
    assert meter.counts()["cache"] == {"hits": 2, "misses": 2}


def test_without_features_nothing_is_answered_from_memory(opened: tuple[Engine, Moving]) -> None:
    engine, reader = opened
    ask(engine, 1)
    reader.gone = True
    with pytest.raises(RequestError) as error:
        ask(engine, 1)
    assert error.value.status == 503
