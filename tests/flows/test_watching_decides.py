"""From what replicas count to what a policy does about it: rollbacks, alerts, deeper looks, questions, and silence."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from msgspec import structs

from raypipe.clock import ManualClock
from raypipe.contracts.decisions import Decision
from raypipe.contracts.records import ModelVersion
from raypipe.errors import WorkspaceError
from raypipe.flows import Platform
from raypipe.flows.collect import collect
from raypipe.flows.retrain import drive
from raypipe.flows.tail import Tail
from raypipe.flows.watching.actor import Round
from raypipe.flows.watching.known import Known
from raypipe.flows.watching.labels import Told
from raypipe.flows.watching.telling import RAISED
from raypipe.lake import storage
from raypipe.settings import Settings
from raypipe.spec.retrain import Age, Drift, Errors, Failing, NewRows, Retrain, Schedule, Slower, Worse
from tests.flows.watched import MINUTE, Written, asked, make_champion, opened, scored

AT = 1_372_640_400_000_000
QUIET = Retrain((NewRows(10**9),))


class Watched:
    """Two versions, the second the champion since now, and a watcher that looks when it is told to."""

    def __init__(self, folder: Path, policy: Retrain) -> None:
        self.settings = Settings(workspace=folder / "home", tick_seconds=60, tick_rows=100)
        self.clock, self.folder, self.rng = ManualClock(AT), folder, np.random.default_rng(1)
        self.versions = [self.version(i, policy) for i in (1, 2)]
        self.replicas = [Written(self.settings.home, version, AT + i) for i, version in enumerate(self.versions)]
        self.round: Round

    def version(self, number: int, policy: Retrain) -> ModelVersion:
        return make_champion(self.settings, self.folder / f"v{number}", self.clock, policy=policy, weight=number)

    def minutes(
        self, number: int, count: int = 1, rows: int = 150, failed: int = 0, by: float = 0.0, **how: float
    ) -> None:
        """A version answers for some minutes, in which as many rows fail each, and is looked at."""
        for _ in range(count):
            self.clock.advance(MINUTE)
            frame = asked(self.rng, rows, by).with_columns(**{name: pl.lit(value) for name, value in how.items()})
            self.replicas[number - 1].count(frame, self.clock.now(), failed=failed)
            self.round.go()

    def pause(self, minutes: int) -> None:
        for _ in range(minutes):
            self.clock.advance(MINUTE)
            self.round.go()

    def decided(self, platform: Platform) -> list[Decision]:
        entries = [one for one in platform.ledger.entries(subject="rides") if one.kind.startswith("decision.")]
        return [Decision.from_json(one.body) for one in entries if one.kind != "decision.done"]

    def told(self, platform: Platform) -> list[dict[str, str]]:
        return [json.loads(one.body) for one in platform.ledger.entries(RAISED, "rides")]


@pytest.fixture
def made(tmp_path_factory: pytest.TempPathFactory):
    @contextmanager
    def make(policy: Retrain) -> Iterator[tuple[Watched, Platform]]:
        watched = Watched(tmp_path_factory.mktemp("watched"), policy)
        with opened(watched.settings, watched.clock) as platform:
            watched.round = Round(platform, "rides")
            try:
                yield watched, platform
            finally:
                watched.round.close()

    return make


@pytest.mark.parametrize(
    ("trigger", "failed", "seconds", "word"),
    [(Failing(0.2), 90, 0.004, "not answered"), (Slower(2.0), 0, 0.02, "p99"), (Worse(), 0, 0.004, "in its shadow")],
)
def test_a_new_champion_that_does_worse_gives_way(made, monkeypatch, trigger, failed, seconds, word) -> None:
    """By what its replicas count, and by nobody's word; the same in a version that is good does nothing."""
    with made(replace(QUIET, roll_back=(trigger,))) as (watched, platform):
        # The version before answered first: that is what latencies are compared with.
        for _ in range(3):
            watched.clock.advance(MINUTE)
            watched.replicas[0].count(asked(watched.rng, 150), watched.clock.now(), failed=0)
        platform.registry.rollback("rides", "so that it is champion for once", who="a test", expect=2)
        watched.round.go()
        platform.registry.promote("rides", 2, expect=1, why="better", who="a test")
        watched.minutes(2, 3)
        assert {one.action for one in watched.decided(platform)} == {"nothing"}
        if isinstance(trigger, Worse):
            monkeypatch.setattr("raypipe.flows.decide.worse", lambda *_: True)
        watched.clock.advance(MINUTE)
        watched.replicas[1].count(asked(watched.rng, 150), watched.clock.now(), seconds=seconds, failed=failed)
        watched.round.go()
        last = watched.decided(platform)[-1]
        assert last.action == "rollback"
        assert word in last.why
        monkeypatch.setattr("raypipe.flows.retrain.swap_where_served", lambda *_: None)  # nothing is served here
        drive(platform, watched.round._watcher.known(2).pipeline)
        assert platform.registry.get("rides", "champion").version == 1
        assert any("gives way" in one["title"] for one in watched.told(platform))


