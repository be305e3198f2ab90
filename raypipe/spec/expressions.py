"""Row logic: Polars expressions held by value, so that a definition can be compared, hashed and stored as text."""

import io
import json
import re
from dataclasses import dataclass
from functools import cached_property

import polars as pl
from polars.exceptions import PanicException, PolarsError

from raypipe.errors import DefinitionError, Fault
from raypipe.spec.unsteady import why
from raypipe.spec.values import place, written_at

#: Nodes of an expression's JSON that carry a Python function, a shared library, or a query of its own.
_CODE = frozenset(
    {
        "AnonymousAgg",
        "AnonymousFunction",
        "CumFoldHorizontal",
        "CumReduceHorizontal",
        "FfiPlugin",
        "FoldHorizontal",
        "PipeWithDtype",
        "ReduceHorizontal",
        "SubPlan",
    }
)

_ZONE = re.compile(r'"ConvertTimeZone":\{"inner":"([^"]+)"')
#: What Polars adds for itself: `col("a")`, `dyn int: 1`, lists around arguments.
_PLAINER = (
    (re.compile(r'col\("(\w+)"\)'), r"\1"),
    (re.compile(r"dyn \w+: "), ""),
    (re.compile(r"strict_cast\("), "cast("),
    (re.compile(r"\[\[([^\[\]]*)\]\]"), r"{\1}"),
    (re.compile(r"\(\[([^\[\]()]*)\]\)"), r"(\1)"),
)
#: The innermost operation, which Polars writes `[(a) + (b)]`.
_OPERATION = re.compile(r"\[\(([^\[\]]*?)\) ([-+*/%<>=!&|^]{1,2}) \(([^\[\]]*?)\)\]")


@dataclass(frozen=True)
class Expression:
    """One elementwise Polars expression as its own JSON text; equal texts are equal expressions.

    The same object runs over history and over one request. JSON, not pickle: reading one back runs no code.

    >>> Expression.of(pl.col("a") + 1).roots
    ('a',)
    """

    text: str
    where: str = place()

    @classmethod
    def of(cls, value: "pl.Expr | str | Expression") -> "Expression":
        """From a Polars expression, or a column by its name.

        Raises:
            DefinitionError: it holds a number that JSON has no word for.
        """
        if isinstance(value, Expression):
            return value
        expr = pl.col(value) if isinstance(value, str) else value
        if not isinstance(expr, pl.Expr):
            raise TypeError(f"expected a column name or a Polars expression, not {type(value).__name__}")
        made = cls(expr.meta.serialize(format="json"))
        if ":null}" in made.text and not made.has_python:
            try:
                _ = made.polars
            except PolarsError:
                what = f"`{expr}` holds infinity or NaN, which a definition cannot be written down with"
                cure = "Leave a bound out where there is none; compare by `is_nan()`, `is_finite()`"
                raise DefinitionError([Fault(written_at(), what, cure)]) from None
        return made

    @cached_property
    def polars(self) -> pl.Expr:
        """The expression to run."""
        return pl.Expr.deserialize(io.StringIO(self.text), format="json")

    @cached_property
    def roots(self) -> tuple[str, ...]:
        """The columns it reads, each once, in order of first use."""
        return tuple(dict.fromkeys(self.polars.meta.root_names()))

    @cached_property
    def column(self) -> str | None:
        """The column whose values it gives as they are, be it as another type; None: it computes something.

        >>> Expression.of(pl.col("a").cast(pl.Float64).alias("b")).column, Expression.of(pl.col("a") + 1).column
        ('a', None)
        """
        node = {} if self.has_python else json.loads(self.text)
        while not node.keys().isdisjoint({"Alias", "Cast"}):
            node = node["Alias"][0] if "Alias" in node else node["Cast"]["expr"]
        return node.get("Column")

    @cached_property
    def is_elementwise(self) -> bool:
        """True when a row's result depends on that row alone and no Python function is inside."""
        return not self.has_python and self.unsteady is None and _is_elementwise(self.polars)

    @cached_property
    def unsteady(self) -> tuple[str, str] | None:
        """Why the same row has another value in another process, and the cure; None when it has not."""
        return None if self.has_python else why(self.text)

    @cached_property
    def has_python(self) -> bool:
        """True when a Python function or a library is embedded: reading such an expression back would run code.

        Only the text is looked at, since making a Polars expression of it is what would run the code.
        """
        return _holds_code(json.loads(self.text))

    @cached_property
    def in_words(self) -> str:
        """For people: as Polars shows it, without what it adds for itself.

        >>> Expression.of(pl.col("at").dt.convert_time_zone("Asia/Tokyo").dt.hour() * 60 + pl.col("m")).in_words
        '(at.dt.convert_time_zone("Asia/Tokyo").dt.hour() * 60) + m'
        """
        zones = set(_ZONE.findall(self.text))
        # Polars does not show the zone; of several it is not known which is where.
        zone = f'convert_time_zone("{zones.pop()}")' if len(zones) == 1 else "convert_time_zone()"
        shown = str(self.polars).replace("convert_time_zone()", zone)
        for pattern, plain in _PLAINER:
            shown = pattern.sub(plain, shown)
        while (plainer := _OPERATION.sub(r"(\1 \2 \3)", shown)) != shown:
            whole, shown = _OPERATION.fullmatch(shown), plainer
            if whole:
                return plainer[1:-1]
        return shown

    def __str__(self) -> str:
        return str(self.polars)


