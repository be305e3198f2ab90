"""The likely cause of rows that fail: what they look like, where they gather, and with which delivery they came."""

from collections.abc import Callable, Iterator

import polars as pl
from polars.exceptions import PolarsError

from raypipe.clock import iso
from raypipe.spec.checks import Check
from raypipe.validation.rules import Keys
from raypipe.validation.table import Table

#: Failing rows that are looked at; what the first of them have in common is told.
LOOKED_AT = 100_000
#: From this share of the failing rows on, something is what they have in common.
MOST = 0.9
#: What people write where nothing is known.
STAND_INS = (-1.0, -9.0, -99.0, -999.0, -9999.0, 99.0, 999.0, 9999.0, 99999.0)
GAPS = ("", "-", "?", ".", "na", "n/a", "nan", "nil", "none", "null", "unknown", "#n/a")
#: How far apart two units of the same thing are, and an example.
UNITS = (
    (1000.0, "thousandths for wholes, such as metres for kilometres"),
    (100.0, "hundredths for wholes, such as cents or percent"),
    (60.0, "minutes for hours, or seconds for minutes"),
    (3600.0, "seconds for hours"),
    (1e6, "millionths for wholes"),
    (1.609344, "kilometres for miles"),
    (3.28084, "feet for metres"),
    (2.204623, "pounds for kilograms"),
)

Fits = Callable[[pl.Series], pl.Series]


def cause_of_rows(table: Table, check: Check, keys: Keys, failing: pl.LazyFrame) -> str:
    """What failing rows have in common, in words; empty when it is nothing that would help.

    Args:
        table: what was judged.
        check: that failed.
        keys: by table name, the keys of the tables that checks refer to.
        failing: its rows that fail.
    """
    bad = failing.head(LOOKED_AT).collect()
    if not bad.height:
        return ""
    try:
        told = (_looks(check, keys, bad, table), _delivered(table, bad), _gathered(table, check, bad))
    except PolarsError:
        return ""  # a guess is no reason to fail
    return "; ".join(filter(None, told))


def unit(ratio: float) -> str:
    """The units that lie so far apart, in words; empty when none do.

    >>> unit(98.7), unit(1 / 3600), unit(1.3)
    ('hundredths for wholes, such as cents or percent', 'the other way round: seconds for hours', '')
    """
    for factor, words in UNITS:
        if abs(ratio / factor - 1) < 0.1:
            return words
        if abs(ratio * factor - 1) < 0.1:
            return f"the other way round: {words}"
    return ""


def _looks(check: Check, keys: Keys, bad: pl.DataFrame, table: Table) -> str:
    match check.kind:
        case "not_null":
            gaps = {name: bad[name].null_count() for name in check.columns}
            return ", ".join(f"`{name}` is empty in {n:,}" for name, n in gaps.items() if n) if len(gaps) > 1 else ""
        case "between":
            return _numbers(check, bad[check.columns[0]].cast(pl.Float64), table)
        case "one_of" | "matches" | "refers":
            return _texts(bad[check.columns[0]].drop_nulls().cast(pl.String), _fits(check, keys))
        case "lag":
            known = bad["known_at"].drop_nulls().cast(pl.Int64)
            if bad.height > 1 and known.n_unique() == 1:
                return f"all became known at {iso(int(known[0]))}, as a backlog does"
    return ""


def _numbers(check: Check, values: pl.Series, table: Table) -> str:
    finite = values.filter(values.is_finite())
    if not finite.len():
        return "all are NaN, as after a division by zero"
    if finite.n_unique() == 1 and (finite[0] in STAND_INS or finite.len() > 1):
        return f"all are {finite[0]:g}" + (", as written for a missing value" if finite[0] in STAND_INS else "")
    low, high = -float("inf") if check.low is None else check.low, float("inf") if check.high is None else check.high
    if finite.len() < 3:
        return ""
    if _share((-finite).is_between(low, high)) == 1:
        return "their sign is turned"
    usual = table.rows.filter(pl.col(check.columns[0]).is_between(low, high)).select(pl.col(check.columns[0]).median())
    middle, median = usual.collect().item(), finite.median()
    if middle and isinstance(median, float) and (words := unit(median / middle)):
        return f"their median is {median / middle:.3g} times the usual, as with another unit ({words})"
    return ""


