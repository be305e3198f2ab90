"""Row logic is elementwise, holds no code, and reading it back runs none."""

import io
import json
import os
import pickle
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.plugins import register_plugin_function

from raypipe.errors import DefinitionError, RaypipeError
from raypipe.spec import Derived, Expression, FrozenMap, derived, from_json, to_json, to_utc

T, S, U = pl.col("t"), pl.col("s"), pl.col("u")

ELEMENTWISE = [
    T + 1,
    pl.when(T > 1).then(S).otherwise(None),
    pl.concat_str(S, S),
    pl.format("{} {} {} {} {} {} {} {} {}", *[S] * 9),
    S.is_in(["a", "b"]),
    T.is_in(list(range(300))),
    S.replace_strict({"a": 1}, default=0),
    T.fill_null(0).clip(0, 5).round(1),
    pl.lit(1),
    pl.coalesce(T, 1),
    pl.max_horizontal(T, 1),
    U.dt.convert_time_zone("America/New_York").dt.hour().cast(pl.Int32) * 60,
    pl.duration(hours=T),
    U + pl.duration(days=1),
    pl.lit(2).pow(3) * T,
    pl.date(T, T, T),
    S.str.split("-").list.get(0),
    S.cast(pl.Enum(["a", "b", "c"])),
    S.cast(pl.Enum(["a", "b", "c"])).to_physical(),
    S.is_in(pl.Series(["a", "b"])),
    T.replace_strict(pl.Series([1, 2]), pl.Series([3, 4]), default=0),
    T + pl.lit(pl.Series([7])),
    S == "Categorical",
    pl.col("Hash") + 1,
    to_utc(S.str.to_datetime("%Y-%m-%d"), S, ("America/New_York", "UTC")),
]

#: With a word of why: the value of a row is another in another process, or among other rows.
UNSTEADY = [
    (S.cast(pl.Categorical).to_physical(), "order in which a process meets"),
    (S.cast(pl.Categorical), "order in which a process meets"),
    (S.cast(pl.Categorical(pl.Categories("own"))).to_physical() + 1, "order in which a process meets"),
    (pl.concat_list(S).cast(pl.List(pl.Categorical)).list.get(0).to_physical(), "order in which a process meets"),
    (S.replace_strict({"a": "b"}, default=None, return_dtype=pl.Categorical), "order in which a process meets"),
    (S.str.json_decode(pl.Struct({"a": pl.Categorical})), "order in which a process meets"),
    (pl.lit("a", dtype=pl.Categorical) == S, "order in which a process meets"),
    (pl.lit(pl.Series(["a"], dtype=pl.Categorical)) == S, "order in which a process meets"),
    (S.hash(), "within one of its versions"),
    (pl.struct("s", "t").hash(seed=7) % 10, "within one of its versions"),
    (S.str.split("-").list.sample(1).list.get(0), "draws at random"),
    (S.str.split("-").list.sample(1, seed=1).list.get(0), "draws at random"),
    (T.shuffle(seed=1) + 1, "draws at random"),
    (T + pl.lit(pl.Series([1, 2])), "dealt out to rows"),
    (T.clip(pl.lit(pl.Series([0, 1])), 3), "dealt out to rows"),
    (S.replace_strict({"a": 1}, default=pl.lit(pl.Series([1, 2]))), "dealt out to rows"),
    (pl.lit(pl.Series([1, 2])).is_in([1]), "dealt out to rows"),
    (T.set_sorted(), "its rows are sorted"),
    (T.is_in(pl.col("b")), "other rows decide"),
    (~T.is_in(pl.col("b") + 1), "other rows decide"),
    (T.is_in(T.implode()), "other rows decide"),
    (pl.lit(1.0).is_in(T), "other rows decide"),
    (pl.when(T > 1).then(T.replace(pl.col("b"), 2)), "other rows decide"),
    (T.replace_strict([1], pl.col("b"), default=None), "other rows decide"),
    (T.set_sorted(descending=True) > 3, "its rows are sorted"),
    (pl.when(T.set_sorted().is_between(1, 3)).then(1), "its rows are sorted"),
    (pl.concat_list(T, T).list.eval(pl.element().set_sorted() == 3).list.any(), "its rows are sorted"),
]

