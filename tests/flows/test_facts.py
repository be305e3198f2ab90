"""The facts that a policy decides on: what they say of the newest predictions, and that a replay has the same ones."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import cast

import numpy as np
import polars as pl
import pytest
from msgspec import structs

from raypipe.contracts.watching import Cohort, PerformanceReport
from raypipe.flows.collect import LogFiles
from raypipe.flows.measure import Measure
from raypipe.flows.platform import Platform
from raypipe.flows.replay import Past
from raypipe.flows.replay.models import Learned, Models
from raypipe.flows.replay.service import DAY, Service, watching
from raypipe.flows.watching import labels, outcome
from raypipe.flows.watching.facts import situation
from raypipe.flows.watching.known import Known
from raypipe.monitoring import Plan
from raypipe.monitoring.sums import Memory
from tests.flows.test_replay import RECIPE, pipeline_with

NAN = (float("nan"),) * 3


def report(*days, reference=0.4):
    """Of days by their rows and their estimated loss, which is known up to 0.02."""
    cohorts = tuple(
        Cohort(
            start=i * DAY,
            predictions=rows,
            labelled=0,
            mature=False,
            loss=NAN,
            error=(0, 0, 1),
            estimated=(loss, loss - 0.02, loss + 0.02),
        )
        for i, (rows, loss) in enumerate(days)
    )
    return PerformanceReport(
        at=0,
        cohorts=cohorts,
        reference=(reference, 0.1),
        alarm=False,
        detects=1.0,
        regret=0.0,
        new_labels=0,
        unmatched=0,
    )


def rise(*days):
    return situation("m", 1, 0, 9 * DAY, report(*days), 0, None).estimated_rise


GOOD, BAD = 0.4, 1.2


@pytest.mark.parametrize(
    ("days", "asks"),
    [
        ([(5_000, GOOD)] * 8, False),
        ([(5_000, GOOD)] * 7 + [(5_000, BAD)], True),
        ([(5_000, GOOD)] * 6 + [(5_000, BAD), (40, GOOD)], True),  # a day that has only begun
        ([(5_000, GOOD)] * 7 + [(40, BAD)], False),
        ([(5_000, BAD)] * 4 + [(5_000, GOOD)] * 4, False),  # it is over
        ([(300, GOOD)] * 4 + [(300, BAD)] * 4, True),
        ([(5_000, GOOD)] * 7 + [(5_000, 0.425)], False),  # not for certain
        ([(0, GOOD)] * 8, False),
        ([], False),
    ],
)
def test_the_estimated_loss_is_that_of_the_newest_predictions(days, asks):
    assert (rise(*days) > 0.1) is asks


def test_what_is_certain_is_less_than_what_is_estimated():
    assert 1.5 < rise((5_000, BAD)) < BAD / 0.4 - 1
    assert rise((5_000, GOOD)) < 0
    assert (
        situation("m", 1, 0, 0, structs.replace(report((9_000, BAD)), reference=(0.0, 0.0)), 0, None).estimated_rise
        == 0
    )


@pytest.fixture(scope="module")
def service():
    """A replay's service, and the past whose answers it gives."""
    rng = np.random.default_rng(2)
    at = np.sort(rng.integers(0, 60 * DAY, 60 * 300))
    x = rng.normal(size=len(at))
    truth = rng.random(len(at)) < 1 / (1 + np.exp(np.where(at > 40 * DAY, 1.5, -1.5) * x))
    frame = pl.DataFrame({"city": rng.choice(["a", "b"], len(at)), "x": x, "label": truth})
    past = Past(frame, at, at + 2 * DAY, truth.astype(float), "small")

    models, learned = Models(pipeline_with(), past, RECIPE), Learned(20 * DAY)
    judged = past.asked(20 * DAY, 28 * DAY)
    return Service("small", models, 1, learned, learned, judged, 30 * DAY, watching()), past, models, learned


def test_a_replay_decides_on_what_production_would_know(service, monkeypatch):
    """The logs of production with the same answers and labels come to the same facts, day by day."""
    replayed, past, models, learned = service
    now = 0
    scores = models.answers(learned, slice(0, len(past.at))).score
    ids = pl.DataFrame({"request_id": [f"q{i}" for i in range(len(past.at))]}).with_columns(row=pl.lit(0))
    none = {"number": pl.lit(None, pl.Float64), "category": pl.lit(None, pl.String)}
    kinds = {
        "predictions": ids.with_columns(
            category=none["category"], at=past.at, score=scores, answered=True, version=past.at // (30 * DAY)
        ),
        "feedback": ids.with_columns(**none, at=past.settled, label=past.truth > 0.5),
    }

    class Tail:
        """A log that is written as history passes."""

        def __init__(self, _platform: object, files: LogFiles, _name: str, columns: Sequence[str]) -> None:
            self._rows, self._at = kinds[files.kind.name].select(columns), 0

        def more(self, since: int) -> pl.DataFrame:
            found = self._rows.filter((pl.col("at") > self._at) & (pl.col("at") <= now) & (pl.col("at") >= since))
            self._at = now
            return found

    monkeypatch.setattr(labels, "Tail", Tail)
    version = SimpleNamespace(name="small", version=1)
    known = cast(Known, SimpleNamespace(measure=Measure(), version=version))
    rows = labels.Told(cast(Platform, None), known, Plan(span=DAY // 24), 30 * DAY)
    memory, found = Memory(), []
    for now in range(31 * DAY, 55 * DAY, DAY):
        drift, performance = replayed.live(now)
        mine = replayed.situation(now, now - DAY, drift, performance)
        rows.new_look = True
        rows.after(memory, now)
        theirs, memory = outcome.outcome(
            rows, replayed.judged, memory, span=DAY, settles=2 * DAY, quiet=90 * DAY, at=now
        )
        expected = situation("small", 1, learned.until, now, theirs, now - DAY, drift)
        assert mine == expected
        found.append(mine)
    assert found[-1].errors
    assert found[-1].estimated_rise > 0.5
    assert not found[5].errors
