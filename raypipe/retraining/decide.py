"""Facts and a policy in, a decision out: the same in production and in a replay, and nothing else decides."""

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import takewhile
from zoneinfo import ZoneInfo

from croniter import CroniterBadDateError, croniter

from raypipe.clock import iso, to_second
from raypipe.contracts.decisions import Action, Decision, Situation, Training
from raypipe.spec import in_words, micros
from raypipe.spec.retrain import (
    Age,
    AllOf,
    Drift,
    Errors,
    EstimatedLoss,
    Failing,
    NewRows,
    Regret,
    Relearn,
    Retrain,
    Schedule,
    Slower,
    Trigger,
    Worse,
)
from raypipe.words import amount

#: Trainings that changed nothing, and after which time another one may be asked for at the latest.
_NOTHING, _AGAIN = ("failed", "refused"), timedelta(days=1)
_DAY, _MONTH = micros(timedelta(days=1)), micros(timedelta(days=30))


def decide(policy: Retrain, situation: Situation, history: Sequence[Training]) -> Decision:
    """What the policy says should be done now.

    Args:
        policy: the triggers and the guards.
        situation: what is known.
        history: the trainings of this pipeline, oldest first.

    >>> from raypipe.spec.retrain import NewRows
    >>> facts = Situation(pipeline="m", version=1, at=10, since=0, looked=0, new_rows=5_000)
    >>> decide(Retrain((NewRows(4_000),)), facts, []).action
    'train'
    >>> decide(Retrain((NewRows(9_000),)), facts, []).why
    'No trigger asks for a training.'
    """
    asked = [_asks(trigger, situation, history) for trigger in policy.any]
    triggers = tuple(f"{'asks' if asks else 'quiet'}: {text}" for asks, text in asked)
    wanted = [text for asks, text in asked if asks]
    guards = tuple(_guards(policy, situation, history)) if wanted else ()
    back = list(_wanted(policy.roll_back, situation, history)) if on_probation(policy, situation) else []
    action, why = _back(situation, back) if back else _conclusion(policy, situation, history, wanted, guards)
    return Decision(
        policy=policy.name,
        action=action,
        triggers=(*triggers, *(f"asks to roll back: {text}" for text in back)),
        guards=guards,
        why=why,
        situation=situation,
        history=tuple(history),
        alerts=tuple(_wanted(policy.alert, situation, history)),
        onset=changed_at(situation, history),
    )


def changed_at(situation: Situation, history: Sequence[Training]) -> int | None:
    """When the world changed last: what labels show now, else what was known at the last training."""
    known = history[-1].onset if history else None
    return known if situation.onset is None else situation.onset


def looked_after(decision: Decision) -> int:
    """Up to when schedules have been seen to: one that a guard or a rollback holds back stays due."""
    due = any(text.startswith("asks:") and "schedule `" in text for text in decision.triggers)
    held_back = decision.action in ("wait", "rollback")
    return decision.situation.looked if due and held_back else decision.situation.at


def _conclusion(
    policy: Retrain, now: Situation, history: Sequence[Training], wanted: Sequence[str], guards: Sequence[str]
) -> tuple[Action, str]:
    if guards:
        return "wait", f"A training is asked for ({wanted[0]}), but held back: {'; '.join(guards)}."
    if wanted and policy.approval:
        return "ask", f"A training is asked for ({wanted[0]}), and a person has to approve it."
    if wanted:
        return "train", f"Train a challenger: {'; '.join(wanted)}."
    if now.breaks:
        return "alert", f"The data looks broken: {now.breaks[0]}."
    if deeper := list(_wanted(policy.analyse, now, history)):
        return "analyse", f"Look deeper: {'; '.join(deeper)}."
    if told := list(_wanted(policy.alert, now, history)):
        return "alert", f"Somebody should know: {'; '.join(told)}."
    return "nothing", "No trigger asks for a training."


def _back(now: Situation, why: Sequence[str]) -> tuple[Action, str]:
    return "rollback", f"Go back to version {now.earlier}: {'; '.join(why)}."