BEYOND = [
    T.shift(),
    T.shift() > 0,
    T - T.mean(),
    pl.when(T.median() < T).then(1).otherwise(0),
    T.fill_null(T.mean()),
    T.rank() > 1,
    T.cum_sum() + 1,
    T.filter(T > 0),
    T.drop_nulls(),
    S.str.split("-").explode(),
    T.sum().over("s") + 0,
    pl.len() + T,
    T.fill_null(strategy="forward") + 1,
    pl.int_range(pl.len()) + T,
    pl.int_range(0, 3) + T,
    pl.int_range(0, 10**12) + 1,
    pl.lit([1, 2]).explode() + T,
    pl.lit("x").str.to_datetime(),
    pl.format("{}", pl.len()),
    T.cum_sum() + pl.duration(days=1),
    T.clip(T.min(), T.max()),
    pl.sum_horizontal(T, T.sum()),
    T.is_duplicated() | True,
    pl.struct("s", "t").struct.unnest(),
    T.shuffle(seed=1) + 1,
]

CODE = [
    T.map_elements(lambda t: t + len(os.sep), return_dtype=pl.Float64),
    T.map_batches(lambda t: t, return_dtype=pl.Float64),
    pl.fold(pl.lit(0), lambda a, b: a + b, ["t"]),
    pl.reduce(lambda a, b: a + b, ["t", "u"]),
    T.rolling_map(lambda t: t.sum(), 3),
    T.name.map(lambda name: name + "x"),
    T + pl.when(T > 0).then(T.map_elements(lambda t: t + len(os.sep), return_dtype=pl.Float64)).otherwise(0),
    register_plugin_function(plugin_path=os.__file__, function_name="f", args=[T], is_elementwise=True),
]


@pytest.mark.parametrize("expr", ELEMENTWISE, ids=str)
def test_row_by_row(expr: pl.Expr) -> None:
    assert Expression.of(expr).is_elementwise
    assert not Expression.of(expr).has_python


@pytest.mark.parametrize("expr", BEYOND, ids=str)
def test_beyond_the_row(expr: pl.Expr) -> None:
    assert not Expression.of(expr).is_elementwise
    assert not Expression.of(expr).has_python


@pytest.mark.parametrize(("expr", "why"), UNSTEADY, ids=str)
def test_what_another_process_sees_otherwise(expr: pl.Expr, why: str) -> None:
    found = Expression.of(expr)
    assert not found.is_elementwise
    assert found.unsteady is not None
    assert why in found.unsteady[0]


@pytest.mark.parametrize("expr", [*ELEMENTWISE, *BEYOND[:-1]], ids=str)
def test_what_every_process_sees_alike(expr: pl.Expr) -> None:
    assert Expression.of(expr).unsteady is None


@pytest.mark.parametrize("expr", CODE)
def test_code_is_seen(expr: pl.Expr) -> None:
    assert Expression.of(expr).has_python
    assert not Expression.of(expr).is_elementwise


@pytest.mark.parametrize("expr", CODE)
def test_code_is_not_read_back(expr: pl.Expr) -> None:
    with pytest.raises(RaypipeError, match="an expression holds code"):
        from_json(to_json(derived(f=expr)), Derived)


class Canary:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


def byte_lists(node: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], list[int]]]:
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in children:
        if isinstance(child, list) and len(child) > 20 and all(isinstance(item, int) for item in child):
            yield (*path, key), child
        yield from byte_lists(child, (*path, key))


