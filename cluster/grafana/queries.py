"""What a panel is, and the queries that several dashboards ask of Prometheus."""

from typing import NamedTuple

PIPELINE = 'pipeline=~"$pipeline"'
# A stage is counted by a process that ends with it, and each process has a series of its own: first the sum.
SINCE = "[$__range:1m]"
#: What all counters of stages begin with.
STAGE = "ray_raypipe_stage"


class Panel(NamedTuple):
    """One box: what it shows, in which unit, and its queries with what each line is called."""

    title: str
    about: str
    unit: str
    queries: dict[str, str]
    kind: str = "timeseries"


Rows = dict[str, list[Panel]]


def per_second(name: str, *by: str, where: str = PIPELINE) -> str:
    """How fast a counter grows."""
    return f"sum by ({', '.join(by)}) (rate({name}{{{where}}}[$__rate_interval]))"


def grown(name: str, *by: str, where: str = PIPELINE) -> str:
    """How much a counter of ended processes has grown within what the dashboard shows."""
    return f"increase(sum by ({', '.join(by)}) ({name}{{{where}}}){SINCE})"


def quantile(q: float, name: str, by: str, where: str) -> str:
    """A quantile of a histogram."""
    return f"histogram_quantile({q}, sum by ({by}, le) (rate({name}_bucket{{{where}}}[$__rate_interval])))"
