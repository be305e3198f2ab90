"""Records are values: equal ones have one text, and what is no record is refused."""

import inspect
import pickle

import msgspec
import pytest

from raypipe.contracts import records
from raypipe.contracts.progress import Silent
from raypipe.contracts.records import Lineage, Record, Snapshot, SourceFile

SNAPSHOT = Snapshot(
    table="flights",
    snapshot_id=2**62,
    definition="abc",
    rows=10,
    added=4,
    repeated=1,
    files=(SourceFile(path="f.csv", digest="00", rows=5),),
)


def test_there_and_back() -> None:
    assert Snapshot.from_json(SNAPSHOT.to_json()) == SNAPSHOT
    assert Snapshot.from_json(SNAPSHOT.to_json().encode()) == SNAPSHOT
    assert pickle.loads(pickle.dumps(SNAPSHOT)) == SNAPSHOT


def test_equal_records_have_one_text() -> None:
    def lineage(lock: dict[str, str]) -> Lineage:
        return Lineage(
            commit="", dirty=False, pipeline_definition="", feature_definition="", training_set="", as_of=0, seed=0,
            snapshots={}, files=(), params={}, lock=lock, run_id="",
        )  # fmt: skip

    first, second = lineage({"a": "1", "b": "2"}), lineage({"b": "2", "a": "1"})
    assert first == second
    assert first.to_json() == second.to_json()


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"table":"flights"}', SNAPSHOT.to_json().replace("10", '"10"')])
def test_what_is_no_record_is_refused(text: str) -> None:
    with pytest.raises(msgspec.MsgspecError):
        Snapshot.from_json(text)


def test_a_record_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        SNAPSHOT.rows = 11


@pytest.mark.parametrize("kind", [k for _, k in inspect.getmembers(records, inspect.isclass) if issubclass(k, Record)])
def test_every_record_is_documented_and_frozen(kind: type[Record]) -> None:
    assert inspect.getdoc(kind)
    assert kind.__struct_config__.frozen


def test_nobody_needs_to_watch() -> None:
    with Silent().step("work", 3) as step:
        step.advance(2, "half")
