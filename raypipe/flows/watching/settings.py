"""How pipelines are watched on a platform."""

from dataclasses import dataclass, field

from raypipe.monitoring import Plan


@dataclass(frozen=True)
class Watching:
    """What the settings say of it.

    Attributes:
        plan: how ticks are cut, and how rare false alarms are to be.
        alerts: where alarms go: Apprise URLs, or references to one.
        cpu_price: of an hour of one processor, in whatever currency costs are to be told.
    """

    plan: Plan = field(default_factory=Plan)
    alerts: tuple[str, ...] = ()
    cpu_price: float = 0.05
