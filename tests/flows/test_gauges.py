"""What becomes of predictions, as gauges: each figure under its name, by version, arm and segment."""

import math
from collections import Counter
from collections.abc import Mapping

import numpy as np
import pytest
from msgspec.structs import replace
from ray.util import metrics

from raypipe.contracts.counts import latency_cells
from raypipe.contracts.watching import ColumnDrift, DriftReport
from raypipe.flows.watching.gauges import GAUGES, Dials, RayGauges, show, show_outcomes
from raypipe.flows.watching.state import Tick
from raypipe.flows.watching.tallies import Part, Tally
from tests.flows.test_facts import BAD, GOOD, report


class Shown(Dials):
    """Gauges that are looked at afterwards."""

    def __init__(self) -> None:
        self.series: dict[tuple[str, ...], float] = {}

    def set(self, name: str, value: float, labels: Mapping[str, str]) -> None:
        assert tuple(labels) == GAUGES[name][1]
        self.series[name, *labels.values()] = value


def became(segment: str, loss: float | None = None) -> dict[Part, Tally]:
    tally = Tally(
        predictions=200, labelled=50, lost=50 * (loss or 0.0), wrong=None if loss is None else 10,
        latency=Counter(latency_cells(np.full(200, 0.009))),
        values={"revenue": (40, 500.0), "margin": (20, -60.0), "unheard": (0, 0.0)},
    )  # fmt: skip
    return {("2", "challenger/2", segment): tally}


def test_business_figures_are_told_by_version_arm_and_segment_also_where_nothing_is_true_or_false() -> None:
    shown = Shown()
    show_outcomes(shown, became("") | became("zone=a", loss=0.4), {("2", "challenger/2"): 0.05})
    for segment in ("", "zone=a"):
        assert shown.series["raypipe_value", "2", "challenger/2", segment, "revenue"] == 12.5
        assert shown.series["raypipe_value", "2", "challenger/2", segment, "margin"] == -3.0
        assert shown.series["raypipe_labelled_share", "2", "challenger/2", segment] == 0.25
    of = ("2", "challenger/2", "zone=a")
    assert (shown.series["raypipe_loss", *of], shown.series["raypipe_error_rate", *of]) == (0.4, 0.2)
    assert (shown.series["raypipe_answers", *of], shown.series["raypipe_cost_per_1000", *of]) == (200, 0.05)
    assert shown.series["raypipe_latency_seconds", *of, "0.99"] == pytest.approx(0.009, rel=0.01)
    assert not [name for name in shown.series if "unheard" in name]
    assert ("raypipe_loss", "2", "challenger/2", "") not in shown.series


def test_what_is_said_of_a_segment_or_an_arm_that_nobody_asks_about_any_more_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown: dict[tuple[str, ...], float] = {}

    class Gauge:
        def __init__(self, name: str, *_: object) -> None:
            self.name = name

        def set_default_tags(self, _: object) -> None:
            """Nobody looks at them."""

        def set(self, value: float, tags: dict[str, str]) -> None:
            shown[self.name, *tags.values()] = value

    monkeypatch.setattr(metrics, "Gauge", Gauge)
    gauges = RayGauges("rides")
    gauges.set("raypipe_drift_mass", 0.5, {"version": "2"})
    show_outcomes(gauges, became("") | became("zone=a", loss=0.4) | became("zone=b", loss=0.5), {})
    gauges.keep({"2"}, None)  # the logs could not be read
    assert shown["raypipe_error_rate", "2", "challenger/2", "zone=a"] == 0.2
    gauges.keep({"2"}, {("2", "challenger/2", ""), ("2", "challenger/2", "zone=b")})
    assert {key[3] for key, value in shown.items() if math.isnan(value)} == {"zone=a"}
    gauges.keep({"2"}, {("2", "champion", "")})
    shown.clear()
    gauges.again()
    assert shown == {("raypipe_drift_mass", "2"): 0.5}


def test_the_estimated_loss_is_that_of_the_newest_predictions() -> None:
    shown = Shown()
    drift = DriftReport(
        pipeline="rides", version=2, at=0, tick=1, rows=0, columns=(), breaks=(), budget=1.0, calibrated="even"
    )
    show(shown, Tick(drift, {}, report((900, GOOD), (900, BAD), (0, GOOD)), None), 0.05)
    assert shown.series["raypipe_loss_estimated", "2"] == BAD


def test_where_nothing_is_true_or_false_no_error_has_risen_or_not() -> None:
    shown = Shown()
    drift = DriftReport(
        pipeline="rides", version=2, at=0, tick=1, rows=0, columns=(), breaks=(), budget=1.0, calibrated="even"
    )
    show(shown, Tick(drift, {}, replace(report((900, GOOD)), reference=None), None), 0.05)
    assert ("raypipe_drift_mass", "2") in shown.series
    assert not {name for name, *_ in shown.series} & {"raypipe_errors_risen", "raypipe_regret"}


def test_of_what_follows_the_clock_it_is_told_how_far_it_is_and_of_no_alarm() -> None:
    shown = Shown()
    moved = ColumnDrift(
        column="fare", stream="values", ticks=1, excess=7.0, distance=0.5, material=True, importance=0.5, psi=1.0,
        jensen_shannon=0.5, wasserstein=1.0, median_before=1.0, median_after=2.0, open_for=0,
    )  # fmt: skip
    columns = (moved, replace(moved, column="weekday", open_for=None, clock=True))
    drift = DriftReport(
        pipeline="rides", version=2, at=0, tick=1, rows=0, columns=columns, breaks=(), budget=1.0, calibrated="even"
    )
    show(shown, Tick(drift, {}, report((900, GOOD)), None), 0.05)
    told = {name for name, *labels in shown.series if "weekday" in labels}
    assert told == {"raypipe_drift_distance"}
    assert shown.series["raypipe_drift_excess", "2", "fare"] == 7.0
