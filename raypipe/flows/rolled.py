"""A definition moved on in time: what a challenger learns from, and what it is judged on."""

from datetime import UTC, datetime, timedelta

from raypipe.retraining.challenge import held_out
from raypipe.spec import Periods, Pipeline, changed, micros

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def rolled(pipeline: Pipeline, since: int, as_of: int, onset: int | None = None, *, forget: bool = False) -> Pipeline:
    """The definition with its periods moved on: judged on the newest settled rows, fitted on all before.

    Args:
        pipeline: the definition of the champion.
        since: up to when the champion has learned.
        as_of: the moment; labels that settle later are not known.
        onset: when the world changed last, if it did; all in microseconds UTC.
        forget: learn from nothing that is older than that.
    """
    settled = as_of - micros(pipeline.label.settled_after)
    until = _time(held_out(since, settled, onset))
    before = pipeline.periods
    first = _time(onset) if forget and onset is not None else before.train[0]
    # Nothing is tuned any more: what is called so is part of what is learned from.
    tune = max(until - (before.tune[1] - before.tune[0]), first + (until - first) / 2)
    split = Periods(
        (first, tune), (tune, until), (until, _time(settled)), apart=before.apart, where=pipeline.split.where
    )
    pretended = None if pipeline.as_of is None else _time(as_of)
    return changed(pipeline, split=split, finish=changed(pipeline.finish, whole=True), as_of=pretended)


def learned_until(pipeline: Pipeline) -> int:
    """Up to when the model of a bundle has learned, by when a row was asked; microseconds UTC."""
    end = pipeline.periods.holdout[1] if pipeline.finish.whole else pipeline.periods.tune[1]
    return micros(end - _EPOCH)


def _time(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)
