"""What became of the newest predictions: counted bit by bit it is what all rows of the logs say at once."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import polars as pl
import pytest

from raypipe.clock import ManualClock
from raypipe.contracts.counts import latency_of
from raypipe.contracts.logs import FEEDBACK, PREDICTIONS
from raypipe.contracts.target import BINARY, Target
from raypipe.flows import Platform
from raypipe.flows.collect import collect
from raypipe.flows.figures import outcomes
from raypipe.flows.watching import newest as module
from raypipe.flows.watching.known import Known
from raypipe.flows.watching.newest import Newest
from raypipe.flows.watching.tallies import Part, Tally
from raypipe.serving.feedback import Told
from raypipe.settings import Settings
from raypipe.spec import Expression, changed
from raypipe.spec.values import FrozenMap
from tests.flows.watched import MINUTE, Written, asked, make_champion, opened, scored, true_of

AT = 1_372_640_400_000_000
FIELDS = ("zone", "nobody keeps it")


class World:
    """A workspace, the champion in it, and what follows its logs."""

    def __init__(self, platform: Platform, known: Known) -> None:
        self.platform, self.known, self.newest = platform, known, Newest(platform, "rides")
        self.rng = np.random.default_rng(1)

    def replica(self) -> Written:
        return Written(self.platform.workspace, self.known.version, AT)

    def log(self, replica: Written, rows: int, at: int, *, told: bool) -> None:
        frame = asked(self.rng, rows)
        truth = np.asarray(true_of(self.known.target, self.rng, scored(frame)))
        replica.log(frame, at, truth if told else None)

    def whole(self, since: int) -> dict[Part, tuple[object, ...]]:
        """The same from all rows at once, by another way."""
        platform = self.platform
        collect(platform.lake, platform.workspace, platform.clock)
        answered, told = (
            platform.lake.log(kind, "rides").rows(since=since // MINUTE * MINUTE).collect()
            for kind in (PREDICTIONS, FEEDBACK)
        )
        found = outcomes(answered, told, self.known.pipeline, self.known.measure, FIELDS)
        return {
            (str(one.version), one.arm, one.segment): (
                one.predictions, one.labelled, one.loss, one.error and one.error[0], one.p50_ms, one.p99_ms,
                {name: mean for name, (mean, _, _) in one.value.items()},
            )
            for one in found
        }  # fmt: skip

    def check(self, since: int) -> dict[Part, Tally]:
        found = self.newest.tallies(since, self.known, FIELDS)
        expected = self.whole(since)
        assert set(found) == set(expected)
        for part, (predictions, labelled, loss, error, p50, p99, values) in expected.items():
            tally = found[part]
            assert (tally.predictions, tally.labelled) == (predictions, labelled), part
            assert tally.lost == pytest.approx((loss or 0.0) * cast(int, labelled))
            assert error is None or tally.wrong == pytest.approx(cast(float, error) * cast(int, labelled))
            for share, milliseconds in ((0.5, p50), (0.99, p99)):
                assert latency_of(tally.latency, share) == pytest.approx(cast(float, milliseconds) / 1e3, rel=0.011)
            told = {name: total / rows for name, (rows, total) in tally.values.items() if rows}
            assert told == pytest.approx(values)
        return found


@pytest.fixture
def world(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[World]:
    clock, settings = ManualClock(AT), Settings(workspace=tmp_path / "home", tick_seconds=60)
    target = getattr(request, "param", BINARY)
    known = Known.of(make_champion(settings, tmp_path / "made", clock, target=target))
    tips = Expression.of(pl.col("tip") * 2 + pl.col("score"))
    known = replace(known, pipeline=changed(known.pipeline, value=FrozenMap({"tips": tips})))
    with opened(settings, clock) as platform:
        yield World(platform, known)


@pytest.mark.parametrize(
    "world", [BINARY, Target(task="regression"), Target(task="multiclass", classes=("early", "late"))], indirect=True
)
def test_it_is_what_all_rows_say_at_once(world: World) -> None:
    first = world.replica()
    for minute in range(8):
        at = AT + minute * MINUTE
        world.log(first, 9, at, told=minute % 3 != 1)
        # Something old is told once more, and something of which nobody has heard; a part of it goes into the lake.
        first._clock.advance(1)
        first.feedback.add([Told(f"q{minute}", 0, None, {"tip": float(minute)}), Told("nobody", 0, None, {"tip": 1.0})])
        if minute % 4 == 2:
            collect(world.platform.lake, world.platform.workspace, world.platform.clock)
        found = world.check(at - 4 * MINUTE)
    assert sum(one.predictions for part, one in found.items() if not part[2]) == 5 * 9


def test_what_is_told_before_its_answer_is_seen_and_asked_again_later_counts_once(world: World) -> None:
    early, again = world.replica(), world.replica()
    early.feedback.add([Told("q1", 0, True, {"tip": 3.0}), Told("q2", 0, False, {})])
    world.check(AT)
    world.log(early, 4, AT, told=False)
    found = world.check(AT)
    assert found["1", "champion", ""].labelled == 2
    # The same ids, two minutes later, as one that is told nothing asks them once more.
    world.log(again, 3, AT + 2 * MINUTE, told=False)
    found = world.check(AT)
    assert (found["1", "champion", ""].predictions, found["1", "champion", ""].labelled) == (4, 2)
    early._clock.advance(1)
    early.feedback.add([Told("q1", 0, False, {})])
    world.check(AT)
    found = world.newest.tallies(AT + MINUTE, world.known, FIELDS)
    assert (found["1", "champion", ""].predictions, found["1", "champion", ""].labelled) == (3, 2)


def test_only_ticks_of_which_something_is_new_are_counted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    replica, counted = world.replica(), []
    real = module.tallied
    monkeypatch.setattr(module, "tallied", lambda rows, *how: counted.append(rows.height) or real(rows, *how))
    for minute in range(6):
        world.log(replica, 10 + minute, AT + minute * MINUTE, told=False)
        world.newest.tallies(AT, world.known, FIELDS)
    assert counted == [10, 11, 12, 13, 14, 15]
    replica.feedback.add([Told("q0", 0, True, {}), Told("q21", 0, True, {})])
    world.newest.tallies(AT, world.known, FIELDS)
    assert sorted(counted[6:]) == [10, 12]
    world.newest.tallies(AT, world.known, ("zone",))
    assert sorted(counted[8:]) == [10, 11, 12, 13, 14, 15], "of other segments nothing is known yet"


def test_a_look_that_fails_begins_anew(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    replica = world.replica()
    world.log(replica, 5, AT, told=True)
    world.check(AT)
    world.log(replica, 5, AT + MINUTE, told=True)
    real = Newest._told
    monkeypatch.setattr(Newest, "_told", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        world.newest.tallies(AT, world.known, FIELDS)
    monkeypatch.setattr(Newest, "_told", real)
    assert world.check(AT)["1", "champion", ""].predictions == 10