def _fits(check: Check, keys: Keys) -> Fits:
    if check.kind == "matches":
        return lambda texts: texts.str.contains(rf"\A(?:{check.pattern})\z")
    known = pl.Series(check.values, dtype=pl.String) if check.to is None else keys[check.to.name].cast(pl.String)
    return lambda texts: texts.is_in(known.implode())


def _texts(texts: pl.Series, fits: Fits) -> str:
    ways = {
        "with white space around": texts.str.strip_chars(),
        "in capitals": texts.str.to_lowercase(),
        "in small letters": texts.str.to_uppercase(),
        "without a capital": texts.str.to_titlecase(),
        "with zeros in front": texts.str.strip_chars_start("0"),
    }
    for words, mended in ways.items():
        if _share(fits(mended)) >= MOST:
            return f"they are written {words}: {_shown(texts[0])} for {_shown(mended[0])}"
    if _share(texts.str.to_lowercase().is_in(GAPS)) >= MOST:
        return f"{_shown(texts[0])} is written for a missing value"
    value, count = texts.value_counts(sort=True, name="n").row(0)
    return f"{'all' if count == texts.len() else f'{count:,} of {texts.len():,}'} are {_shown(value)}"


def _delivered(table: Table, bad: pl.DataFrame) -> str:
    """Whether they are new, and with which files they came."""
    if table.before is None or not table.subject.grows:
        return ""
    ids = list(table.subject.id)
    old = bad.lazy().join(table.before.select(ids), on=ids, how="semi", nulls_equal=True).select(pl.len())
    new = bad.height - int(old.collect(engine="streaming").item())
    if not new:
        return "all were published before: the check is new, was bypassed, or compares with something that has changed"
    whole = "all" if new == bad.height else f"{new:,} of {bad.height:,}"
    names = [path.rpartition("/")[2] for path in table.files]
    files = f" in {', '.join(names[:3])}{' …' if len(names) > 3 else ''}" if names else ""
    return f"{whole} came since the last published state{files}"


def _gathered(table: Table, check: Check, bad: pl.DataFrame) -> str:
    """What most of them share and most of the others do not."""
    return next(_shared(table, check, bad), "") or _span(table, bad)


def _shared(table: Table, check: Check, bad: pl.DataFrame) -> Iterator[str]:
    if bad.height < 5:
        return
    alike: dict[str, tuple[object, float]] = {}
    for name, kind in bad.schema.items():
        if name not in check.columns and (kind in (pl.String, pl.Boolean) or kind.is_integer()):
            value, count = bad[name].value_counts(sort=True, name="__n").row(0)
            if value is not None and count >= MOST * bad.height:
                alike[name] = (value, count / bad.height)
    if not alike:
        return
    usual = table.rows.select(pl.col(name).eq(value).mean().alias(name) for name, (value, _) in alike.items())
    shares = usual.collect(engine="streaming").row(0, named=True)
    for name in sorted(alike, key=lambda one: float(shares[one] or 0)):
        value, share = alike[name]
        if (shares[name] or 0) < 0.5 * share:
            yield f"{share:.0%} have `{name}` = {_shown(value)} ({shares[name] or 0:.1%} of all rows)"


def _span(table: Table, bad: pl.DataFrame) -> str:
    if "event_time" not in bad.columns or bad.height < 5:
        return ""
    times = bad["event_time"].drop_nulls().cast(pl.Int64)
    first, last = table.rows.select(low=pl.col("event_time").min(), high=pl.col("event_time").max()).collect().row(0)
    if not times.len() or first is None or last is None or first == last:
        return ""
    low, high = int(str(times.min())), int(str(times.max()))
    if high - low > 0.2 * (last - first).total_seconds() * 1e6:
        return ""
    return f"all are from {iso(low)} to {iso(high)}"


def _share(true: pl.Series) -> float:
    return float(true.sum()) / max(true.len(), 1)


def _shown(value: object) -> str:
    text = str(value)
    return f"`{text if len(text) <= 40 else text[:39] + '…'}`"
