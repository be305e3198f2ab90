"""When a model is trained anew: triggers that ask for it, and guards that hold it back. Data, not code."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeAlias

from raypipe.spec.values import place


@dataclass(frozen=True)
class Schedule:
    """At the times of a cron line such as ``0 6 * * MON``, in a time zone."""

    cron: str
    zone: str = "UTC"
    where: str = place()


@dataclass(frozen=True)
class Errors:
    """When the share of errors, by the labels that came, has risen for certain above what it was when judged.

    With ``rise`` only when it is for certain this much, in parts, above it since then: 0.5 is half as much again.
    """

    rise: float = 0.0
    where: str = place()


@dataclass(frozen=True)
class Regret:
    """When a mere recalibration of the scores would have spared this much log loss, summed over rows.

    Rent or buy: to train when the loss that staleness has cost reaches the price of a training costs at most about
    twice what somebody who knew the future would have paid. ``above`` is that price, in units of log loss.
    """

    above: float
    where: str = place()


@dataclass(frozen=True)
class EstimatedLoss:
    """When the estimated loss of the newest predictions is for certain this much, in parts, above what it was."""

    rise: float
    where: str = place()


@dataclass(frozen=True)
class Drift:
    """When inputs that hold so large a share of all importance have drifted, or with ``score`` the predictions."""

    mass: float = 0.2
    score: bool = False
    where: str = place()


@dataclass(frozen=True)
class Age:
    """When the newest rows that the model has learned from are this old."""

    above: timedelta
    where: str = place()


@dataclass(frozen=True)
class NewRows:
    """When so many labelled rows have come since it was trained."""

    above: int
    where: str = place()


@dataclass(frozen=True)
class Relearn:
    """When a change that was learned from is so many times as long ago as it was at the last training.

    Soon after the world has changed there are few rows of the new kind, and what was learned from them is soon
    outdated by those that came since: what is still to be won falls with their number. With 2 the rows of the new kind
    double from one training to the next, so that few trainings make up for all of it. With each challenge that was lost
    the wait grows by as much again; where what was before is of use still, it asks no more of that change.
    """

    times: float = 2.0
    where: str = place()


@dataclass(frozen=True)
class AllOf:
    """When all of these ask."""

    of: "tuple[Trigger, ...]"
    where: str = place()


@dataclass(frozen=True)
class Slower:
    """When the 99th percentile of the latency is so many times what it was."""

    times: float = 1.5
    where: str = place()


@dataclass(frozen=True)
class Failing:
    """When so large a share of requests is not answered."""

    above: float = 0.01
    where: str = place()


@dataclass(frozen=True)
class Worse:
    """When the version before, which goes on in the champion's shadow, is for certain better than it."""

    where: str = place()


Trigger: TypeAlias = (
    Schedule | Errors | Regret | EstimatedLoss | Drift | Age | NewRows | Relearn | AllOf | Slower | Failing | Worse
)


@dataclass(frozen=True)
class Freeze:
    """Nothing is trained from the first day to the last, both included, written as ``2013-11-25``."""

    first: str
    last: str
    where: str = place()


@dataclass(frozen=True)
class Rollout:
    """How a challenger that won on the newest rows gets at the traffic: in the shadow, for some, for all.

    Attributes:
        shadow: the share of units that it computes for, without answering; 0: this step is left out.
        shares: then it answers for these shares, one after the other.
        least: predictions that it must have made in a step before the next one.
        patience: if a step has too few of them for so long, the challenger backs off.
        released: what a person lets answer (`raypipe release`) is judged, too: it backs off when it is at fault, and
            takes over when it has made ``least`` predictions and its error is for certain smaller.
    """

    shadow: float = 1.0
    shares: tuple[float, ...] = (0.1, 0.5)
    least: int = 1_000
    patience: timedelta = timedelta(days=7)
    released: bool = False
    where: str = place()

    def __post_init__(self) -> None:
        object.__setattr__(self, "shares", tuple(self.shares))


