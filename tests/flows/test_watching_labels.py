"""Spans that are read until they are settled come to what a look at everything comes to, whoever starts anew when."""

from collections.abc import Sequence
from datetime import timedelta
from types import SimpleNamespace
from typing import cast

import msgspec
import numpy as np
import polars as pl
import pytest
from msgspec import structs

from raypipe.contracts.judged import Judged
from raypipe.flows.collect import LogFiles
from raypipe.flows.measure import Measure
from raypipe.flows.platform import Platform
from raypipe.flows.watching import labels
from raypipe.flows.watching.joined import Joined
from raypipe.flows.watching.known import Known
from raypipe.flows.watching.labels import Told, outcome
from raypipe.monitoring import Performance, Plan
from raypipe.monitoring.sums import Memory

HOUR, DAY = 3_600_000_000, 86_400_000_000
START = 1_000 * DAY


class Logs:
    """What is in the two logs at a moment, with how many rows were read last."""

    def __init__(self, days: int, rng: np.random.Generator) -> None:
        quiet = np.isin(np.arange(days), (5, 6))
        day = np.repeat(np.arange(days), np.where(quiet, 0, 60))
        at = np.sort(START + day * DAY + rng.integers(0, DAY, len(day)))
        score = rng.uniform(0.05, 0.6, len(at))
        truth = (rng.random(len(at)) < np.where(day < 12, score, 1 - score)).astype(float)
        ids = [f"q{i}" for i in range(len(at))]
        self.rows = pl.DataFrame({"id": ids, "at": at, "score": score, "answered": True})
        # A quarter of the labels never come; some are wrong at first, and corrected within hours or after days.
        told = [
            (ids[i], int(at[i] + rng.exponential(0.4 * DAY)), truth[i])
            for i in np.flatnonzero(rng.random(len(at)) < 0.75)
        ]
        wrong = [(name, when - 1, 1 - value) for name, when, value in told[::9]]
        self.told = sorted([*told, *wrong, *told[::20]], key=lambda one: one[1])
        self.now, self.read = 0, 0

    def tail(self, _platform: object, files: LogFiles, _name: str, columns: Sequence[str]) -> "Tail":
        return Tail(self, files.kind.name, columns)

    def logged(self, kind: str, after: int) -> pl.DataFrame:
        """What was logged after a moment, up to now."""
        if kind == "predictions":
            found = self.rows.filter(pl.col("at").is_between(after + 1, self.now))
            return found.rename({"id": "request_id"}).with_columns(version=1, category=pl.lit(None, pl.String))
        told = [(name, when, value > 0.5) for name, when, value in self.told if after < when <= self.now]
        kinds = {"request_id": pl.String(), "at": pl.Int64(), "label": pl.Boolean()}
        nothing = {"number": pl.lit(None, pl.Float64), "category": pl.lit(None, pl.String)}
        return pl.DataFrame(told, kinds, orient="row").with_columns(**nothing)


class Tail:
    """Stands for a log in segments and in the lake."""

    def __init__(self, logs: Logs, kind: str, columns: Sequence[str]) -> None:
        self._logs, self._kind, self._columns, self._at = logs, kind, columns, 0

    def more(self, since: int) -> pl.DataFrame:
        found, self._at = self._logs.logged(self._kind, self._at), self._logs.now
        found = found.filter(pl.col("at") >= since)
        self._logs.read += found.height * (self._kind == "predictions")
        return found.with_columns(row=pl.lit(0)).select(self._columns)


@pytest.fixture
def logs(monkeypatch):
    logs = Logs(30, np.random.default_rng(0))
    monkeypatch.setattr(labels, "Tail", logs.tail)
    monkeypatch.setattr(labels, "heard", lambda *_: str(sum(when <= logs.now for _, when, _ in logs.told)))
    return logs


@pytest.fixture
def known():
    rng = np.random.default_rng(1)
    score = rng.uniform(0.05, 0.6, 5_000)
    judged = Judged.of((rng.random(5_000) < score).astype(float), score)
    pipeline = SimpleNamespace(
        label=SimpleNamespace(settled_after=timedelta(days=2)), ask=SimpleNamespace(lead=timedelta(0))
    )
    version = SimpleNamespace(name="rides", version=1)
    return cast(Known, SimpleNamespace(judged=judged, measure=Measure(), pipeline=pipeline, version=version))


def test_what_is_settled_is_not_read_again_and_comes_to_the_same(logs, known):
    """Each row is read once; whoever starts anew from what was written down reads what waits, and says the same."""
    platform, plan, memory = cast(Platform, None), Plan(span=HOUR), Memory()
    all_at_once = Performance(known.judged, span=DAY, settles=2 * DAY, budget=60 * 90.0)
    told = Told(platform, known, plan, START)
    reads, anew, asked, heard = [], [], 0, 0
    for tick in range(1, 30 * 4):
        at = logs.now = START + tick * DAY // 4
        logs.read, told.new_look = 0, True
        report, after = outcome(told, known, memory, plan, at)
        reads.append(logs.read)
        # Asked again, and started anew from what was written down, it says the same.
        assert outcome(told, known, memory, plan, at)[0].to_json() == report.to_json()
        logs.read = 0
        again, _ = outcome(Told(platform, known, plan, at), known, memory, plan, at)
        assert again.to_json() == report.to_json()
        anew.append(logs.read)
        memory = msgspec.msgpack.decode(msgspec.msgpack.encode(after), type=Memory)

        new = logs.rows.filter(pl.col("at") <= at)[asked:]
        asked += new.height
        all_at_once.predicted(new["id"].to_list(), new["at"].to_numpy(), new["score"].to_numpy())
        news = [one for one in logs.told[heard:] if one[1] <= at]
        heard += len(news)
        all_at_once.labelled([name for name, _, _ in news], np.array([value for _, _, value in news]))
        expected = all_at_once.report(at)
        assert (report.alarm, report.new_labels) == (expected.alarm, expected.new_labels)
        assert report.regret == pytest.approx(expected.regret, abs=1e-9)
        assert [one.start for one in report.cohorts] == [one.start for one in expected.cohorts]
        for mine, theirs in zip(report.cohorts[-2:], expected.cohorts[-2:], strict=True):
            assert (mine.predictions, mine.labelled, mine.mature) == (
                theirs.predictions,
                theirs.labelled,
                theirs.mature,
            )
            assert mine.estimated == pytest.approx(theirs.estimated)
    assert report.alarm
    assert report.new_labels > 900
    # Whatever was told, what was answered since the tick before is read; anew, what was in the three days that wait.
    assert sum(reads) == (logs.rows["at"] <= logs.now).sum()
    assert max(anew[60:]) <= 4 * 60
    assert memory.through == START + 27 * DAY