def test_a_champion_that_answers_nothing_at_all_is_looked_at(made) -> None:
    with made(replace(QUIET, roll_back=(Failing(),))) as (watched, platform):
        watched.minutes(2, 2, rows=0, failed=300)
        last = watched.decided(platform)[-1]
        assert (last.action, last.situation.earlier) == ("rollback", 1)
        assert last.situation.failed == pytest.approx(1, abs=0.2)


def test_a_few_unlucky_requests_roll_nobody_back(made) -> None:
    with made(replace(QUIET, roll_back=(Failing(0.01),))) as (watched, platform):
        watched.minutes(2, 5, failed=5)
        assert {one.action for one in watched.decided(platform)} == {"nothing"}
        watched.minutes(2, 1, failed=25)
        assert watched.decided(platform)[-1].action == "rollback"


def test_what_a_policy_alerts_to_is_told_once_until_it_is_over(made) -> None:
    policy = replace(QUIET, alert=(Drift(0.2), Errors()))
    with made(policy) as (watched, platform):
        watched.minutes(2, 4)
        watched.minutes(2, 6, by=1.5)
        alerts = [one for one in watched.told(platform) if "the policy alerts" in one["title"]]
        assert len(alerts) == 1
        assert "inputs that drift are" in alerts[0]["text"]
        assert ". Inputs that have moved, over about" in alerts[0]["text"]
        assert watched.decided(platform)[-1].action == "alert"
        watched.minutes(2, 45)  # all windows are calm again
        assert watched.decided(platform)[-1].action == "nothing"
        before = len(watched.told(platform))
        watched.minutes(2, 6, by=1.5)
        again = [one["title"] for one in watched.told(platform)[before:]]
        assert again.count("rides/2: the policy alerts") == 1


def test_an_alert_is_told_beside_a_training_that_is_asked_for(made) -> None:
    """The presets alert to what they train for as well."""
    drift = Drift(0.2)
    with made(Retrain((drift,), new_rows=10**9, alert=(drift,))) as (watched, platform):
        watched.minutes(2, 4)
        watched.minutes(2, 4, by=1.5)
        assert watched.decided(platform)[-1].action == "wait"
        assert len([one for one in watched.told(platform) if "the policy alerts" in one["title"]]) == 1


def test_a_deeper_look_is_taken_and_told(made) -> None:
    with made(replace(QUIET, analyse=(NewRows(0), Age(timedelta(0))))) as (watched, platform):
        watched.minutes(2, 3)
        looked = [one for one in watched.told(platform) if "looked deeper" in one["title"]]
        assert len(looked) == 1
        assert "Look deeper" in looked[0]["text"]
        assert len(looked[0]["text"]) > len(watched.decided(platform)[-1].why)


