"""What people are told of an alarm, and that neither it nor a decision is lost where little can be told."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from raypipe.clock import ManualClock, to_second
from raypipe.contracts import bundle
from raypipe.errors import LedgerError
from raypipe.flows import Platform
from raypipe.flows.collect import collect
from raypipe.flows.watching.actor import Round
from raypipe.flows.watching.telling import RAISED
from raypipe.flows.watching.watcher import Watcher
from raypipe.settings import Settings
from raypipe.spec.retrain import NewRows, Retrain
from tests.flows.watched import MINUTE, Written, asked, make_champion, opened, scored

#: Spans of 24 ticks of a minute begin twelve minutes later.
AT = 1_372_640_400_000_000


class Watched:
    """A champion that answers and logs by the minute, and a watcher that looks after each."""

    def __init__(self, platform: Platform, clock: ManualClock) -> None:
        champion = platform.registry.champion("rides")
        assert champion is not None
        self.platform, self.clock, self.rng = platform, clock, np.random.default_rng(1)
        self.replica = Written(platform.workspace, champion, AT)
        self.round = Round(platform, "rides")
        self.labels: list[pl.DataFrame] = []

    def minute(self, rows: int = 150, by: float = 0.0, turned: bool = False) -> None:
        """Whoever is turned has labels the wrong way round, in one zone."""
        self.clock.advance(MINUTE)
        frame, at = asked(self.rng, rows, by), self.clock.now()
        truth = (self.rng.random(rows) < scored(frame)) ^ (turned & (frame["zone"] == "b").to_numpy())
        self.labels.append(pl.DataFrame({"at": at, "wrong": (scored(frame) >= 0.5) != truth}))
        self.replica.log(frame, at - MINUTE // 2, truth)
        self.replica.count(frame, at, failed=0)
        self.round.go()

    def told(self) -> list[dict[str, str]]:
        return [json.loads(one.body) for one in self.platform.ledger.entries(RAISED, "rides")]

    def decisions(self) -> int:
        kinds = [one.kind for one in self.platform.ledger.entries(subject="rides")]
        return sum(kind.startswith("decision.") and kind != "decision.done" for kind in kinds)


@pytest.fixture
def made(tmp_path: Path):
    @contextmanager
    def make(days: int = 0) -> Iterator[Watched]:
        settings, clock = Settings(workspace=tmp_path / "home", tick_seconds=60, tick_rows=100), ManualClock(AT)
        make_champion(settings, tmp_path / "v1", clock, days, policy=Retrain((NewRows(10**9),)))
        with opened(settings, clock) as platform:
            watched = Watched(platform, clock)
            try:
                yield watched
            finally:
                watched.round.close()

    return make


def test_errors_that_rise_while_inputs_are_as_ever_are_told_with_since_when_by_how_much_and_whom(made) -> None:
    """Labels of one zone turn round with the second span, just after rows were erased."""
    with made() as watched:
        for minute in range(70):
            if minute == 36:
                watched.platform.ledger.append("e", "data.erased", "rides", "{}")
            watched.minute(turned=minute >= 36)
            if told := watched.told():
                break
        [alarm] = told
        assert alarm["title"] == "rides/1: the share of errors has risen"
        rows, onset = pl.concat(watched.labels), AT + 36 * MINUTE
        since = rows.filter(pl.col("at") > onset, pl.col("at") <= onset + 24 * MINUTE)["wrong"].mean()
        before = rows.filter(pl.col("at") <= onset)["wrong"].mean()
        assert alarm["text"].startswith("The share of errors went from ")
        words = alarm["text"].split()
        said = [float(words[words.index(word) + 1].rstrip("%,")) / 100 for word in ("from", "to")]
        assert said == pytest.approx([before, since], abs=0.01)
        assert since > before + 0.1
        assert f"since {to_second(onset)}. No input has moved" in alarm["text"]
        assert "zone b accounts for +" in alarm["text"]
        assert "zone a accounts" not in alarm["text"]
        assert "Changed upstream about then: rows were erased." in alarm["text"]


def test_a_drift_began_when_the_tick_before_it_was_closed_however_long_ticks_take(made) -> None:
    """Ten rows a minute: a tick of a minute takes ten. What changed just before is told, after a restart too."""
    with made() as watched:
        for minute in range(70):
            if minute == 59:
                watched.clock.advance(MINUTE // 2)
                watched.platform.ledger.append("e", "data.erased", "rides", "{}")
                watched.clock.advance(-MINUTE // 2)
            if minute == 65:
                watched.round.close()
                watched.round = Round(watched.platform, "rides")
            watched.minute(rows=10, by=1.5 if minute >= 60 else 0.0)
        [alarm] = watched.told()
        assert "fare drifted" in alarm["title"]
        assert "320 are from before it, 100 since" in alarm["text"]
        assert "Changed upstream about then: rows were erased." in alarm["text"]


def damaged_log(watched: Watched, _: pytest.MonkeyPatch) -> None:
    collect(watched.platform.lake, watched.platform.workspace, watched.clock)
    files = [path for path in watched.platform.workspace.rglob("*.parquet") if "predictions" in str(path)]
    assert files
    for path in files:
        content = path.read_bytes()
        path.write_bytes(content[:4] + b"\0" * (len(content) // 2) + content[4 + len(content) // 2 :])


def unforeseen(_: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    def odd(*_: object, **__: object) -> None:
        raise ValueError("nobody has thought of it\nat all")

    monkeypatch.setattr("raypipe.flows.watching.why.diagnose", odd)


@pytest.mark.parametrize(
    ("happens", "said"),
    [
        (damaged_log, "Inputs that have moved, over about 1 tick: "),
        (unforeseen, "could not be explained: nobody has thought of it. ("),
    ],
)
def test_an_alarm_that_cannot_be_explained_is_told_and_decided_on(made, monkeypatch, happens, said) -> None:
    with made() as watched:
        for minute in range(10):
            if minute == 5:
                happens(watched, monkeypatch)
            watched.minute(by=2.0 if minute >= 5 else 0.0)
        assert watched.round.seen(watching=True).versions[0].tick == watched.decisions() == 9
        first, *_ = watched.told()
        assert "fare" in first["title"]
        assert "could not be explained: " in first["text"]
        assert said in first["text"]


def test_a_look_that_failed_is_taken_again_and_nothing_is_lost_or_counted_twice(made, monkeypatch) -> None:
    """The ledger is gone for a while, just when a tick has been closed and an alarm raised."""
    with made() as watched:
        for minute in range(10):
            with monkeypatch.context() as patch:
                if minute in (5, 6):
                    patch.setattr(Watcher, "_slower", _gone)
                    with pytest.raises(LedgerError):
                        watched.minute(by=2.0)
                else:
                    watched.minute(by=2.0 if minute > 6 else 0.0)
        assert watched.round.seen(watching=True).versions[0].tick == watched.decisions() == 9
        assert "fare" in watched.told()[0]["title"]
        assert int(watched.round._watcher._versions.monitors[1]._ring[-1][-1].sum()) == 10 * 150


def _gone(*_: object) -> None:
    raise LedgerError("cannot be reached")


def test_a_model_whose_hours_are_damaged_is_watched_without_them(made) -> None:
    with made(days=21) as watched:
        champion = watched.platform.registry.champion("rides")
        (Path(champion.folder) / bundle.HOURS).write_bytes(b"PAR1")
        for minute in range(8):
            watched.minute(by=2.0 if minute >= 5 else 0.0)
        assert {one.calibrated for one in watched.round.seen(watching=True).versions} == {"even"}
        assert "fare" in watched.told()[0]["title"]
