"""Which trial wins: a rule that can be said in one sentence."""

from collections.abc import Sequence

from raypipe.errors import TrainingError
from raypipe.spec import Search, more_is_better
from raypipe.training.outcome import FINISHED, Outcome

SPEED = "p99_ms_1"


def choose(outcomes: Sequence[Outcome], search: Search, pipeline: str) -> tuple[Outcome, str]:
    """The finished trial with the best metric among those that are fast enough, and why it was chosen.

    Raises:
        TrainingError: no trial finished, or none is fast enough.
    """
    finished = [outcome for outcome in outcomes if outcome.trial.status == FINISHED]
    if not finished:
        raise TrainingError(_nothing(outcomes), where=f"{pipeline}: search", cure="Mend the first, then run again")
    fast = [outcome for outcome in finished if _fast_enough(outcome, search.p99_ms)]
    if not fast:
        best = min(finished, key=lambda outcome: outcome.trial.metrics[SPEED])
        what = f"no trial answers one row within p99 {search.p99_ms:g} ms; the fastest is {_name(best)}"
        cure = "Raise `p99_ms`, or search smaller models"
        raise TrainingError(f"{what} with {best.trial.metrics[SPEED]:.3g} ms", where=f"{pipeline}: search", cure=cure)
    # The order of the trials breaks ties, so that the same outcomes have the same winner.
    ranked = sorted(fast, key=lambda outcome: (-(outcome.goodness or 0.0), outcome.trial.number))
    return ranked[0], _reason(ranked, search, slow=len(finished) - len(fast))


def _fast_enough(outcome: Outcome, limit: float | None) -> bool:
    return limit is None or outcome.trial.metrics[SPEED] <= limit


def _name(outcome: Outcome) -> str:
    return f"{outcome.trial.algorithm} (trial {outcome.trial.number})"


def _reason(ranked: Sequence[Outcome], search: Search, slow: int) -> str:
    metric = search.metric
    best = "highest" if more_is_better(metric) else "lowest"
    values = [f"{_name(outcome)} {outcome.trial.metrics[metric]:.4f}" for outcome in _podium(ranked)]
    rule = f"the {best} {metric} on the tuning period"
    if search.p99_ms is not None:
        rule += f" among models that answer one row within p99 {search.p99_ms:g} ms"
        rule += f" ({slow} did not)" if slow else ""
    return f"{values[0]} has {rule}" + (f"; after it {', '.join(values[1:])}" if values[1:] else "")


def _podium(ranked: Sequence[Outcome]) -> list[Outcome]:
    """The winner, the second, and the best of each further algorithm."""
    shown = list(ranked[:2])
    for outcome in ranked[2:]:
        if outcome.trial.algorithm not in {other.trial.algorithm for other in shown}:
            shown.append(outcome)
    return shown


def _nothing(outcomes: Sequence[Outcome]) -> str:
    reasons = dict.fromkeys(f"{outcome.trial.algorithm}: {outcome.trial.error}" for outcome in outcomes)
    return f"no trial of {len(outcomes)} finished: {'; '.join(list(reasons)[:5])}"
