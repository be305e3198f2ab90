"""Rules about the split: nothing is chosen or learned on rows that a model is judged on, and time is not mixed up."""

from collections.abc import Iterator
from itertools import pairwise

from raypipe.errors import Fault
from raypipe.spec.lint.sources import columns, unknown
from raypipe.spec.pipeline import Pipeline
from raypipe.spec.split import PARTS, Periods, Shares


def split_rule(pipeline: Pipeline) -> Iterator[Fault]:
    """Rows with a time are split by it, rows without one by chance; each row is in one part only."""
    split = pipeline.split
    if isinstance(split, Shares):
        yield from _shares(pipeline, split)
    else:
        yield from _periods(pipeline, split)
    column = split.apart if isinstance(split, Periods) else split.together
    if column:
        yield from unknown(column, columns(pipeline.ask.stream), split.where, pipeline.ask.stream.name)


def _shares(pipeline: Pipeline, split: Shares) -> Iterator[Fault]:
    if pipeline.ask.timed:
        what = f"a random split of rows with a time: `{pipeline.ask.moment}` of what is learned from lies after that of"
        cure = "Split by time with `periods(...)`; `apart` keeps values of a column apart, `walk_forward` makes folds"
        yield Fault(split.where, f"{what} what is judged, so the model is judged on its own past", cure)
    for name in PARTS:
        if not getattr(split, name) > 0:
            why = "a model would be chosen on its own test" if name != "train" else "nothing could be learned"
            yield Fault(split.where, f"no rows are kept for `{name}`: {why}", "Give each part a share above 0")
    total = split.train + split.tune + split.holdout
    if abs(total - 100) > 1e-6:
        yield Fault(split.where, f"the shares add up to {total:g}, not to 100", "They are of a hundred rows")


def _periods(pipeline: Pipeline, split: Periods) -> Iterator[Fault]:
    if not pipeline.ask.timed:
        what = f"`{pipeline.ask.stream.name}` is a table: its rows have no time to be split by"
        yield Fault(split.where, what, "Split with `shares(train=70, tune=20, holdout=10)`")
    for name, (start, end) in split.items():
        if start >= end:
            yield Fault(split.where, f"period {name} ends before it starts", "Give the first month, then the last")
    for (earlier, (_, end)), (later, (start, _)) in pairwise(split.items()):
        if end > start:
            what, cure = f"period {later} starts before {earlier} ends", "A model is judged on what comes after"
            if later == "holdout":
                what += ": a model would be chosen on rows of its own test"
            yield Fault(split.where, what, cure)
    if pipeline.as_of is not None and pipeline.as_of <= split.holdout[0]:
        cure = "Nothing could be judged; give a later time"
        yield Fault(pipeline.where, "`as_of` lies before the holdout period", cure)
    if split.folds < 1:
        yield Fault(split.where, f"walking forward in {split.folds} steps goes nowhere", "Give at least one step")
    elif (split.tune[1] - split.tune[0]) / split.folds <= pipeline.label.settled_after and split.folds > 1:
        what = f"{split.folds} parts of the tuning period are each shorter than labels take to settle"
        yield Fault(split.where, what, "Take fewer steps, or a longer tuning period")
