"""Whole tables of questions: typed as strictly as single ones, each row answered or with its fault."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from msgspec import structs

from raypipe.contracts import bundle
from raypipe.contracts.target import Target
from raypipe.errors import RequestError, SourceError
from raypipe.serving.batch import Job, Part, Scorer, beside
from raypipe.serving.engine import Engine
from raypipe.serving.fields import request_fields
from raypipe.serving.model import Served
from raypipe.serving.sheet import typed
from raypipe.spec import Pipeline
from tests.serving.pipeline import pipeline as late
from tests.serving.reader import FakeReader
from tests.serving.test_parse import GOOD

FIELDS = request_fields(late)
ROWS = [GOOD | {"flight": n, "carrier": ["UA", "AA", "??"][n % 3], "distance": float(n)} for n in range(50)]


class Choosy(FakeReader):
    """Refuses every request of one flight, as a store refuses what is too old."""

    def compute(self, requests: pl.DataFrame) -> pl.DataFrame:
        if (requests["flight"] == 7).any():
            raise RequestError("is older than the stored features", where="scheduled_at")
        return super().compute(requests)


def job(served: Served, since: int | None = None) -> Job:
    columns = beside(bundle.card(Path(served.folder)).target) | {field.name: field.dtype for field in FIELDS}
    schema = pl.DataFrame(schema=columns).to_arrow().schema.append(pa.field("earlier", pa.string()))
    return Job("b1", 5, served, Choosy, schema, "rows.parquet", since)


def part(folder: Path, rows: list[dict[str, object]]) -> Part:
    pl.DataFrame(rows).write_parquet(folder / "rows.parquet")
    return Part(str(folder / "rows.parquet"), (0,), 100, str(folder / "out.parquet"))


def test_every_row_is_answered_as_the_service_does_or_says_why(tmp_path: Path, served: Served, engine: Engine) -> None:
    asked = part(tmp_path, [*ROWS, GOOD | {"scheduled_at": "2013-06-01T10:00:00"}, GOOD | {"carrier": None}])
    assert Scorer(job(served))({"part": asked}) == {"rows": 52}
    found = pl.read_parquet(asked.target)
    assert found["row"].to_list() == list(range(100, 152))
    told = dict(zip(found["row"], found["error"], strict=True))
    assert {row: fault for row, fault in told.items() if fault} == {
        107: "scheduled_at: is older than the stored features",
        150: "scheduled_at: must be a time with a zone, such as 2026-01-01T12:00:00Z",
        151: "carrier: is missing",
    }
    answered = engine.predict(engine.parser.convert(ROWS))
    kept = found.filter(pl.col("row") < 150)
    assert kept["probability"].is_null().to_list() == [n == 7 for n in range(50)]
    scores = [None if n == 7 else p.probability for n, p in enumerate(answered)]
    assert np.allclose(kept["probability"].drop_nulls(), [s for s in scores if s is not None], atol=1e-6)
    assert kept["label"].to_list() == [None if n == 7 else p.label for n, p in enumerate(answered)]
    assert found["earlier"].null_count() == 52


@pytest.mark.parametrize("costs", [(), ((0.0, 1.0), (9.0, 0.0))])
def test_numbers_and_classes_are_answered_as_well(tmp_path: Path, served: Served, monkeypatch, costs) -> None:
    """By the same model: its score as a number, and as the probability of the first of two classes."""
    plain = Scorer(job(served)).answer(pl.DataFrame(ROWS), 0)["probability"].to_list()

    def of(target: Target) -> pl.DataFrame:
        folder = tmp_path / target.task / str(len(costs))
        shutil.copytree(served.folder, folder)
        card = structs.replace(bundle.card(folder), target=target, costs=costs)
        (folder / bundle.CARD).write_text(card.to_json())
        other = Served(folder=str(folder), digest=bundle.seal(folder), version=served.version)
        return Scorer(job(other)).answer(pl.DataFrame(ROWS), 0)

    numbers = of(Target(task="regression"))
    assert "label" not in numbers.columns
    assert numbers["value"].is_null().to_list() == [p is None for p in plain]
    assert numbers["value"].drop_nulls().to_list() == pytest.approx([p for p in plain if p is not None], rel=1e-6)
    one = Engine.scores
    monkeypatch.setattr(Engine, "scores", lambda *asked: np.column_stack([found := one(*asked), 1 - found]))
    monkeypatch.setattr(Engine, "_rehearse", lambda _: None)
    classes = of(Target(task="multiclass", classes=("late", "early")))
    for p, sure, name in zip(plain, classes["probability"], classes["category"], strict=True):
        if p is None:
            assert (sure, name) == (None, None)
            continue
        # Without costs the likelier one; else the one of which an error costs less on average.
        dear = (1 - p, p) if not costs else ((1 - p) * 9.0, p * 1.0)
        assert name == ("late" if dear[0] <= dear[1] else "early")
        assert sure == pytest.approx(p if name == "late" else 1 - p, abs=1e-6)


def test_a_part_that_is_there_is_not_written_again(tmp_path: Path, served: Served) -> None:
    asked = part(tmp_path, ROWS)
    pq.write_table(pa.table({"row": [1, 2, 3]}), asked.target)
    assert Scorer(job(served))({"part": asked}) == {"rows": 3}


def test_earlier_rows_are_left_out(tmp_path: Path, served: Served) -> None:
    late_one = GOOD | {"scheduled_at": "2013-06-03T00:00:00Z"}
    asked = part(tmp_path, [GOOD, late_one, GOOD])
    since = int(datetime(2013, 6, 2, tzinfo=UTC).timestamp()) * 1_000_000
    assert Scorer(job(served, since))({"part": asked}) == {"rows": 1}
    assert pl.read_parquet(asked.target)["row"].to_list() == [101]


WRONG = {
    "flight": ["1.5", "x", str(2**63)],
    "distance": ["inf", "nan", "x"],
    "charter": ["TRUE", "1"],
    "scheduled_at": ["2013-06-01", "2013-06-01T10:00:00", "now"],
    "carrier": ["x" * 1_001],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_wrong_text_is_the_rows_fault(name: str, value: str) -> None:
    texts = {key: "true" if given is True else "false" if given is False else str(given) for key, given in GOOD.items()}
    found = typed(pl.DataFrame([texts, texts | {name: value}]), FIELDS, "rows.csv")
    assert found["error"][0] is None
    assert found["error"][1].startswith(f"{name}: must be ")
    assert found[name][1] is None
    assert found.row(0)[:-1] == tuple(_given(GOOD))


def _given(row: dict[str, object]) -> list[object]:
    return [datetime(2013, 6, 1, 14, tzinfo=UTC) if name == "scheduled_at" else value for name, value in row.items()]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (pl.DataFrame({"carrier": ["UA"]}), "lacks the columns flight, origin, charter, scheduled_at"),
        (pl.DataFrame([GOOD | {"flight": 1.5}]), "column `flight` is Float64, which is not a whole number"),
        (pl.DataFrame([GOOD | {"scheduled_at": datetime(2013, 6, 1)}]), "which is not a time with a zone"),  # noqa: DTZ001
    ],
)
def test_a_table_of_another_shape_is_refused(rows: pl.DataFrame, said: str, pipeline: Pipeline) -> None:
    with pytest.raises(SourceError, match=said):
        typed(rows, FIELDS, "rows.parquet")