@dataclass(frozen=True)
class Retrain:
    """A policy: train a challenger when one of ``any`` asks and no guard holds it back. Broken data always does.

    Attributes:
        any: the triggers; to ask for several at once, put them into `AllOf`.
        cooldown: the least time between two trainings.
        new_rows: the fewest labelled rows that must have come since the model was trained.
        daily_cap: the most trainings in 24 hours.
        budget: the most seconds of training in 30 days; None: no matter how many.
        freeze: days in which nothing is trained.
        backoff: after each challenge that was lost in a row the cooldown doubles, up to this; one that is longer
            already stays as it is.
        approval: ask a person before anything is trained.
        challenge: whether the new model must hold its own against the one in service on the newest rows.
        rollout: how a challenger that won takes over; None: at once.
        alert: somebody is told when one of these asks, or when data looks broken.
        analyse: somebody looks deeper when one of these asks.
        roll_back: the champion gives way to the version before when one of these asks,
        probation: for so long after it was promoted.
    """

    any: tuple[Trigger, ...]
    cooldown: timedelta = timedelta(hours=6)
    new_rows: int = 2_000
    daily_cap: int = 2
    budget: float | None = None
    freeze: tuple[Freeze, ...] = ()
    backoff: timedelta = timedelta(days=7)
    approval: bool = False
    challenge: bool = True
    rollout: Rollout | None = None
    alert: tuple[Trigger, ...] = ()
    analyse: tuple[Trigger, ...] = ()
    roll_back: tuple[Trigger, ...] = (Failing(), Slower(), Worse())
    probation: timedelta = timedelta(days=7)
    name: str = field(default="own", compare=False)
    where: str = place()

    def __post_init__(self) -> None:
        # Lists read better in a pipeline file; values are frozen.
        for name in ("any", "freeze", "alert", "analyse", "roll_back"):
            object.__setattr__(self, name, tuple(getattr(self, name)))

    @property
    def compares(self) -> bool:
        """Whether the version before goes on in a new champion's shadow: only beside it can `Worse` be told."""
        return self.probation > timedelta(0) and any(isinstance(one, Worse) for one in singles(self.roll_back))


def singles(triggers: Iterable[Trigger]) -> Iterator[Trigger]:
    """Triggers, those inside of `AllOf` one by one."""
    for one in triggers:
        yield from singles(one.of) if isinstance(one, AllOf) else (one,)


def recommender() -> Retrain:
    """Labels come fast: train when errors rise, else every three days; twice a day at most."""
    return Retrain((Errors(), Age(timedelta(days=3))), rollout=Rollout(), alert=(Errors(),), name="recommender")


def fraud() -> Retrain:
    """Labels come late and the world is hostile: act on errors, estimates, and the predictions' own drift."""
    triggers = (Errors(), EstimatedLoss(0.1), Drift(mass=0.3, score=True))
    return Retrain(triggers, cooldown=timedelta(hours=12), rollout=Rollout(), alert=triggers, name="fraud")


def compliance() -> Retrain:
    """Nothing is trained without a person's word, and once in 30 days at most."""
    triggers = (Errors(), Drift(mass=0.2))
    return Retrain(
        triggers,
        cooldown=timedelta(days=30),
        daily_cap=1,
        approval=True,
        rollout=Rollout(),
        alert=triggers,
        analyse=(Drift(mass=0.05),),
        name="compliance",
    )


def forecasting() -> Retrain:
    """Seasons come and go: train when errors rise or the model is a week old."""
    triggers = (Errors(), Age(timedelta(days=7)))
    return Retrain(
        triggers, cooldown=timedelta(days=1), daily_cap=1, rollout=Rollout(), alert=(Errors(),), name="forecasting"
    )


def hybrid(regret: float = 90.0, rise: float | None = None) -> Retrain:
    """What staleness has cost pays for a training; a quarter is the oldest a model may be.

    What was learned from after a change is learned again when half as much again of it is there, as long as what was
    before is of no more use.

    Args:
        regret: the price of a training, in units of log loss.
        rise: for a world that stands still between its changes: errors that have risen by this share are a break,
            which waits for no price and is learned again sooner. Seasons raise errors as well.
    """
    breaks = () if rise is None else (Errors(rise),)
    triggers: tuple[Trigger, ...] = (Regret(regret), *breaks, Relearn(1.25 if breaks else 1.5), Age(timedelta(days=90)))
    return Retrain(triggers, cooldown=timedelta(days=3), daily_cap=1, name="hybrid")


def never() -> Retrain:
    """What there is to compare with: the model stays as it is."""
    return Retrain((), name="never")


def daily() -> Retrain:
    """What there is to compare with: trained every day."""
    return Retrain((Schedule("0 0 * * *"),), cooldown=timedelta(0), new_rows=0, challenge=False, name="daily")


PRESETS = {made.__name__: made for made in (recommender, fraud, compliance, forecasting, hybrid, never, daily)}