def armed(expr: pl.Expr, canary: Path, as_text: bool) -> str:
    """The JSON of an expression whose pickled function is replaced by one that acts as soon as it is read."""
    tree = json.loads(expr.meta.serialize(format="json"))
    [(path, content)] = byte_lists(tree)
    start = next(i for i in range(len(content)) if content[i] == 128 and content[i + 1] in (4, 5))
    poison = [*content[:start], *pickle.dumps(Canary(canary), protocol=0)]
    node = tree
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = "".join(map(chr, poison)) if as_text else poison
    return json.dumps(tree)


@pytest.mark.parametrize("as_text", [False, True])
@pytest.mark.parametrize("expr", CODE[2:6])
def test_a_poisoned_definition_does_nothing(tmp_path: Path, expr: pl.Expr, as_text: bool) -> None:
    """The attack works on Polars itself, so this test would notice if our refusal came too late."""
    text = armed(expr, tmp_path / "polars", as_text)
    pl.Expr.deserialize(io.StringIO(text), format="json")
    assert (tmp_path / "polars").is_dir()

    stored = to_json(Derived(FrozenMap({"f": Expression(armed(expr, tmp_path / "raypipe", as_text))})))
    with pytest.raises(RaypipeError, match="an expression holds code"):
        from_json(stored, Derived)
    assert not (tmp_path / "raypipe").exists()


@given(st.lists(st.integers(0, 255), min_size=8, max_size=40), st.text(st.characters(codec="utf-8"), max_size=30))
def test_literals_of_any_kind_are_data(numbers: list[int], text: str) -> None:
    for expr in (T.is_in(numbers), S.eq(text), pl.lit(bytes(numbers)), T.replace_strict(numbers, numbers, default=0)):
        stored = Expression.of(expr)
        assert not stored.has_python
        assert stored.polars.meta.eq(expr)


@given(st.text(min_size=1, max_size=30))
def test_columns_of_any_name_are_no_code(name: str) -> None:
    assert not Expression.of((pl.col("a") + pl.col("b")).alias(name)).has_python
    if not (name.startswith("^") and name.endswith("$")):  # a pattern of names, to Polars
        assert not Expression.of(pl.col(name)).has_python


def test_only_expressions_and_column_names_are_expressions() -> None:
    assert Expression.of("a") == Expression.of(pl.col("a"))
    with pytest.raises(TypeError, match="expected a column name or a Polars expression, not int"):
        Expression.of(3)
    with pytest.raises(RaypipeError, match="expected a Derived"):
        from_json(to_json(Expression.of("a")), Derived)


def test_roots_are_told_once_in_order() -> None:
    assert Expression.of(pl.col("b") + pl.col("a") + pl.col("b")).roots == ("b", "a")


def test_to_utc_at_the_edges_of_the_clock() -> None:
    """Oracle: 2013 in New York, clocks forward on 10 March at 2:00, back on 3 November at 2:00."""
    frame = pl.DataFrame(
        {
            "at": ["2013-03-10 01:59", "2013-03-10 02:30", "2013-11-03 01:30", "2013-07-01 12:00", "2013-07-01 12:00"],
            "zone": ["America/New_York"] * 3 + ["Mars", None],
        }
    )
    local = pl.col("at").str.to_datetime("%Y-%m-%d %H:%M")
    found = frame.select(to_utc(local, pl.col("zone"), ("America/New_York",))).to_series()
    told = [None if at is None else f"{at:%H:%M}" for at in found]
    assert told == ["06:59", None, "05:30", None, None]
    assert found.dtype == pl.Datetime("us", "UTC")


@pytest.mark.parametrize("odd", [float("inf"), float("-inf"), float("nan")])
def test_a_number_that_cannot_be_written_down_is_refused(odd: float) -> None:
    with pytest.raises(DefinitionError, match=r"test_expressions\.py:\d+.*holds infinity or NaN"):
        Expression.of(pl.col("a").clip(0, odd))
    assert Expression.of(pl.when(pl.col("a") > 1).then(None).otherwise(1)).roots == ("a",)
