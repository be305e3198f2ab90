"""Arms compared on logs that were made by hand: errors, spread, latency, failures and segments."""

import json
import re

import numpy as np
import polars as pl
import pytest

from raypipe.contracts.arms import Arm, bucket, with_share
from raypipe.contracts.logs import FEEDBACK, PREDICTIONS
from raypipe.flows.experiment import ALPHA, experiment

ARMS = with_share((), Arm(version=2, role="challenger", ranges=()), 0.5)


def logs(
    worse: float = 0.0, slow: int = 1, fails: bool = False, lost: float = 0.0, bad_origin: str = ""
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """3,000 units; the challenger's probabilities are off by ``worse``, everywhere or at one origin."""
    random = np.random.default_rng(1)
    predictions, feedback = [], []
    for number in range(3_000):
        unit, origin = f"u{number}", ("JFK", "LGA")[number % 2]
        own = ARMS[0].owns(bucket("s", unit))
        if own and random.random() < lost:
            continue
        arm, version = ("challenger/2", 2) if own and not (fails and number % 10 == 0) else ("champion", 1)
        truth = random.random() < 0.3
        off = worse if arm != "champion" and bad_origin in ("", origin) else 0.0
        score = min(0.3 + off, 1.0)
        latency = 1_000 * (slow if arm != "champion" else 1)
        request = json.dumps({"origin": origin})
        predictions.append(
            (
                f"r{number}",
                0,
                number,
                unit,
                arm,
                True,
                version,
                "d",
                1,
                0,
                latency,
                score,
                score > 0.5,
                request,
                "{}",
                None,
            )
        )
        feedback.append((f"r{number}", 0, number, bool(truth), None, None, None))
    return (
        pl.DataFrame(predictions, schema=dict(PREDICTIONS.columns), orient="row"),
        pl.DataFrame(feedback, schema=dict(FEEDBACK.columns), orient="row"),
    )


def test_two_that_are_alike_have_no_faults() -> None:
    told = experiment(*logs(), ARMS, "s", by="origin")
    assert told.spread_p > ALPHA
    standing = {one.arm: one for one in told.arms}
    assert set(standing) == {"champion", "challenger/2"}
    assert [one.faults for one in told.arms] == [(), ()]
    assert sum(one.units for one in told.arms) == 3_000
    assert standing["champion"].loss == pytest.approx(0.21, abs=0.02)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"worse": 0.4}, "its error is larger, by at least"),
        ({"slow": 3}, "its answers take 3.0 times as long"),
        ({"fails": True}, "9.* of its answers failed"),
        ({"worse": 0.4, "bad_origin": "JFK"}, "larger where origin is JFK"),
    ],
)
def test_what_speaks_against_a_challenger_is_said(change: dict[str, object], fault: str) -> None:
    told = experiment(*logs(**change), ARMS, "s", by="origin")
    challenger = next(one for one in told.arms if one.arm == "challenger/2")
    assert any(re.search(fault, one) for one in challenger.faults), challenger.faults
    assert not any("origin is LGA" in one for one in challenger.faults) or "bad_origin" not in change


def test_units_that_are_missing_on_one_side_are_found() -> None:
    assert experiment(*logs(lost=0.2), ARMS, "s").spread_p < ALPHA