def test_while_nothing_is_told_nothing_is_read_and_it_comes_to_the_same(logs, known):
    """Labels come on every third day only. Of the rest a few looks a day are made, for the newest predictions."""
    logs.told = [one for one in logs.told if one[1] // DAY % 3 == 0]
    platform, plan, memory, always, reads = cast(Platform, None), Plan(span=HOUR), Memory(), Memory(), []
    told = Told(platform, known, plan, START)
    for tick in range(1, 20 * 24):
        at = logs.now = START + tick * HOUR
        logs.read, told.new_look = 0, True
        report, memory = outcome(told, known, memory, plan, at)
        memory = msgspec.msgpack.decode(msgspec.msgpack.encode(memory), type=Memory)
        reads.append(logs.read)
        again = Told(platform, known, plan, at)
        expected, always = outcome(again, known, structs.replace(always, read=0), plan, at)
        # Of the newest day some hours may not be counted yet; without any label by how many there are is a guess.
        mine, theirs = (
            structs.replace(
                one,
                cohorts=tuple(cohort for cohort in one.cohorts if cohort.start < at // DAY * DAY)[-7:],
                detects=one.detects if memory.errors else 0.0,
            )
            for one in (report, expected)
        )
        assert mine.to_json() == theirs.to_json()
        counted, there = (sum(one.predictions for one in found.cohorts[-7:]) for found in (report, expected))
        assert abs(there - counted) < 60
    assert report.alarm
    silent = [reads[i] for i in range(48, len(reads)) if (START + (i + 1) * HOUR) // DAY % 3 == 1]
    assert 3 / 24 < np.mean(np.array(silent) > 0) <= 4 / 24


def test_asking_and_throwing_the_answer_away_changes_nothing(logs, known):
    logs.now = START + 20 * DAY
    memory = Memory()
    told = Told(cast(Platform, None), known, Plan(span=HOUR), START)
    first, _ = outcome(told, known, memory, Plan(span=HOUR), logs.now)
    assert memory == Memory()
    assert outcome(told, known, memory, Plan(span=HOUR), logs.now)[0].to_json() == first.to_json()


def test_labels_that_come_after_weeks_are_taken_in_and_old_spans_are_looked_at_once_a_day(logs, known, monkeypatch):
    """Two thirds of them come within days; a third after three weeks, when nobody looks at that day any more."""
    known.pipeline.label.settled_after = timedelta(days=25)
    late = {f"q{i}" for i in range(0, logs.rows.height, 3)}
    at = dict(logs.rows.select("id", "at").iter_rows())
    logs.told = sorted(
        ((name, at[name] + (22 * DAY if name in late else DAY), 1.0) for name in at), key=lambda one: one[1]
    )
    looked, rows = [], Joined.rows
    monkeypatch.setattr(Joined, "rows", lambda *how: (found := rows(*how), looked.append(found.height))[0])
    memory, plan = Memory(), Plan(span=HOUR)
    told = Told(cast(Platform, None), known, plan, START)
    for tick in range(1, 60 * 4):
        now = logs.now = START + tick * DAY // 4
        told.new_look = True
        report, memory = outcome(told, known, memory, plan, now)
    assert report.new_labels == logs.rows.height
    assert sum(labels for _, _, labels in memory.errors) == logs.rows.height
    assert memory.counted == {}
    # Nothing is read twice, and of most ticks only the days are looked at that they tell of.
    assert logs.read == (logs.rows["at"] <= logs.now).sum()
    assert np.median(looked[80:110]) <= 3 * 60
    assert [one.predictions for one in report.cohorts] == [60] * 8


@pytest.mark.parametrize("days", [1, 9_000])
def test_how_rare_false_alarms_of_errors_are_is_a_setting(logs, known, days):
    """A month of a few more errors is an alarm where one a day may be false, and none where it is one in 25 years."""
    rng = np.random.default_rng(4)
    logs.rows = logs.rows.with_columns(score=pl.lit(0.4))
    logs.told = [(name, at, float(rng.random() < 0.36)) for name, at in logs.rows.select("id", "at").iter_rows()]
    memory, plan = Memory(), Plan(budget=days * 24, span=HOUR)
    for day in range(1, 32):
        now = logs.now = START + day * DAY
        report, memory = outcome(Told(cast(Platform, None), known, plan, now), known, memory, plan, now)
    assert report.alarm is (days == 1)
