"""What features are made of: one value as it came, of a source or of whoever asks; computed ones; the clock alone."""

from collections.abc import Collection

from raypipe.spec.agg import Aggregate
from raypipe.spec.expressions import Expression
from raypipe.spec.features import Derived, Request
from raypipe.spec.pipeline import Inputs, Pipeline
from raypipe.spec.sources import FeatureGroup, Stream

#: They give the value of one event.
_ONE_VALUE = frozenset({"first", "last"})


def computed(pipeline: Pipeline) -> frozenset[str]:
    """The features that are no column of a source and no field of a request, but computed: windows, expressions.

    What they come to moves by any factor with the season and with who asks; only what is written down is in a unit.
    """
    found: set[str] = set()
    for item in pipeline.inputs:
        found.update(_computed(item, found))
    return frozenset(found)


def of_clock(pipeline: Pipeline) -> frozenset[str]:
    """The features that follow from the moment of asking alone, such as its weekday, or how much of the year is over.

    They move as the clock does, whatever happens in the world. None where rows have no moment.
    """
    if not pipeline.ask.timed:
        return frozenset()
    known, found = {pipeline.ask.moment}, set[str]()
    for item in pipeline.inputs:
        for name, read in item.features.items():
            # What reads nothing is a constant, and stands still.
            if isinstance(read, Expression) and read.roots and known.issuperset(read.roots):
                found.add(name)
                known.add(name)
    return frozenset(found)


def _computed(item: Inputs, before: Collection[str]) -> list[str]:
    if isinstance(item, Request):
        return [name for name, expression in item.features.items() if expression.column is None]
    if isinstance(item, Derived):
        return [n for n, expression in item.features.items() if (expression.column or n) in {n, *before}]
    if isinstance(item, FeatureGroup):
        return [name for name, one in item.features.items() if not _is_shipped(one, item.moment.stream)]
    return [name for name, column in item.features.items() if column not in item.table.columns]


def _is_shipped(one: Aggregate, stream: Stream) -> bool:
    return one.op in _ONE_VALUE and one.value is not None and one.value.column in stream.columns
