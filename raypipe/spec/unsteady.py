"""What in an expression gives the same row another value in another process, or among other rows.

A definition is one meaning for history and for a request, which different processes work out. Polars numbers categories
in the order in which a process meets them, promises hashes within one of its versions only, draws at random by the
place of a row, searches among rows that are said to be sorted instead of looking at each, and takes a column as one set
where others are looked for in it; none of these is a function of the row.
"""

import io
import json
from collections.abc import Iterator

import polars as pl

#: By the name of the node in an expression's JSON: why, and what to write instead.
_UNSTEADY = {
    "Categorical": (
        "numbers categories in the order in which a process meets them",
        "Use the text itself, or `pl.Enum([...])` with all texts",
    ),
    "Hash": ("hashes, which Polars keeps the same within one of its versions only", "Use the value itself"),
    "Random": ("draws at random", "Leave the drawing out"),
    "Sample": ("draws at random", "Leave the drawing out"),
    "SetSortedFlag": (
        "says that its rows are sorted, which a single row always is: Polars searches among them, not looking at each",
        "Leave `set_sorted()` out",
    ),
}
#: Functions that take a series as one value: a set, or what is replaced by what.
_SETS = ("IsIn", "Replace", "ReplaceStrict")
_COLUMN = (
    "takes all rows of a column as one set, so that other rows decide about this one",
    "Write the values themselves; for a list that each row has, use `list.contains`",
)
_LONG = ("holds a series of several values, which are dealt out to rows by their place", "Write one value")


def why(text: str) -> tuple[str, str] | None:
    """Why an expression is no function of the row alone, and the cure; None when nothing of this kind is in it.

    Args:
        text: the expression's JSON, which holds no code.

    >>> why(pl.col("carrier").cast(pl.Categorical).to_physical().meta.serialize(format="json"))[0]
    'numbers categories in the order in which a process meets them'
    """
    tree = json.loads(text)
    for name in _names(tree):
        if name in _UNSTEADY:
            return _UNSTEADY[name]
    if any("Column" in _names(inside) for inside in _sets(tree)):
        return _COLUMN
    for series, is_set in _series(tree):
        if series.dtype == pl.Categorical:
            return _UNSTEADY["Categorical"]
        if len(series) != 1 and not is_set:
            return _LONG
    return None


def _names(node: object, key: str = "") -> Iterator[str]:
    """Names of nodes; those without arguments stand as plain texts."""
    if isinstance(node, dict):
        for name, child in node.items():
            yield name
            yield from _names(child, name)
    elif isinstance(node, list):
        for child in node:
            yield from _names(child)
    elif isinstance(node, str) and key in ("function", "ListExpr"):
        yield node


def _series(node: object, *, is_set: bool = False) -> Iterator[tuple[pl.Series, bool]]:
    """Every literal series, and whether a function takes it as a whole."""
    if isinstance(node, dict):
        if isinstance(node.get("Literal"), dict) and "Series" in node["Literal"]:
            text = json.dumps({"Literal": node["Literal"]})
            yield pl.select(pl.Expr.deserialize(io.StringIO(text), format="json")).to_series(), is_set
            return
        takes = _takes_sets(node.get("function"))
        for name, child in node.items():
            if takes and name == "input" and isinstance(child, list):
                for place, one in enumerate(child):
                    yield from _series(one, is_set=place in (1, 2))
            else:
                yield from _series(child)
    elif isinstance(node, list):
        for child in node:
            yield from _series(child)


def _sets(node: object) -> Iterator[object]:
    """What functions take as one set: the second input, and the third."""
    if isinstance(node, dict):
        if _takes_sets(node.get("function")) and isinstance(node.get("input"), list):
            yield from node["input"][1:3]
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from _sets(child)


def _takes_sets(function: object) -> bool:
    return any(name in _SETS for name in _names({"function": function}))