def on_probation(policy: Retrain, now: Situation) -> bool:
    """Whether the champion is new, and there is a version to go back to."""
    known = now.promoted is not None and now.earlier is not None
    return known and now.at - (now.promoted or 0) < micros(policy.probation)


def _wanted(triggers: Sequence[Trigger], now: Situation, history: Sequence[Training]) -> Iterator[str]:
    for trigger in triggers:
        asks, text = _asks(trigger, now, history)
        if asks:
            yield text


def _asks(trigger: Trigger, now: Situation, history: Sequence[Training]) -> tuple[bool, str]:
    """Whether a trigger asks, and what it looked at."""
    match trigger:
        case AllOf():
            parts = [_asks(one, now, history) for one in trigger.of]
            return all(asks for asks, _ in parts), " and ".join(text for _, text in parts)
        case Schedule():
            due = _last_due(trigger, now.at)
            return now.looked < due <= now.at, f"schedule `{trigger.cron}`, due at {to_second(due)}"
        case Age():
            known = _known_up_to(now)
            old = timedelta(microseconds=max(known - now.since, 0))
            told = f"learned from rows up to {iso(now.since)[:10]}, {amount(old.days, 'day')} before {iso(known)[:10]}"
            return old >= trigger.above, f"{told}, limit {in_words(trigger.above)}"
        case Errors():
            return _errors(trigger, now)
        case Regret():
            # What it would have been worth to do the least that a training does.
            what = "log loss that correcting its probabilities by the labels would have spared so far (regret)"
            return _above(now.regret, trigger.above, what, ".1f")
        case EstimatedLoss():
            return _above(now.estimated_rise, trigger.rise, "how far the estimated loss has surely risen", ".1%")
        case NewRows():
            return _above(now.new_rows, trigger.above, "labelled rows since it was trained", ",")
        case Relearn():
            return _relearn(trigger, now, history)
        case Drift():
            return _drift(trigger, now)
        case Slower() | Failing() | Worse():
            return _serves(trigger, now)


def _known_up_to(now: Situation) -> int:
    """What is pinned to a moment does not age while the clock goes on."""
    return now.at if now.known is None else now.known


def _serves(trigger: Slower | Failing | Worse, now: Situation) -> tuple[bool, str]:
    """As `_asks`, of triggers that look at how the model serves."""
    match trigger:
        case Slower():
            return _above(now.slower, trigger.times, "times as long as before that slow answers take (p99)", ".1f")
        case Failing():
            return _above(now.failed, trigger.above, "share of requests that were not answered", ".1%")
        case Worse():
            worse = "surely better than this one" if now.worse else "not surely better than this one"
            return _known(now.worse, "the version before, which goes on computing in its shadow", worse)


def _errors(trigger: Errors, now: Situation) -> tuple[bool, str]:
    what = "the share of errors"
    if not (now.errors and trigger.rise):
        return _known(now.errors, what, "has risen" if now.errors else "has not risen")
    return _above(now.error_rise, trigger.rise, f"how far {what} has surely risen", ".0%")


def _known(value: bool | None, what: str, how: str) -> tuple[bool, str]:
    return bool(value), f"{what}: {'not watched' if value is None else how}"


def _above(value: float | None, limit: float, what: str, shown: str) -> tuple[bool, str]:
    if value is None:
        return False, f"{what}: not watched"
    return value >= limit, f"{what}: {value:{shown}}, limit {limit:{shown}}"


def _drift(trigger: Drift, now: Situation) -> tuple[bool, str]:
    if now.drift_mass is None:
        return False, "drift: not watched"
    score = trigger.score and "score" in now.drifted
    text = f"inputs that drift are {now.drift_mass:.0%} of what the model goes by, limit {trigger.mass:.0%}"
    return now.drift_mass >= trigger.mass or score, text + (", and of the predictions" if score else "")