def test_a_person_hears_that_they_are_asked(made) -> None:
    with made(Retrain((Age(timedelta(0)),), new_rows=0, cooldown=timedelta(0), approval=True)) as (watched, platform):
        watched.minutes(2, 3)
        told = [one for one in watched.told(platform) if "waits for approval" in one["title"]]
        assert len(told) == 1
        assert "raypipe policy approve rides" in told[0]["text"]


def test_data_that_breaks_while_it_drifts_is_told(made) -> None:
    with made(QUIET) as (watched, platform):
        watched.minutes(2, 2)
        watched.minutes(2, 4, by=1.5)
        before = [one["title"] for one in watched.told(platform)]
        assert "fare drifted" in before[0]
        watched.minutes(2, 3, fare=float("nan"))
        assert [one["title"] for one in watched.told(platform)][len(before) :] == ["rides/2: fare, score look broken"]


def test_nobody_asking_is_told_once_and_schedules_come_due(made) -> None:
    hourly = Retrain((Schedule("0 * * * *"),), new_rows=10**9)
    with made(hourly) as (watched, platform):
        watched.pause(1)
        watched.minutes(2, 11)
        before = len(watched.decided(platform))
        watched.pause(62)
        since = watched.decided(platform)[before:]
        assert 25 <= len(since) <= 31  # every other minute
        actions = [one.action for one in since]
        assert set(actions) == {"nothing", "wait"}  # the hour has struck,
        assert actions == sorted(actions)  # and what is held back stays due
        silent = [one for one in watched.told(platform) if "nobody asks" in one["title"]]
        assert len(silent) == 1


def test_a_schedule_comes_due_once_however_many_ticks_are_seen_at_a_time(made) -> None:
    """Held back at the first of them, it is due at all; begun at the first of them, at no other."""
    for policy, actions in (
        (Retrain((Schedule("*/5 * * * *"),), new_rows=10**9), ["nothing", "wait", "wait", "wait"]),
        (Retrain((Schedule("*/5 * * * *"),), new_rows=0, daily_cap=9), ["nothing", "train", "nothing", "nothing"]),
    ):
        with made(policy) as (watched, platform):
            for minute in range(1, 6):
                watched.clock.advance(MINUTE if minute > 1 else 3 * MINUTE)
                watched.replicas[1].count(asked(watched.rng, 150), watched.clock.now(), failed=0)
            watched.round.go()
            assert [one.action for one in watched.decided(platform)] == actions


def test_the_version_before_is_compared_while_the_champion_is_on_probation(made, monkeypatch) -> None:
    """And only then: it reads the logs."""
    asked_for = []
    monkeypatch.setattr("raypipe.flows.decide.worse", lambda _, name: asked_for.append(name))
    with made(replace(QUIET, probation=timedelta(minutes=4))) as (watched, _):
        watched.minutes(2, 6)
        assert asked_for == ["rides"] * 2


