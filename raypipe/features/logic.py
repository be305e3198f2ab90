"""Row logic on both sides: expressions over whole frames, and over a few rows of plain values, to the same bits."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import polars as pl
from polars.exceptions import PolarsError

from raypipe.errors import FeatureError
from raypipe.features.compiled import compiled
from raypipe.features.frames import physical, typed
from raypipe.features.scalars import Function
from raypipe.features.single import Value
from raypipe.spec import Derived, Expression, Pipeline, Request

Step = list[tuple[str, Expression]]


def steps(pipeline: Pipeline) -> Iterator[Step]:
    """Row logic in as few steps as it needs: the expressions of a step read only what earlier steps have made."""
    made: dict[str, int] = {}
    found: list[Step] = []
    for item in pipeline.inputs:
        if isinstance(item, (Request, Derived)):
            for name, expression in item.features.items():
                if isinstance(item, Request) and name in item.fields:
                    continue
                step = max((made.get(root, -1) + 1 for root in expression.roots), default=0)
                made[name] = step
                found += [[]] if step == len(found) else []
                found[step].append((name, expression))
    return iter(found)


def with_logic(
    frame: pl.DataFrame, logic: Sequence[Step], make: Callable[[pl.DataFrame, Step], pl.DataFrame] | None = None
) -> pl.DataFrame:
    """A frame with all features that row logic makes of it, step by step by ``make`` (None: `selected`)."""
    for step in logic:
        frame = frame.hstack((make or selected)(frame, step))
    return frame


def of_history(frame: pl.DataFrame, step: Step) -> pl.DataFrame:
    """As `selected`; an expression that a value of history does not fit is told by its place in the definition.

    Raises:
        FeatureError: there is such a value.
    """
    try:
        return selected(frame, step)
    except PolarsError as error:
        raise _misfit(frame, step, error) from None


def _misfit(frame: pl.DataFrame, step: Step, error: PolarsError) -> FeatureError:
    where = ""
    for name, expression in step:
        try:
            selected(frame, [(name, expression)])
        except PolarsError as own:
            where, error = expression.where, own
            break
    reason = str(error).partition("\n")[0]
    cure = "Let it give null there, such as by `cast(..., strict=False)`, or let a gate keep such rows out"
    return FeatureError(f"an expression does not fit what is there: {reason}", where=where, cure=cure)


def selected(frame: pl.DataFrame, step: Step) -> pl.DataFrame:
    """What the expressions of a step make of a frame, one row a row."""
    wanted = [expression.polars.alias(name) for name, expression in step]
    # A piece of one row Polars divides by a number; a longer one it multiplies by what one over the number is. Columns
    # are doubled one by one: a frame would notice that it holds the same row twice.
    if frame.height == 1:
        frame = pl.DataFrame([pl.concat([column, column]).rechunk() for column in frame.get_columns()])
        return frame.with_columns(wanted).select(name for name, _ in step).head(1)
    # Beside a column, what does not depend on any is as long as the frame.
    return frame.rechunk().with_columns(wanted).select(name for name, _ in step)


class RowLogic:
    """The same for rows of plain values, which grow by what is made.

    Args:
        pipeline: the definition.
        kinds: name and type of each value of a row, in order.
    """

    def __init__(self, pipeline: Pipeline, kinds: Mapping[str, pl.DataType]) -> None:
        self.kinds = dict(kinds)
        self._places = {name: i for i, name in enumerate(kinds)}
        self._steps: list[list[tuple[str, Expression, Function | None]]] = []
        for step in steps(pipeline):
            schema = pl.LazyFrame(schema=self.kinds)
            made = schema.select(one.polars.alias(name) for name, one in step).collect_schema()
            self._steps.append([(name, one, compiled(one, self.kinds, self._places)) for name, one in step])
            for name, kind in made.items():
                self._places[name] = len(self.kinds)
                self.kinds[name] = kind

    def __call__(self, rows: Sequence[list[Value]]) -> None:
        """Put to every row what is made of it."""
        for step in self._steps:
            columns = [None if function is None else _each(function, rows) for _, _, function in step]
            left = [(name, one) for (name, one, _), column in zip(step, columns, strict=True) if column is None]
            others = iter(self._by_polars(left, rows) if left else ())
            for column in columns:
                for row, value in zip(rows, next(others) if column is None else column, strict=True):
                    row.append(value)

    def _by_polars(self, step: Step, rows: Sequence[list[Value]]) -> list[list[Value]]:
        roots = dict.fromkeys(root for _, one in step for root in one.roots)
        frame = pl.DataFrame(
            [typed(name, [row[self._places[name]] for row in rows], self.kinds[name]) for name in roots]
        )
        # A frame without columns has no rows.
        frame = frame if roots else pl.DataFrame({"__row": [0] * len(rows)})
        return [physical(column) for column in selected(frame, step).get_columns()]


def _each(function: Function, rows: Sequence[list[Value]]) -> list[Value] | None:
    try:
        return [function(row) for row in rows]
    except (ValueError, OverflowError):
        return None