def _relearn(trigger: Relearn, now: Situation, history: Sequence[Training]) -> tuple[bool, str]:
    done = [one for one in reversed(history) if one.outcome not in _NOTHING]
    learned = done[0] if done else None
    if learned is None or learned.onset is None:
        return False, "no change is known that was learned from"
    lost = sum(1 for _ in takewhile(lambda one: one.outcome == "lost", done))
    if learned.anew is False:
        return False, f"what came since the change of {iso(learned.onset)[:10]} has nothing more to teach by itself"
    if (known := _known_up_to(now)) < learned.onset:
        return (
            False,
            f"the change of {iso(learned.onset)[:10]} lies after {iso(known)[:10]}, where the pipeline is pinned",
        )
    then, today = (timedelta(microseconds=moment - learned.onset) for moment in (learned.at, known))
    ago, was = amount(today.days, "day"), amount(then.days, "day")
    text = f"the change of {iso(learned.onset)[:10]} is {ago} ago, and was {was} ago when it was trained last"
    # What was lost by a little may be won with more: the wait grows with each challenge that was lost.
    times = trigger.times ** (1 + lost)
    return today >= times * then, f"{text}; limit {times:.3g} times that"


def _last_due(schedule: Schedule, at: int) -> int:
    zone = ZoneInfo(schedule.zone)
    # By the clock on the wall, which shows some times twice and some never: each is due once.
    wall = datetime.fromtimestamp(at / 1e6, UTC).astimezone(zone).replace(tzinfo=None)
    # What is due now is due: the library looks strictly before.
    try:
        found: datetime = croniter(schedule.cron, wall + timedelta(seconds=1)).get_prev(datetime)
    except CroniterBadDateError:
        return 0  # such as 30 February, in a definition of old: nothing else may fail for it
    return round(found.replace(tzinfo=zone).timestamp()) * 1_000_000


def _guards(policy: Retrain, now: Situation, history: Sequence[Training]) -> Iterator[str]:
    if now.breaks:
        yield f"the data looks broken: {now.breaks[0]}"
    if now.known is not None and now.known <= now.since:
        yield f"nothing is known that was not known when it was trained: the pipeline is at {to_second(now.known)}"
    if any(training.outcome == "running" for training in history):
        yield "a training is under way"
    if any(training.outcome == "asked" for training in history):
        yield "a person has been asked already, and has not answered"
    if (now.new_rows or 0) < policy.new_rows:
        come = "nobody knows how many" if now.new_rows is None else f"only {now.new_rows:,}"
        yield f"{come} of {policy.new_rows:,} labelled rows have come since it was trained"
    # A training that came to nothing says nothing of challengers: those lost before it count on.
    newest = takewhile(lambda training: training.outcome in ("lost", *_NOTHING), reversed(history))
    lost = sum(training.outcome == "lost" for training in newest)
    wait = cooldown(policy, lost)
    if history and history[-1].outcome in _NOTHING:
        wait = min(wait, _AGAIN)
    if history and now.at - history[-1].at < micros(wait):
        why = f", longer after {lost} lost {'challenge' if lost == 1 else 'challenges'}" if lost else ""
        yield f"the last training was begun at {to_second(history[-1].at)}, less than {in_words(wait)} ago{why}"
    today = [training for training in history if now.at - training.at < _DAY]
    if len(today) >= policy.daily_cap:
        yield f"{amount(len(today), 'training')} in 24 hours, {policy.daily_cap} allowed"
    spent = sum(training.seconds for training in history if now.at - training.at < _MONTH)
    if policy.budget is not None and spent >= policy.budget:
        yield f"{spent:,.0f} s of training in 30 days, {policy.budget:,.0f} s allowed"
    day = datetime.fromtimestamp(now.at / 1e6, UTC).date()
    for days in policy.freeze:
        if date.fromisoformat(days.first) <= day <= date.fromisoformat(days.last):
            yield f"frozen from {days.first} to {days.last}"


def cooldown(policy: Retrain, lost: int) -> timedelta:
    """The least time since the last training: doubled after each challenge lost in a row.

    >>> cooldown(Retrain((), cooldown=timedelta(days=1), backoff=timedelta(days=3)), 5)
    datetime.timedelta(days=3)
    """
    if not lost:
        return policy.cooldown
    longer: timedelta = policy.cooldown * 2 ** min(lost, 16)
    return min(longer, max(policy.backoff, policy.cooldown))