def test_nothing_is_trained_on_a_column_that_comes_in_another_unit(made) -> None:
    with made(Retrain((Drift(0.1),), new_rows=0)) as (watched, platform):
        for minute in range(4):
            watched.clock.advance(MINUTE)
            frame = asked(watched.rng, 150).with_columns(pl.col("fare") / (1_000 if minute == 3 else 1))
            watched.replicas[1].log(frame, watched.clock.now() - MINUTE // 2)
            watched.replicas[1].count(frame, watched.clock.now(), failed=0)
            watched.round.go()
        *before, last = watched.decided(platform)
        assert {one.action for one in before} == {"nothing"}
        assert last.action == "wait"
        assert "fare: likely in another unit" in last.guards[0]
        [told] = watched.told(platform)
        assert told["title"] == "rides/2: fare looks broken"
        assert "divided by 1,000, as from metres to kilometres" in told["text"]


def test_nothing_is_trained_on_a_column_of_which_a_value_stands_for_none(made) -> None:
    with made(Retrain((Drift(0.1),), new_rows=0)) as (watched, platform):
        for minute in range(4):
            watched.clock.advance(MINUTE)
            none = pl.when((pl.int_range(pl.len()) % 3 == 0) & (minute == 3)).then(-999.0).otherwise(pl.col("fare"))
            frame = asked(watched.rng, 300).with_columns(none.alias("fare"))
            watched.replicas[1].log(frame, watched.clock.now() - MINUTE // 2)
            watched.replicas[1].count(frame, watched.clock.now(), failed=0)
            watched.round.go()
        *before, last = watched.decided(platform)
        assert {one.action for one in before} == {"nothing"}
        assert last.action == "wait"
        assert "fare: -999 likely stands for no value" in last.guards[0]
        [told] = watched.told(platform)
        assert told["title"].startswith("rides/2: fare looks broken")


def test_of_a_bundle_of_old_new_rows_are_those_whose_labels_have_settled(made, monkeypatch):
    """It does not say how it was judged: nobody is told of errors, but rows to learn from come, each counted once."""
    of = Known.of
    monkeypatch.setattr(
        Known, "of", lambda v: replace(known := of(v), reference=structs.replace(known.reference, judged=None))
    )
    with made(Retrain((NewRows(300),), new_rows=200)) as (watched, platform):
        for minute in range(4):
            frame = asked(watched.rng, 100)
            watched.replicas[1].log(frame, watched.clock.now() + MINUTE)
            watched.minutes(2)
            if minute == 2:
                watched.clock.advance(2 * 24 * 60 * MINUTE)  # later than labels settle
        watched.pause(3)
        found = watched.decided(platform)
        assert [one.situation.new_rows for one in found] == [0, 0, 300, 300]
        assert [one.action for one in found] == ["nothing", "nothing", "train", "wait"]
        assert found[2].situation.errors is None is found[2].situation.regret
        watched.clock.advance(2 * 24 * 60 * MINUTE)
        watched.pause(1)
        assert watched.decided(platform)[-1].situation.new_rows == 400


def test_a_tick_reads_what_is_new_when_something_has_been_told(made, monkeypatch):
    """However much was answered before: rows are read once, from the files of replicas, and no file of the lake."""
    reads, more, opened_files, scan = [], Tail.more, [], storage.scan

    def read(tail, since):
        found = more(tail, since)
        reads.append((watched.clock.now(), found.height))
        return found

    monkeypatch.setattr(Tail, "more", read)
    monkeypatch.setattr(storage, "scan", lambda paths, *how: opened_files.extend(paths) or scan(paths, *how))
    with made(QUIET) as (watched, platform):
        watched.minutes(2, 12)
        assert 0 < len({at for at, _ in reads}) <= 4  # 24 ticks are a span, looked at four times, and when it ends
        for _ in range(40):
            reads.clear()
            frame = asked(watched.rng, 100)
            watched.replicas[1].log(frame, watched.clock.now(), watched.rng.random(100) < scored(frame))
            watched.minutes(2)
            assert reads == [(watched.clock.now(), 100)] * 2
        assert opened_files == []
        # What is in the lake by now was read before it was there.
        assert collect(platform.lake, platform.workspace, watched.clock, "rides") == 2 * 40 * 100
        watched.replicas[1].log(frame, watched.clock.now(), watched.rng.random(100) < scored(frame))
        watched.minutes(2)
        assert reads[-1] == (watched.clock.now(), 100)
        assert opened_files == []
        before = len(reads)
        watched.minutes(2)
        assert len(reads) == before
        assert watched.round._watcher.state.memories[2].labels > 1_000


def test_labels_that_cannot_be_read_let_nothing_be_trained(made, monkeypatch):
    with made(Retrain((Age(timedelta(0, 1)),), new_rows=1)) as (watched, platform):
        monkeypatch.setattr(Told, "rows", lambda *_: (_ for _ in ()).throw(WorkspaceError("damaged")))
        watched.minutes(2, 3)
        decisions = watched.decided(platform)
        assert {(one.action, one.situation.new_rows) for one in decisions} == {("wait", None)}
        assert "nobody knows how many of 1 labelled rows" in decisions[0].why
