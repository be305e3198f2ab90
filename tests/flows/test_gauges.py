"""What becomes of predictions, as gauges: each figure under its name, by version, arm and segment."""

from collections.abc import Collection, Mapping

from raypipe.flows.figures import Outcome
from raypipe.flows.watching.gauges import GAUGES, show_outcomes


class Shown:
    """Gauges that are looked at afterwards."""

    def __init__(self) -> None:
        self.series: dict[tuple[str, ...], float] = {}

    def set(self, name: str, value: float, labels: Mapping[str, str]) -> None:
        assert tuple(labels) == GAUGES[name][1]
        self.series[name, *labels.values()] = value

    def keep(self, versions: Collection[str]) -> None:
        raise NotImplementedError

    def again(self) -> None:
        raise NotImplementedError


def outcome(segment: str, loss: float | None = None) -> Outcome:
    return Outcome(
        version=2, arm="challenger/2", segment=segment, predictions=200, labelled=50, loss=loss,
        error=None if loss is None else (0.2, 0.1, 0.3), p50_ms=4.0, p99_ms=9.0, outcomes={},
        value={"revenue": (12.5, 12.0, 13.0), "margin": (-3.0, -4.0, -2.0)},
    )  # fmt: skip


def test_business_figures_are_told_by_version_arm_and_segment_also_where_nothing_is_true_or_false() -> None:
    shown = Shown()
    show_outcomes(shown, [outcome(""), outcome("zone=a", loss=0.4)], {("2", "challenger/2"): 0.05})
    for segment in ("", "zone=a"):
        assert shown.series["raypipe_value", "2", "challenger/2", segment, "revenue"] == 12.5
        assert shown.series["raypipe_value", "2", "challenger/2", segment, "margin"] == -3.0
        assert shown.series["raypipe_labelled_share", "2", "challenger/2", segment] == 0.25
    of = ("2", "challenger/2", "zone=a")
    assert (shown.series["raypipe_log_loss", *of], shown.series["raypipe_error_rate", *of]) == (0.4, 0.2)
    assert (shown.series["raypipe_answers", *of], shown.series["raypipe_cost_per_1000", *of]) == (200, 0.05)
    assert shown.series["raypipe_latency_seconds", *of, "0.99"] == 0.009
    assert ("raypipe_log_loss", "2", "challenger/2", "") not in shown.series
