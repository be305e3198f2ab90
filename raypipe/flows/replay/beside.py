"""What policies are compared with: no retraining at all, and one a day where that does not take for ever."""

from collections.abc import Sequence

from raypipe.flows.replay.past import Past
from raypipe.flows.replay.replay import SECONDS_A_ROW
from raypipe.flows.replay.service import DAY
from raypipe.spec.retrain import Retrain, daily, never
from raypipe.words import amount

#: `daily` stands beside the others by itself when it is reckoned to take no longer: a month of flights is.
SECONDS = 600.0


def beside(
    policies: Sequence[Retrain], past: Past, start: int, end: int, wanted: bool | None
) -> tuple[list[Retrain], str]:
    """The policies with what they are compared with, and what is to be said of what is left out.

    Args:
        policies: those that were asked for.
        past: what there is to learn from.
        start: the first day, microseconds UTC.
        end: when the replay is over.
        wanted: whether `daily` is to be there; None: if its trainings take little time.
    """
    names = {policy.name for policy in policies}
    chosen = [*([] if "never" in names else [never()]), *policies]
    if "daily" in names or wanted is False:
        return chosen, ""
    days = range(start + DAY, end + 1, DAY)
    # Two models a day: what drift is measured against is judged on rows that it has not learned from.
    seconds = 2 * SECONDS_A_ROW * sum(past.before(day) for day in days)
    if wanted or seconds <= SECONDS:
        return [*chosen, daily()], ""
    trainings = amount(len(days), "training")
    return (
        chosen,
        f"`daily` is not among them: {trainings}, reckoned at {seconds / 60:,.0f} minutes. `--daily` adds it.",
    )