def _is_elementwise(expr: pl.Expr) -> bool:
    # Polars looks at the outermost step only: `col("a").max() - col("a")` passes there. The steps inside come first, so
    # that nothing which makes rows of its own is ever worked out.
    if not all(_is_elementwise(inner) for inner in expr.meta.pop()):
        return False
    try:
        if expr.meta.is_literal():
            return True
        return expr.meta.is_row_separable() and (expr.meta.is_length_preserving() or _is_one_value(expr))
    except (PolarsError, PanicException):
        return False  # Polars cannot tell without the data, or what makes several columns of one


def _is_one_value(expr: pl.Expr) -> bool:
    """True for a constant such as ``pl.duration(days=1)``, which Polars does not count as preserving a length."""
    return not expr.meta.root_names() and pl.select(expr).height == 1


def _holds_code(node: object, key: str = "") -> bool:
    if isinstance(node, dict):
        # A literal is data, of whatever bytes.
        return any(name in _CODE or (name != "Literal" and _holds_code(child, name)) for name, child in node.items())
    if isinstance(node, list):
        return _is_pickle(node, key) or any(_holds_code(child, key) for child in node)
    return isinstance(node, str) and key not in ("Alias", "Column") and _is_packed(node)


def _is_pickle(items: list[object], key: str) -> bool:
    """A function may hide under a name that is not known here; all of them are bytes, and long."""
    numbers = len(items) >= 8 and all(type(item) is int and 0 <= item <= 255 for item in items)
    return numbers and key != "insertions"  # where `pl.format` puts its values


def _is_packed(text: str) -> bool:
    """Polars takes those bytes as a text too; it begins with a mark, or with the version of Python as characters."""
    return len(text) >= 8 and (text.startswith("PLPYFN") or any(c < " " and c not in "\t\n\r" for c in text))


def to_utc(local: pl.Expr, zone: pl.Expr, zones: tuple[str, ...]) -> pl.Expr:
    """Turn a naive local time into UTC by a zone that differs from row to row.

    Args:
        local: a naive ``Datetime`` expression.
        zone: an expression giving the row's IANA zone name.
        zones: the zones that occur; a row of any other zone becomes null, for a gate to find.

    A local time that occurs twice (clocks set back) is read as the earlier; one that never occurs becomes null.

    >>> frame = pl.DataFrame({"t": ["2013-01-01 05:15"], "z": ["America/New_York"]})
    >>> expr = to_utc(pl.col("t").str.to_datetime("%Y-%m-%d %H:%M"), pl.col("z"), ("America/New_York",))
    >>> frame.select(expr).item().isoformat()
    '2013-01-01T10:15:00+00:00'
    """
    result = pl.lit(None, dtype=pl.Datetime("us", "UTC"))
    for name in zones:
        there = local.dt.replace_time_zone(name, ambiguous="earliest", non_existent="null")
        result = pl.when(zone == name).then(there.dt.convert_time_zone("UTC").dt.cast_time_unit("us")).otherwise(result)
    return result
