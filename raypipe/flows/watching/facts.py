"""What a policy decides on, out of a tick: as far as it is certain, so that a few unlucky requests roll nobody back."""

from collections.abc import Mapping
from math import sqrt

from raypipe.contracts.counts import latency_of
from raypipe.contracts.decisions import Situation
from raypipe.contracts.watching import DriftReport, PerformanceReport
from raypipe.flows.watching.known import Known
from raypipe.flows.watching.state import Part

#: Standard deviations that a figure must be away from what could be chance: once in some 700 ticks.
_SURE = 3.0
#: The quantile of latencies that people feel.
_SHARE = 0.99


def situation(
    known: Known, at: int, found: PerformanceReport | None, looked: int, report: DriftReport | None
) -> Situation:
    """What a policy may decide on."""
    return Situation(
        pipeline=known.version.name,
        version=known.version.version,
        at=at,
        since=known.version.lineage.as_of,
        looked=looked,
        new_rows=None if found is None else found.new_labels,
        errors=None if found is None else found.alarm,
        onset=None if found is None else found.onset,
        error_rise=None if found is None else found.error_rise,
        regret=None if found is None else found.regret,
        estimated_rise=None if found is None else _rise(found),
        drift_mass=None if report is None else report.mass,
        drifted=() if report is None else tuple(column.column for column in report.alarms),
        breaks=() if report is None else report.breaks,
    )


def _rise(found: PerformanceReport) -> float:
    """By how much, in parts, the newest estimates are for certain above what the loss was."""
    low = min((cohort.estimated[1] for cohort in found.cohorts if cohort.predictions), default=found.reference[0])
    return low / found.reference[0] - 1 if found.reference[0] else 0.0


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
