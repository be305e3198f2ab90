"""What a watcher sees, as metrics: Ray hands them to Prometheus with ``ray_`` before their names."""

from collections.abc import Collection, Mapping
from math import nan
from typing import Protocol

from raypipe.contracts.counts import latency_of
from raypipe.flows.watching.state import Tick
from raypipe.flows.watching.tallies import Part, Tally

#: By name: what it is, and its labels beside ``pipeline``.
GAUGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "raypipe_drift_excess": ("Deviation of a column, as a multiple of an alarm", ("version", "column")),
    "raypipe_drift_distance": ("How far a column has moved, as a share", ("version", "column")),
    "raypipe_drift_alarm": ("1 while the alarm of a column is open", ("version", "column")),
    "raypipe_drift_mass": ("Share of all importance on inputs with an open alarm", ("version",)),
    "raypipe_data_breaks": ("What looks like broken data", ("version",)),
    "raypipe_loss": ("Mean loss of the newest predictions with a label", ("version", "arm", "segment")),
    "raypipe_loss_estimated": ("The same of all of the newest predictions, as estimated", ("version",)),
    "raypipe_error_rate": ("Share of answers that came out wrong", ("version", "arm", "segment")),
    "raypipe_labelled_share": ("Share of the newest predictions with a label", ("version", "arm", "segment")),
    "raypipe_errors_risen": ("1 once the share of errors has risen for certain", ("version",)),
    "raypipe_regret": ("Log loss that recalibrating would have spared", ("version",)),
    "raypipe_answers": ("Answers in the last tick", ("version", "arm", "segment")),
    "raypipe_failed_share": ("Share of the last tick's rows that failed", ("version", "arm", "segment")),
    "raypipe_latency_seconds": ("Latency in the last tick", ("version", "arm", "segment", "quantile")),
    "raypipe_cost_per_1000": ("Price of the computing of 1,000 answers", ("version", "arm", "segment")),
    "raypipe_value": ("Mean of a business figure, by prediction", ("version", "arm", "segment", "figure")),
    "raypipe_watch_ticks": ("Ticks of a version so far", ("version",)),
    "raypipe_watch_untold": ("Alarms that could not be told yet", ()),
}


class Dials(Protocol):
    """Where figures go."""

    def set(self, name: str, value: float, labels: Mapping[str, str]) -> None:
        """Set one of `GAUGES`, with all its labels but the pipeline."""
        ...


class Gauges(Dials, Protocol):
    """The same, and where they end."""

    def keep(self, versions: Collection[str], parts: Collection[Part] | None = None) -> None:
        """What was set of others holds no longer: its alarm would stay open for ever.

        Args:
            versions: that answer.
            parts: of them; None: it is not known which.
        """
        ...

    def again(self) -> None:
        """Say once more what was set: it is true until it is set anew."""
        ...


class RayGauges:
    """Gauges of Ray; they need a running worker.

    Args:
        pipeline: whose figures they are.
    """

    def __init__(self, pipeline: str) -> None:
        from ray.util.metrics import Gauge

        self._gauges = {name: Gauge(name, text, ("pipeline", *labels)) for name, (text, labels) in GAUGES.items()}
        for gauge in self._gauges.values():
            gauge.set_default_tags({"pipeline": pipeline})
        self._series: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}

    def set(self, name: str, value: float, labels: Mapping[str, str]) -> None:
        """Set a gauge."""
        self._gauges[name].set(value, dict(labels))
        self._series[name, tuple(labels.items())] = value

    def keep(self, versions: Collection[str], parts: Collection[Part] | None = None) -> None:
        """Ray cannot take a series away; not a number is neither above nor below any bound."""
        for name, labels in list(self._series):
            of = dict(labels)
            gone = of.get("version", "") not in {*versions, ""}
            if gone or (parts is not None and "arm" in of and (of["version"], of["arm"], of["segment"]) not in parts):
                self._gauges[name].set(nan, of)
                del self._series[name, labels]

    def again(self) -> None:
        """Ray forgets a series that is not set for some seconds, and a tick may take an hour."""
        for (name, labels), value in self._series.items():
            self._gauges[name].set(value, dict(labels))


def show(gauges: Dials, tick: Tick, price: float) -> None:
    """Tell what a tick says.

    Args:
        gauges: who is told.
        tick: what was found.
        price: of an hour of one processor.
    """
    report, version = tick.report, {"version": str(tick.report.version)}
    for column in report.columns:
        labels = version | {"column": column.column}
        gauges.set("raypipe_drift_distance", column.distance, labels)
        if not column.clock:
            gauges.set("raypipe_drift_excess", column.excess, labels)
            gauges.set("raypipe_drift_alarm", float(column.open_for is not None), labels)
    gauges.set("raypipe_drift_mass", report.mass, version)
    gauges.set("raypipe_data_breaks", len(report.breaks), version)
    gauges.set("raypipe_watch_ticks", report.tick, version)
    for arm, part in tick.parts.items():
        labels = version | {"arm": arm, "segment": ""}
        asked = part.rows + part.failed
        gauges.set("raypipe_answers", part.rows, labels)
        gauges.set("raypipe_failed_share", part.failed / asked if asked else 0.0, labels)
        gauges.set("raypipe_cost_per_1000", cost(part.cpu, part.rows, price), labels)
        for share in (0.5, 0.99):
            gauges.set("raypipe_latency_seconds", latency_of(part.latency, share), labels | {"quantile": f"{share:g}"})
    if tick.outcome is not None and tick.outcome.reference is not None:
        gauges.set("raypipe_errors_risen", float(tick.outcome.alarm), version)
        gauges.set("raypipe_regret", tick.outcome.regret, version)
        newest = [cohort for cohort in tick.outcome.cohorts if cohort.predictions][-1:]
        for cohort in newest:
            gauges.set("raypipe_loss_estimated", cohort.estimated[0], version)


def show_outcomes(gauges: Dials, tallies: Mapping[Part, Tally], costs: Mapping[tuple[str, str], float]) -> None:
    """Tell what became of the newest predictions.

    Args:
        gauges: who is told.
        tallies: by version, arm and segment.
        costs: of 1,000 answers, by version and arm: an answer costs the same whatever it is about.
    """
    for (version, arm, segment), tally in tallies.items():
        labels = {"version": version, "arm": arm, "segment": segment}
        gauges.set("raypipe_labelled_share", tally.labelled / max(tally.predictions, 1), labels)
        if tally.labelled and tally.wrong is not None:
            gauges.set("raypipe_loss", tally.lost / tally.labelled, labels)
            gauges.set("raypipe_error_rate", tally.wrong / tally.labelled, labels)
        for name, (rows, total) in tally.values.items():
            if rows:
                gauges.set("raypipe_value", total / rows, labels | {"figure": name})
        if segment:
            gauges.set("raypipe_answers", tally.predictions, labels)
            gauges.set("raypipe_cost_per_1000", costs.get((version, arm), 0.0), labels)
            for share in (0.5, 0.99):
                seconds = latency_of(tally.latency, share)
                gauges.set("raypipe_latency_seconds", seconds, labels | {"quantile": f"{share:g}"})


def cost(cpu: float, rows: int, price: float) -> float:
    """Of 1,000 answers, from the computing seconds of some and the price of an hour.

    >>> round(cost(3.6, 1_000, 0.05), 8)
    5e-05
    """
    return 1_000 * cpu / rows * price / 3_600 if rows else 0.0
