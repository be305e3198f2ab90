"""Plain Python row functions: one code on both sides, held by name, never run by reading a definition."""

import importlib
import linecache
import math
import pickle
import sys
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import polars as pl
import pytest

from raypipe.contracts.progress import Silent
from raypipe.errors import DefinitionError, FeatureError, RaypipeError
from raypipe.features import OnlineFeatures, materialize, parity
from raypipe.features.reading import Tables
from raypipe.spec import derived, fingerprint, functions, minutes, python, row_function
from raypipe.spec.codec import from_json, to_json
from raypipe.spec.functions import RowFunction
from tests.features import payments
from tests.features.memory import MemoryStore
from tests.features.test_online import AS_OF, NOON, requests, some_events


@row_function
def spread(low: float | None, high: float | None) -> float | None:
    return None if low is None or high is None else math.hypot(low, high) / 7


@row_function
def greeting(user: str | None, due: object) -> str:
    return f"{user} at {due:%H:%M}"


@row_function
def wrong(user: str | None) -> object:
    return {"u1": 1, "u2": "two"}[str(user)]


@row_function
def salted(user: str) -> int:
    return hash(user) % 10


def unmarked(user: str) -> str:
    return user


LOGIC = derived(
    spread=python(spread, "sum_1h", "mean_3d", returns=float),
    hello=python(greeting, "user", "due", returns=str),
    twice=pl.col("spread") * 2,
)


def test_serving_and_history_run_the_same_code() -> None:
    rows, pipeline, store = some_events(400), payments.pipeline(minutes(0), LOGIC), MemoryStore()
    lake = payments.tables_of(minutes(0), rows)
    tables = Tables(pipeline, lake.snapshots, lake.read)
    materialize(pipeline, tables.snapshots, tables.read, store, AS_OF, Silent())
    many = pl.concat(requests(NOON, user=user) for user in ("u1", "u2", "nobody", "u3"))
    expected = parity.replayed(tables, many, AS_OF)
    assert expected["hello"].to_list()[0] == "u1 at 12:10"
    assert expected["spread"].null_count() == 1
    features = OnlineFeatures(pipeline, store)
    assert features.compute(many).equals(expected)
    assert pl.concat(features.compute(one) for one in many.iter_slices(1)).equals(expected)
    again = OnlineFeatures(from_json(to_json(pipeline), type(pipeline)), store)
    assert again.compute(many).equals(expected)


def test_what_it_gives_must_be_what_it_says() -> None:
    count = python(wrong, "user", returns=int)
    frame = pl.DataFrame({"user": ["u1"]})
    assert frame.select(count.polars.alias("n"))["n"].to_list() == [1]
    assert python(wrong, "user", returns=float)("u1") == 1.0
    with pytest.raises(FeatureError, match=r"wrong: gave a str, not a int"):
        count("u2")
    with pytest.raises(FeatureError, match=r"wrong: failed: KeyError: 'u3'"):
        count("u3")


def test_reading_a_definition_calls_only_what_is_marked_and_unchanged() -> None:
    made = python(spread, "a", "b", returns=float)
    assert from_json(to_json(made), RowFunction) == made
    for change in ({"module": "os", "name": "system"}, {"name": "unmarked"}, {"source": "0" * 16}):
        text = to_json(made)
        for field, value in change.items():
            text = text.replace(f'"{field}":"{getattr(made, field)}"', f'"{field}":"{value}"')
        with pytest.raises(FeatureError, match="row function"):
            from_json(text, RowFunction)(1.0, 2.0)
    with pytest.raises(RaypipeError):
        from_json(to_json(made).replace('"columns"', '"other"'), RowFunction)


EVIL = """
from pathlib import Path
from raypipe import row_function
Path(__file__).with_suffix(".ran").touch()

@row_function
def each(a, b):
    return 1.0
"""


def test_a_strangers_definition_imports_nothing_that_no_setting_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "stranger"
    package.mkdir()
    (package / "evil.py").write_text(EVIL)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(functions, "_TRUSTED", set())
    text = to_json(python(spread, "a", "b", returns=float)).replace(__name__, "stranger.evil")
    source = sha256(EVIL[EVIL.index("@row") :].encode()).hexdigest()[:16]
    text = text.replace('"spread"', '"each"').replace(python(spread, "a", "b", returns=float).source, source)
    read = pickle.dumps(from_json(text, RowFunction))  # as it goes to a worker
    with pytest.raises(FeatureError, match=r'write `row_modules = \["stranger.evil"\]`'):
        pickle.loads(read)(1.0, 2.0)
    assert not (package / "evil.ran").exists()
    functions.trust(["stranger"])
    trusted = pickle.dumps(from_json(text, RowFunction))
    monkeypatch.setattr(functions, "_TRUSTED", {"strange"})
    assert pickle.loads(trusted)(1.0, 2.0) == 1.0
    assert (package / "evil.ran").exists()


def test_another_text_is_another_feature() -> None:
    made = python(spread, "a", "b", returns=float)
    assert fingerprint(made) != fingerprint(replace(made, source="f" * 16))


RATED = """
from raypipe import row_function
from rated.helper import twice

RATE = {rate}
UNUSED = {unused}

def inner(a):
    return twice(a) * RATE

@row_function
def each(a):
    return [inner(one) for one in (a,)][0]
"""


def test_what_a_function_calls_and_names_belongs_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A constant of its module, and a function in another module of its package, two calls away."""
    monkeypatch.syspath_prepend(tmp_path)
    package = tmp_path / "rated"
    package.mkdir()

    def source(rate: int = 2, unused: int = 0, twice: str = "a + a") -> str:
        (package / "helper.py").write_text(f"def twice(a):\n    return {twice}\n")
        (package / "row.py").write_text(RATED.format(rate=rate, unused=unused))
        for name in [name for name in sys.modules if name.startswith("rated")]:
            del sys.modules[name]
        importlib.invalidate_caches()
        linecache.clearcache()
        return python(importlib.import_module("rated.row").each, "a", returns=float).source

    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    first = source()
    assert source() == source(unused=1) == first
    assert len({first, source(rate=3), source(twice="3 * a")}) == 3


def test_what_cannot_be_found_again_is_refused() -> None:
    @row_function
    def inner(user: str) -> str:
        return user

    with pytest.raises(DefinitionError, match="not marked"):
        python(unmarked, "user", returns=str)
    with pytest.raises(DefinitionError, match="cannot be imported by its name"):
        python(inner, "user", returns=str)
    with pytest.raises(DefinitionError, match="returns"):
        python(spread, "a", "b", returns=dict)


def test_hashes_of_this_process_alone_are_refused() -> None:
    with pytest.raises(DefinitionError, match="calls `hash`, which gives something else in every process"):
        python(salted, "user", returns=int)
