"""The tables of what a service said and was told: one row a prediction, one row a piece of feedback.

Each pipeline has its own two tables in the lake, ``predictions.{pipeline}`` and ``feedback.{pipeline}``, with the
columns below. What differs from model to model (request fields, features) is JSON text, because it changes with the
versions; `opened` gives it back as typed columns.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from raypipe.contracts.target import Target

TIME = pl.Datetime("us", "UTC")


@dataclass(frozen=True)
class LogKind:
    """One kind of log.

    Attributes:
        name: the namespace of its tables.
        columns: in order.
        key: the columns that name what a row is about; the latest of several rows stands.
        adds: True when a later row leaves standing what it does not speak of (null).
    """

    name: str
    columns: Mapping[str, pl.DataType]
    key: tuple[str, ...]
    adds: bool = False

    def standing(self, rows: pl.LazyFrame) -> pl.LazyFrame:
        """One row a key, by time, out of all that were written."""
        rows, key = rows.sort("at", *self.key), list(self.key)
        if not self.adds:
            return rows.unique(key, keep="last", maintain_order=True)
        told = rows.group_by(key, maintain_order=True).agg(pl.all().drop_nulls().last())
        return told.select(list(self.columns)).sort("at", *key)


#: ``request_id`` and ``row``: the request, and which of its rows, from 0. ``at``: when it came. ``unit``: the keyed
#: hash of whom it was about, by which its arm was chosen. ``arm``: ``champion``, ``challenger/4`` or ``shadow/4``;
#: ``answered`` is false for what was computed and not sent (a shadow). ``version``, ``digest``: the model.
#: ``generation``, ``watermark``: the state of the stored features that were read. ``latency``: microseconds from the
#: request's arrival until its answer was ready. ``request``, ``features``: JSON objects by name, only what the pipeline
#: allows to be kept, ids as keyed hashes; what is not finite is the text ``Infinity``, ``-Infinity`` or ``NaN``.
#: ``score``: the probability as it was answered, or the number. ``label`` is what was decided of a model of truths,
#: ``category`` the class that was answered; both are null elsewhere.
PREDICTIONS = LogKind(
    "predictions",
    {
        "request_id": pl.String(),
        "row": pl.Int32(),
        "at": TIME,
        "unit": pl.String(),
        "arm": pl.String(),
        "answered": pl.Boolean(),
        "version": pl.Int32(),
        "digest": pl.String(),
        "generation": pl.Int64(),
        "watermark": TIME,
        "latency": pl.Int64(),
        "score": pl.Float64(),
        "label": pl.Boolean(),
        "request": pl.String(),
        "features": pl.String(),
        "category": pl.String(),
    },
    ("request_id", "row", "arm"),
)

#: ``request_id`` and ``row`` name the prediction; ``at``: when it was told. What turned out to be true: ``label`` of
#: truths, ``number`` of numbers, ``category`` of classes.
#: ``outcomes``: business figures by name, a JSON object of numbers. What is told later stands; the table
#: itself keeps every row, with its time.
FEEDBACK = LogKind(
    "feedback",
    {
        "request_id": pl.String(),
        "row": pl.Int32(),
        "at": TIME,
        "label": pl.Boolean(),
        "outcomes": pl.String(),
        "number": pl.Float64(),
        "category": pl.String(),
    },
    ("request_id", "row"),
    adds=True,
)


def told_in(target: Target) -> str:
    """The column of `FEEDBACK` that holds what is told of answers to a target.

    >>> told_in(Target(task="count"))
    'number'
    """
    return "category" if target.task == "multiclass" else "number" if target.numeric else "label"


#: What stands for doubles that JSON has no number for.
_ODD = r'"(?:-?Infinity|NaN)"'


def opened(frame: pl.DataFrame, column: str, types: Mapping[str, pl.DataType], *, whole: bool = False) -> pl.DataFrame:
    """The named values of a JSON column as columns of their own, in place of it.

    Args:
        frame: rows of a log.
        column: ``request``, ``features`` or ``outcomes``.
        types: the values to take, by name, with their types; one that a row lacks is null.
        whole: doubles that are not finite come back as they were; otherwise as null, which they are to a model.

    >>> logged = pl.DataFrame({"features": ['{"delay":1.5,"carrier":"UA"}', '{"delay":null}']})
    >>> opened(logged, "features", {"carrier": pl.String(), "delay": pl.Float32()}).rows()
    [('UA', 1.5), (None, None)]
    >>> odd = pl.DataFrame({"features": ['{"delay":"-Infinity"}', '{"delay":1.5}']})
    >>> [opened(odd, "features", {"delay": pl.Float64()}, whole=whole).rows() for whole in (True, False)]
    [[(-inf,), (1.5,)], [(None,), (1.5,)]]
    """
    odd = bool(frame[column].str.contains(_ODD).any())
    doubles = [pl.col(name).cast(kind) for name, kind in types.items() if odd and kind.is_float()]
    by_text = {one.meta.output_name() for one in doubles}
    text = {n: pl.String() if kind.is_temporal() or n in by_text else kind for n, kind in types.items()}
    read = frame.with_columns(pl.col(column).str.json_decode(pl.Struct(text))).unnest(column).with_columns(doubles)
    if not whole:
        read = read.with_columns(pl.when(pl.col(name).is_finite()).then(pl.col(name)) for name in by_text)
    return read.with_columns(_moment(name, kind) for name, kind in types.items() if kind.is_temporal())


def _moment(name: str, kind: pl.DataType) -> pl.Expr:
    if isinstance(kind, pl.Datetime):
        parsed = pl.col(name).str.to_datetime(time_unit="us", time_zone="UTC", format="%+")
        return parsed if kind.time_zone else parsed.dt.replace_time_zone(None)
    return pl.col(name).str.to_date("%Y-%m-%d")
