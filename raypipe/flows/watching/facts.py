"""What a policy decides on, out of a tick: as far as it is certain, so that a few unlucky requests roll nobody back."""

from collections.abc import Mapping
from math import sqrt

from raypipe.contracts.counts import latency_of
from raypipe.contracts.decisions import Situation
from raypipe.contracts.watching import DriftReport, PerformanceReport
from raypipe.flows.watching.state import Part

#: Standard deviations that a figure must be away from what could be chance: once in some 700 ticks.
_SURE = 3.0
#: Standard deviations of which the bounds of an estimate are told: 95 %.
_TOLD = 1.96
#: Estimates are decided on when they are of so many predictions.
_ENOUGH = 1_000
#: The quantile of latencies that people feel.
_SHARE = 0.99


def situation(
    pipeline: str,
    version: int,
    since: int,
    at: int,
    found: PerformanceReport | None,
    looked: int,
    report: DriftReport | None,
) -> Situation:
    """What a policy may decide on: the same in production and in a replay.

    Args:
        pipeline: its name.
        version: the champion.
        since: up to when it has learned, microseconds UTC.
        at: now, microseconds UTC.
        found: its performance; None: nothing is known of labels.
        looked: up to when the policy has seen to its schedules.
        report: of its newest tick; None: there is none.
    """
    judged = None if found is None or found.reference is None else found
    return Situation(
        pipeline=pipeline,
        version=version,
        at=at,
        since=since,
        looked=looked,
        new_rows=None if found is None else found.new_labels,
        errors=None if judged is None else judged.alarm,
        onset=None if judged is None else judged.onset,
        error_rise=None if judged is None else judged.error_rise,
        regret=None if judged is None else judged.regret,
        estimated_rise=None if judged is None else _rise(judged),
        drift_mass=None if report is None else report.mass,
        drifted=() if report is None else tuple(column.column for column in report.alarms),
        breaks=() if report is None else report.breaks,
    )


def _rise(found: PerformanceReport) -> float:
    """By how much, in parts, the newest estimates are for certain above what the loss was.

    Of as many of the newest cohorts as it takes to hold enough predictions, each by its share of them: a day that has
    only begun is seen with the one before, and one with few requests says no more than they do.
    """
    rows, above, reference = 0, 0.0, found.reference[0] if found.reference else 0.0
    for cohort in reversed(found.cohorts):
        if rows >= _ENOUGH or not cohort.predictions:
            continue
        value, low, _ = cohort.estimated
        above += cohort.predictions * (value - (value - low) * _SURE / _TOLD - reference)
        rows += cohort.predictions
    return above / rows / reference if rows and reference else 0.0


def failing(part: Part) -> float | None:
    """The share of rows that were not answered, its lower bound; None: nothing was asked.

    >>> failing(Part(rows=197, failed=3)), round(failing(Part(rows=20, failed=80)), 2)
    (0.0, 0.53)
    """
    asked = part.rows + part.failed
    return max(part.failed - _SURE * sqrt(part.failed), 0.0) / asked if asked else None


def slower(latency: Mapping[int, int], usual: Mapping[int, int]) -> float | None:
    """The 99th percentile as a multiple of the usual one, its lower bound; None: there are too few to tell.

    Args:
        latency: answers by cell, see `raypipe.contracts.counts.latency_cells`.
        usual: of the version that it is compared with.

    >>> round(slower({200: 1_000}, {100: 1_000}), 2), slower({100: 997, 300: 3}, {100: 1_000})
    (7.24, 1.0)
    """
    answers = sum(latency.values())
    if answers < 100 or not sum(usual.values()):
        return None
    sure = _SHARE - _SURE * sqrt(_SHARE * (1 - _SHARE) / answers)
    return latency_of(latency, sure) / latency_of(usual, _SHARE)
