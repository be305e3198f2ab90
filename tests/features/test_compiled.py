"""Row logic on single rows gives the bits that it gives on many, and the quick way is taken where it can be."""

from collections.abc import Callable
from contextlib import suppress
from random import Random

import polars as pl
import pytest

from raypipe.features.compiled import compiled
from raypipe.features.frames import typed
from raypipe.features.logic import selected
from raypipe.spec import Expression, calendar

KINDS = {
    "a": pl.Float64(), "b": pl.Float64(), "i": pl.Int64(), "j": pl.Int32(), "x": pl.String(), "y": pl.String(),
    "z": pl.Boolean(), "s": pl.Datetime("us", "UTC"), "t": pl.Datetime("us", "UTC"), "d": pl.Date(),
}  # fmt: skip
PLACES = {name: i for i, name in enumerate(KINDS)}
A, B, N, J, Z, S, T = (pl.col(name) for name in "abijzst")
THERE = S.dt.convert_time_zone("America/New_York")
QUICK = [
    A + 1, A - B, (A / (B.abs() + 1)).fill_null(0), A / 7, 7 / A, A / N, N / J, -A, A.sqrt(), A.clip(0.5, 5),
    A.clip(lower_bound=1.0), A.exp(), A.log1p(), A.sin(), N * N + 1, N - J, N.abs(), N.cast(pl.Float64),
    (A > 15).cast(pl.Float64), (A > 1).cast(pl.Int8) + J, A >= N, N == J, (pl.col("x") < pl.col("y")),
    ~((N > 3) & (A < 2) | Z), A.is_between(1, N), A.is_nan(), A.is_finite(), pl.col("x").is_null(),
    pl.col("x").is_in(["a", "JFK"]), N.is_in([1, 7]), pl.coalesce("a", "b", pl.lit(2.5)), pl.col("x").fill_null("?"),
    pl.when(A > 3).then(B).otherwise(None), pl.when(Z).then(1).otherwise(0.5), pl.concat_str("x", "y", separator="-"),
    THERE.dt.hour().cast(pl.Int32) * 60 + THERE.dt.minute(), THERE.dt.weekday(), THERE.dt.ordinal_day(),
    THERE.dt.date(), S.dt.year(), S.dt.month(), S.dt.second(), (S - T).dt.total_minutes(), S > T,
    calendar.elapsed("s", "t"), calendar.holiday("s", "America/New_York", "US", years=(2013, 2014)),
    *calendar.cyclic("h", THERE.dt.hour(), 24).values(), pl.lit(3.5),
]  # fmt: skip


def some_rows(many: int) -> list[list[object]]:
    random = Random(7)
    value: dict[str, Callable[[], object]] = {
        "a": lambda: random.choice([random.gauss(0, 20), float(random.randrange(-5, 5)), float("nan"), -0.0]),
        "b": lambda: random.uniform(0, 1e6),
        "i": lambda: random.randrange(-100, 100),
        "j": lambda: random.randrange(-9, 9),
        "x": lambda: random.choice("abc"),
        "y": lambda: random.choice(["JFK", "", "ü"]),
        "z": lambda: random.random() < 0.5,
        "s": lambda: random.randrange(0, 2_500_000_000_000_000),
        "t": lambda: random.randrange(0, 2_500_000_000_000_000),
        "d": lambda: random.randrange(0, 30_000),
    }
    return [[None if random.random() < 0.1 else value[name]() for name in KINDS] for _ in range(many)]


def frame(rows: list[list[object]]) -> pl.DataFrame:
    return pl.DataFrame([typed(n, [row[PLACES[n]] for row in rows], kind) for n, kind in KINDS.items()])


@pytest.mark.parametrize("expression", QUICK, ids=str)
def test_a_function_gives_what_polars_gives(expression: pl.Expr) -> None:
    function, rows = compiled(Expression.of(expression), KINDS, PLACES), some_rows(300)
    assert function is not None
    expected = frame(rows).with_columns(expression.alias("it"))["it"]
    answered = 0
    for row, value in zip(rows, expected.to_physical().to_list(), strict=True):
        # A row that it refuses is left to Polars: the root of a negative number.
        with suppress(ValueError):
            assert repr(function(row)) == repr(value)
            answered += 1
    assert answered > 100


def test_what_has_no_counterpart_is_left_to_polars() -> None:
    unknown = [A.round(2), A.is_in([1.0]), pl.col("x").str.slice(0, 1), A // 2, N.cast(pl.Int32), A.rank()]
    assert [compiled(Expression.of(one), KINDS, PLACES) for one in unknown] == [None] * len(unknown)


def test_what_disagrees_is_left_to_polars(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raypipe.features.compiled._CALCULATE", {"Plus": lambda a, b: a + b * (1 + 1e-15 * (a > 14))})
    assert compiled(Expression.of(A + B), KINDS, PLACES) is None


def test_one_row_says_what_many_say() -> None:
    """Polars by itself divides one row by a number otherwise than many: serving would not be training."""
    rows = frame([[abs(value) if isinstance(value, float) else value for value in row] for row in some_rows(500)])
    step = [
        ("x", Expression.of(B / 7)),
        ("rounded", Expression.of((B / 49).round(3))),
        ("one", Expression.of(pl.lit(1))),
    ]
    assert pl.concat(selected(row, step) for row in rows.iter_slices(1)).equals(selected(rows, step))
