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
    told = experiment(*logs(), ARMS, "s", by=["origin"])
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
    told = experiment(*logs(**change), ARMS, "s", by=["origin"])
    challenger = next(one for one in told.arms if one.arm == "challenger/2")
    assert any(re.search(fault, one) for one in challenger.faults), challenger.faults
    assert not any("origin is LGA" in one for one in challenger.faults) or "bad_origin" not in change


def test_units_that_are_missing_on_one_side_are_found() -> None:
    assert experiment(*logs(lost=0.2), ARMS, "s").spread_p < ALPHA


def rows_of(answers: list[tuple[str, str, str, str, float, bool]]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Both logs out of request id, unit, origin, arm, score and truth."""
    predictions, feedback = [], []
    for at, (id_, unit, origin, arm, score, truth) in enumerate(answers):
        version = int(arm.partition("/")[2] or 1)
        asked = json.dumps({"origin": origin})
        read = (id_, 0, at, unit, arm, True, version, "d", 1, 0, 1_000, score, score > 0.5, asked, "{}", None)
        predictions.append(read)
        feedback.append((id_, 0, at, truth, None, None, None))
    return (
        pl.DataFrame(predictions, schema=dict(PREDICTIONS.columns), orient="row"),
        pl.DataFrame(feedback, schema=dict(FEEDBACK.columns), orient="row"),
    )


EVERYWHERE = Arm(version=2, role="challenger", ranges=((0, 3_000),))
AT_JFK = Arm(version=3, role="challenger", ranges=((0, 5_000),), where=(("origin", "JFK"),))


def at_two_origins(fails: str = "", worse: str = "", lost: str = "") -> tuple[pl.DataFrame, pl.DataFrame]:
    """4,000 units. At JFK, where a label is a coin, half are version 3's; of all others 30 % are version 2's."""
    random, answers = np.random.default_rng(2), []
    for number in range(8_000):
        unit, origin = f"u{number // 2}", ("JFK", "LGA")[number % 2]
        place = bucket("s", unit)
        arm = "champion"
        if origin == "JFK" and place < 5_000:
            arm = "challenger/3"
        elif place < 3_000:
            arm = "challenger/2"
        if arm == lost and random.random() < 0.3:
            continue
        rate = {"JFK": 0.5, "LGA": 0.05}[origin]
        score = rate + (0.4 if arm == worse else 0.0)
        answered = "champion" if arm == fails and random.random() < 0.1 else arm
        answers.append((f"r{number}", unit, origin, answered, score, bool(random.random() < rate)))
    return rows_of(answers)


def test_a_segment_of_its_own_is_no_fault_of_anybody() -> None:
    """JFK is harder for everybody, and version 2 is not asked there where version 3 is."""
    told = experiment(*at_two_origins(), (EVERYWHERE, AT_JFK), "s")
    assert [(one.arm, one.faults, one.failed) for one in told.arms] == [
        ("champion", (), 0.0),
        ("challenger/2", (), 0.0),
        ("challenger/3", (), 0.0),
    ]
    assert told.spread_p > ALPHA
    assert all(abs(one.against.estimate) < 0.02 for one in told.arms[1:] if one.against is not None)


@pytest.mark.parametrize("arm", ["challenger/2", "challenger/3"])
def test_each_segment_is_judged_by_itself(arm: str) -> None:
    arms = (EVERYWHERE, AT_JFK)
    worse = experiment(*at_two_origins(worse=arm), arms, "s")
    assert {one.arm for one in worse.arms if one.faults} == {arm}
    assert worse.of(arm).faults[0].startswith("its error is larger")
    fails = experiment(*at_two_origins(fails=arm), arms, "s")
    assert {one.arm for one in fails.arms if one.faults} == {arm}
    assert fails.of(arm).failed == pytest.approx(0.1, abs=0.03)
    assert experiment(*at_two_origins(lost=arm), arms, "s").spread_p < ALPHA


def test_a_field_that_the_log_does_not_keep_speaks_against_nobody() -> None:
    predictions, feedback = at_two_origins()
    told = experiment(predictions.with_columns(request=pl.lit("{}")), feedback, (AT_JFK,), "s")
    assert [(one.faults, one.against) for one in told.arms] == [((), None)] * 2
    assert told.spread_p > ALPHA


def few(*latencies: int, arm: str = "challenger/2", failed: int = 0, each: int = 1) -> tuple[str, ...]:
    """What speaks against a version with so many requests beside a champion with 200."""
    random = np.random.default_rng(3)
    mine = [f"m{n}" for n in range(9_999) if EVERYWHERE.owns(bucket("s", f"m{n}"))]
    others = [f"o{n}" for n in range(9_999) if not EVERYWHERE.owns(bucket("s", f"o{n}"))][:200]
    took = {unit: 1_000 + int(random.random() * 100) for unit in others} | dict(zip(mine, latencies, strict=False))
    rows = [(unit, unit, "LGA", arm if unit[0] == "m" else "champion", 0.5, True) for unit in took]
    rows = [(*row[:3], "champion", *row[4:]) if row[0] in mine[:failed] else row for row in rows]
    predictions, feedback = rows_of(rows)
    predictions = predictions.with_columns(pl.col("unit").replace_strict(took, return_dtype=pl.Int64).alias("latency"))
    many = pl.concat([predictions.with_columns(row=pl.lit(row, pl.Int32)) for row in range(each)])
    return experiment(many, feedback, (EVERYWHERE,), "s").of(arm).faults


def test_one_slow_answer_and_one_failure_are_chance() -> None:
    """A look after twenty answers finds what they show: not the 99th percentile of twenty."""
    assert few(*[1_000] * 19, 900_000) == ()
    assert few(*[1_000] * 20, failed=1) == ()
    assert few(*[1_000] * 19, 900_000, each=50) == (), "the rows of a request are answered together"
    assert few(*[1_000] * 20, failed=1, each=50) == ()
    assert any("as long" in fault for fault in few(*[3_000] * 20))
    assert any("of its answers failed" in fault for fault in few(*[1_000] * 20, failed=10))
