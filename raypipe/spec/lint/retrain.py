"""Rules about when a model is trained anew."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from math import inf, isfinite
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from raypipe.errors import Fault
from raypipe.spec.pipeline import Pipeline
from raypipe.spec.retrain import (
    Age,
    AllOf,
    Drift,
    Errors,
    EstimatedLoss,
    Failing,
    Freeze,
    NewRows,
    Regret,
    Relearn,
    Retrain,
    Rollout,
    Schedule,
    Slower,
    Trigger,
)

#: Where a schedule begins to be looked for; it is found, or not, from any.
_ANY_DAY = datetime(2000, 1, 1, tzinfo=UTC)


def retrain_rule(pipeline: Pipeline) -> Iterator[Fault]:
    """Of a pipeline's own policy."""
    if pipeline.retrain is not None:
        if not pipeline.ask.timed:
            what = "rows without time cannot be newer than others, so nothing says when to train anew"
            yield Fault(pipeline.retrain.where, what, "Ask about a stream, or leave `retrain` out")
        yield from policy_faults(pipeline.retrain)


def policy_faults(policy: Retrain) -> Iterator[Fault]:
    """What is wrong with a policy, wherever it was written."""
    for trigger in (*policy.any, *policy.alert, *policy.analyse, *policy.roll_back):
        yield from _trigger(trigger)
    lengths = (("cooldown", policy.cooldown), ("backoff", policy.backoff), ("probation", policy.probation))
    for what, value in lengths:
        if value < timedelta(0):
            yield Fault(policy.where, f"the {what} is negative", "Give a length of time, or zero")
    if policy.new_rows < 0 or policy.daily_cap < 1:
        yield Fault(
            policy.where, "the caps let nothing through", "Give `new_rows` of 0 or more, `daily_cap` of 1 or more"
        )
    if policy.budget is not None and not 0 < policy.budget < inf:
        pays = "everything" if policy.budget == inf else "nothing"
        yield Fault(policy.where, f"the budget pays for {pays}", "Give the seconds of training in 30 days, or none")
    for days in policy.freeze:
        yield from _freeze(days)
    if policy.rollout is not None:
        yield from _rollout(policy.rollout)


def _rollout(rollout: Rollout) -> Iterator[Fault]:
    shares = (rollout.shadow, *rollout.shares)
    if not all(0 <= share <= 1 for share in shares):
        yield Fault(rollout.where, "a share is not between 0 and 1", "Write 10 % as 0.1")
    elif list(rollout.shares) != sorted(set(rollout.shares)) or 0 in rollout.shares:
        yield Fault(rollout.where, "the shares do not rise", "Write them as `[0.1, 0.5]`")
    if not rollout.least > 0 or rollout.patience <= timedelta(0):
        yield Fault(
            rollout.where, "a step that nothing is asked of shows nothing", "Give `least` and `patience` above 0"
        )


def _trigger(trigger: Trigger) -> Iterator[Fault]:
    odd = [value for value in vars(trigger).values() if isinstance(value, float) and not isfinite(value)]
    if odd:
        what = f"`{type(trigger).__name__}` never asks: nothing reaches a limit of {odd[0]:g}"
        yield Fault(trigger.where, what, "Give a finite number, or leave the trigger out")
    elif isinstance(trigger, Schedule):
        yield from _schedule(trigger)
    elif isinstance(trigger, AllOf):
        if not trigger.of:
            yield Fault(trigger.where, "`AllOf` holds no trigger", "Name at least one")
        for one in trigger.of:
            yield from _trigger(one)
    else:
        yield from _limit(trigger)


def _limit(trigger: Trigger) -> Iterator[Fault]:
    if isinstance(trigger, Drift) and not 0 < trigger.mass <= 1:
        yield Fault(trigger.where, f"no drift has {trigger.mass:g} of all importance", "Give a share above 0, up to 1")
    elif isinstance(trigger, Errors) and trigger.rise < 0:
        yield Fault(trigger.where, "what falls by so much has not risen", "Give the rise in parts, such as 0.5")
    elif isinstance(trigger, Regret | NewRows) and not trigger.above > 0:
        yield Fault(trigger.where, f"`{type(trigger).__name__}` asks all the time", "Give more than 0")
    elif isinstance(trigger, Age) and trigger.above <= timedelta(0):
        yield Fault(trigger.where, "`Age` asks all the time", "Give a length of time")
    elif isinstance(trigger, Failing) and not 0 < trigger.above < 1:
        yield Fault(trigger.where, f"`Failing({trigger.above:g})` is no share of requests", "Give one such as 0.01")
    elif isinstance(trigger, Slower | Relearn) and not trigger.times > 1:
        yield Fault(trigger.where, f"`{type(trigger).__name__}` asks all the time", "Give a multiple above 1")
    elif isinstance(trigger, EstimatedLoss) and not trigger.rise > 0:
        yield Fault(trigger.where, "`EstimatedLoss` asks all the time", "Give a rise in parts, such as 0.1")


def _schedule(schedule: Schedule) -> Iterator[Fault]:
    # Only who has a schedule pays for the import.
    from croniter import CroniterBadDateError, croniter

    cure = "Write minute, hour, day, month, weekday: `0 6 * * MON`"
    if not croniter.is_valid(schedule.cron):
        yield Fault(schedule.where, f"`{schedule.cron}` is not a cron line", cure)
    else:
        try:
            croniter(schedule.cron, _ANY_DAY).get_next()
        except CroniterBadDateError:
            yield Fault(schedule.where, f"`{schedule.cron}` never comes: no such day is in any year", cure)
    try:
        ZoneInfo(schedule.zone)
    except (ZoneInfoNotFoundError, ValueError):
        yield Fault(schedule.where, f"`{schedule.zone}` is not a time zone", "Name one such as `Europe/Paris`")


def _freeze(days: Freeze) -> Iterator[Fault]:
    try:
        first, last = date.fromisoformat(days.first), date.fromisoformat(days.last)
    except ValueError:
        what = f"`{days.first}` to `{days.last}` are not days"
        yield Fault(days.where, what, "Write them as `2013-11-25`")
        return
    if last < first:
        yield Fault(days.where, f"the freeze ends on {last}, before it starts", "Give the first day, then the last")
