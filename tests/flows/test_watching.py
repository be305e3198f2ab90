"""The watcher: whatever happens to it, every answer is counted once, every alarm raised once and told."""

import json
import math
import shutil
from collections.abc import Collection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from types import SimpleNamespace

import apprise
import numpy as np
import pytest
from msgspec import structs
from ray.util import metrics

from raypipe.clock import ManualClock
from raypipe.contracts.records import ModelVersion
from raypipe.contracts.segment import segments
from raypipe.errors import ServiceError
from raypipe.failpoints import FailpointError
from raypipe.flows import Platform
from raypipe.flows.watching import actor
from raypipe.flows.watching.actor import Round
from raypipe.flows.watching.gauges import GAUGES, Part, RayGauges
from raypipe.flows.watching.labels import TICKS
from raypipe.flows.watching.start import FirstTick
from raypipe.flows.watching.telling import RAISED, TOLD
from raypipe.flows.watching.watcher import Watcher
from raypipe.settings import Settings
from tests.flows.watched import MINUTE, Written, asked, make_champion, opened

AT = 1_372_640_400_000_000


class Receiver:
    """A real web service that alarms are sent to."""

    def __init__(self) -> None:
        self.got: list[dict[str, str]] = []
        self.status = 200
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:  # the name that the library looks for
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if outer.status == 200:
                    outer.got.append(body)
                self.send_response(outer.status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"json://127.0.0.1:{self._server.server_port}/"
        Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def receiver():
    made = Receiver()
    yield made
    made.close()


class Dial:
    def __init__(self) -> None:
        self.values: dict[tuple[str, ...], float] = {}

    def set(self, name: str, value: float, labels: dict[str, str]) -> None:
        assert set(labels) == set(GAUGES[name][1]), name
        self.values[name, *labels.values()] = value

    def keep(self, versions: Collection[str], parts: Collection[Part] | None = None) -> None:
        self.kept, self.parts = versions, parts

    def again(self) -> None:
        self.repeated = True


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(AT)


@pytest.fixture
def settings(tmp_path: Path, receiver: Receiver) -> Settings:
    return Settings(workspace=tmp_path / "home", tick_seconds=60, tick_rows=100, alerts=[receiver.url])


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("template")
    make_champion(Settings(workspace=folder / "home"), folder / "made", ManualClock(AT))
    return folder / "home"


@pytest.fixture
def champion(settings: Settings, template: Path, clock: ManualClock) -> ModelVersion:
    shutil.copytree(template, settings.home)
    with opened(settings, clock) as platform:
        found = platform.registry.champion("rides")
    assert found is not None
    return found


def write(home: Path, champion: ModelVersion, minutes: int, moved_from: int) -> int:
    """Two replicas write of 40 answers every ten seconds; fares rise at a minute. Gives how many answers there are."""
    rng = np.random.default_rng(3)
    replicas = [Written(home, champion, AT + i) for i in range(2)]
    for step in range(minutes * 6):
        for replica in replicas:
            by = 0.8 if step >= moved_from * 6 else 0.0
            replica.count(asked(rng, 40, by), AT + step * MINUTE // 6)
    for replica in replicas:
        replica.segment.close()
    return minutes * 6 * 80


def test_a_watcher_knows_the_hours_of_a_long_reference_and_goes_on_with_them(settings, clock, tmp_path) -> None:
    """One that was stopped halfway sees what one that was not sees."""
    champion = make_champion(settings, tmp_path / "made", clock, days=21)
    write(settings.home, champion, minutes=6, moved_from=4)
    shutil.copytree(settings.home, tmp_path / "twin")
    seen = []
    for home, stops in ((settings.home, False), (tmp_path / "twin", True)):
        with opened(settings.model_copy(update={"workspace": home}), clock) as platform:
            watcher = Watcher(platform, "rides")
            ticks = list(watcher._news([]))
            for at, counted in enumerate(ticks):
                seen.extend((stops, tick.report) for tick in watcher._count(counted))
                if stops and at == len(ticks) // 2:
                    watcher._save(clock.now())
                    watcher.close()
                    watcher = Watcher(platform, "rides")
            watcher.close()
    first, second = ([report for way, report in seen if way is stopped] for stopped in (False, True))
    assert first == second
    assert {report.calibrated for report in first} == {"seasonal, 21 days"}
    assert [c.column for report in first for c in report.raised][:1] == ["fare"]


def test_what_the_first_tick_waits_for_is_told_until_it_is_over(settings, champion, clock) -> None:
    with opened(settings, clock) as platform:
        round_ = Round(platform, "rides")
        round_.go()
        assert round_.seen(watching=True).first == FirstTick(at=None, span=MINUTE, rows=0, least=100)
        replica = Written(settings.home, champion, AT)
        replica.count(asked(np.random.default_rng(0), 40), AT, failed=3)
        round_.go()
        assert round_.seen(watching=True).first == FirstTick(at=AT + MINUTE, span=MINUTE, rows=43, least=100)
        replica.count(asked(np.random.default_rng(0), 60), AT)
        clock.advance(MINUTE)
        round_.go()
        seen = round_.seen(watching=True)
        assert (len(seen.versions), seen.first) == (1, None)
        round_.close()


def test_ticks_follow_the_counts_and_an_alarm_is_raised_and_told_once(settings, champion, clock, receiver) -> None:
    rows = write(settings.home, champion, minutes=8, moved_from=5)
    with opened(settings, clock) as platform:
        dial = Dial()
        round_ = Round(platform, "rides", dial)
        clock.advance(8 * MINUTE)
        assert round_.go() == 8
        ticks = round_.seen(watching=True).versions
        assert sum(report.rows for report in ticks) > 0
        alarms = platform.ledger.entries(RAISED, "rides")
        assert [json.loads(one.body)["version"] for one in alarms] == [1]
        assert "fare" in json.loads(alarms[0].body)["title"]
        assert [one["title"] for one in receiver.got] == [json.loads(alarms[0].body)["title"]]
        assert len(platform.ledger.entries(TOLD, "rides")) == 1
        assert round_.go() == 0
        assert len(receiver.got) == 1
        # What is in the state needs no segment.
        assert segments(settings.home / "log" / "counts" / "rides") == []
        assert dial.values["raypipe_drift_alarm", "1", "fare"] == 1
        # The logs hold nothing of it: an arm that only fails is one all the same.
        assert (dial.kept, dial.parts) == ({"1"}, {("1", "champion", "")})
        assert dial.values["raypipe_latency_seconds", "1", "champion", "", "0.99"] == pytest.approx(0.004, rel=0.02)
        # A millisecond an answer, at 0.05 an hour.
        assert dial.values["raypipe_cost_per_1000", "1", "champion", ""] == pytest.approx(0.05 / 3600, rel=1e-6)
        assert dial.values["raypipe_failed_share", "1", "champion", ""] == pytest.approx(1 / 41)
        round_.close()
    assert rows == 8 * 480


def test_the_figures_of_a_version_that_answers_no_more_go_away(settings, champion, clock, monkeypatch) -> None:
    """Its open alarm would page somebody for ever."""
    write(settings.home, champion, minutes=8, moved_from=5)
    shown: dict[tuple[str, ...], float] = {}

    class Gauge:
        def __init__(self, name: str, *_: object) -> None:
            self.name = name

        def set_default_tags(self, tags: dict[str, str]) -> None:
            assert tags == {"pipeline": "rides"}

        def set(self, value: float, tags: dict[str, str]) -> None:
            shown[self.name, *tags.values()] = value

    monkeypatch.setattr(metrics, "Gauge", Gauge)
    with opened(settings, clock) as platform:
        round_ = Round(platform, "rides", RayGauges("rides"))
        clock.advance(8 * MINUTE)
        round_.go()
        alarm = ("raypipe_drift_alarm", "1", "fare")
        assert shown[alarm] == 1
        # A series that is not set again soon is gone for Prometheus, and the next tick may be an hour away.
        told = dict(shown)
        shown.clear()
        round_._said = 0.0
        assert round_.go() == 0
        assert shown == told
        [(_, old)] = round_._watcher.state.last.items()
        newer = structs.replace(old.report, version=2, at=old.report.at + (TICKS + 1) * MINUTE)
        round_._watcher.state.last[2] = structs.replace(old, report=newer)
        monkeypatch.setattr(round_._watcher, "look", lambda: [round_._watcher.state.last[2]])
        round_.go()
        assert math.isnan(shown[alarm])
        assert shown["raypipe_drift_alarm", "2", "fare"] == 1
        assert shown["raypipe_watch_untold",] == 0
        round_.close()


@pytest.mark.parametrize(("material", "raised"), [(0.03, 1), (0.9, 0)])
def test_what_is_too_small_to_be_told_is_a_setting(settings, champion, clock, material, raised) -> None:
    """What the default tells is nothing to whoever wants to hear of nine tenths alone."""
    write(settings.home, champion, minutes=8, moved_from=5)
    with opened(settings.model_copy(update={"drift_material": material}), clock) as platform:
        round_ = Round(platform, "rides", None)
        clock.advance(8 * MINUTE)
        assert round_.go() == 8
        assert len(platform.ledger.entries(RAISED, "rides")) == raised
        round_.close()


def test_somebody_else_is_refused(settings, champion, clock) -> None:
    with opened(settings, clock) as platform:
        first = Watcher(platform, "rides")
        with pytest.raises(ServiceError, match="watched already"):
            Watcher(platform, "rides")
        first.close()
        Watcher(platform, "rides").close()


def test_an_alarm_that_nobody_takes_is_told_later(settings, champion, clock, receiver) -> None:
    write(settings.home, champion, minutes=8, moved_from=5)
    receiver.status = 500
    with opened(settings, clock) as platform:
        round_ = Round(platform, "rides")
        clock.advance(8 * MINUTE)
        round_.go()
        assert (receiver.got, round_.seen(watching=True).untold) == ([], 1)
        round_.close()
        receiver.status = 200
        again = Round(platform, "rides")
        again.go()
        assert (len(receiver.got), again.seen(watching=True).untold) == (1, 0)
        again.close()


@pytest.mark.parametrize(
    ("first", "why"),
    [
        ("env:NOBODY_HAS_SET_THIS", "env:NOBODY_HAS_SET_THIS: holds nothing"),
        ("env:NO_RECEIVER", "env:NO_RECEIVER: is no URL that Apprise knows"),
        ("json://127.0.0.1:1/", "json://127.0.0.1:1/: could not be reached"),
        ("env:ODD", "env:ODD: RuntimeError"),
    ],
)
def test_a_receiver_that_is_wrong_is_told_of_and_silences_nobody(
    settings, champion, clock, receiver, monkeypatch, first, why
) -> None:
    write(settings.home, champion, minutes=8, moved_from=5)
    monkeypatch.setenv("NO_RECEIVER", "nobody://knows/this")
    monkeypatch.setenv("ODD", "json://127.0.0.1:2/")
    if first == "env:ODD":
        monkeypatch.setattr(apprise.Apprise, "notify", _odd(apprise.Apprise.notify))
    with opened(settings.model_copy(update={"alerts": [first, receiver.url]}), clock) as platform:
        round_ = Round(platform, "rides")
        clock.advance(8 * MINUTE)
        round_.go()
        seen = round_.seen(watching=True)
        assert (len(receiver.got), seen.untold) == (1, 1)
        [told] = seen.unreached
        assert told.startswith(why)
        round_.close()


def _odd(notify):
    """Of a library that fails in a way that nobody has thought of."""

    def raising(sender, **how):
        if "127.0.0.1:2" in sender[0].url():
            raise RuntimeError("a secret")
        return notify(sender, **how)

    return raising


WINDOWS = (
    "watch.before_state", "watch.after_state", "watch.after_removal",
    "watch.alarm_before_sending", "watch.alarm_after_sending",
)  # fmt: skip


@pytest.mark.parametrize("window", WINDOWS)
def test_a_watcher_that_dies_anywhere_counts_and_tells_once(
    settings, champion, clock, receiver, window, monkeypatch
) -> None:
    write(settings.home, champion, minutes=8, moved_from=5)
    clock.advance(8 * MINUTE)
    with opened(settings, clock) as platform:
        for visit in (1, 2):
            with monkeypatch.context() as patch:
                patch.setattr("raypipe.failpoints._visits", {})
                patch.setenv("RAYPIPE_FAILPOINT", f"{window}=raise@{visit}")
                died = _until_death(platform)
        found = Round(platform, "rides")
        found.go()
        seen = found.seen(watching=True)
        found.close()
        assert died or window.startswith("watch.a")
        assert [report.tick for report in seen.versions] == [8]
        assert _total(settings, platform) == 8 * 480
        titles = [json.loads(one.body)["title"] for one in platform.ledger.entries(RAISED, "rides")]
        assert len(titles) == 1
        assert {one["title"] for one in receiver.got} == set(titles)
        # Whoever is killed after sending and before writing so down sends again: nothing over a network can do better.
        assert len(receiver.got) <= 1 + (window == "watch.alarm_after_sending")


def _until_death(platform: Platform) -> bool:
    round_ = Round(platform, "rides")
    try:
        round_.go()
    except FailpointError:
        return True
    finally:
        round_.close()
    return False


def _total(settings: Settings, platform: Platform) -> int:
    """All answers that the newest window has seen: eight ticks, of which the monitor keeps 32."""
    watcher = Watcher(platform, "rides")
    monitor = watcher._versions.monitors[1]
    total = int(monitor._ring[-1][-1].sum())
    watcher.close()
    return total


def test_nobody_counts_what_is_no_version_of_it(settings, champion, clock) -> None:
    from msgspec import structs

    rng = np.random.default_rng(0)
    replica = Written(settings.home, structs.replace(champion, version=7), AT)
    replica.count(asked(rng, 200), AT)
    replica.segment.append(0, b"no counts")
    with opened(settings, clock) as platform:
        round_ = Round(platform, "rides")
        clock.advance(2 * MINUTE)
        assert round_.go() == 0
        round_.close()


def test_labels_come_true_and_are_taken_into_account_once(settings, champion, clock) -> None:
    rng = np.random.default_rng(5)
    replica = Written(settings.home, champion, AT)
    from tests.flows.watched import scored

    for minute in range(60):
        frame = asked(rng, 120)
        at = AT + minute * MINUTE
        replica.count(frame, at)
        # From half an hour on the model is wrong more often than it says.
        chance = scored(frame) if minute < 24 else 1 - scored(frame)
        replica.log(frame, at, rng.random(120) < chance)
    with opened(settings, clock) as platform:
        clock.advance(60 * MINUTE)
        dial = Dial()
        round_ = Round(platform, "rides", dial)
        round_.go()
        # Labels of the newest 24 minutes, all of them wrong way round.
        assert dial.values["raypipe_error_rate", "1", "champion", ""] > 0.5
        assert dial.values["raypipe_labelled_share", "1", "champion", ""] == 1
        assert dial.values["raypipe_errors_risen", "1"] == 1
        assert dial.parts == {("1", "champion", "")}
        outcome = round_._watcher.state.last[1].outcome
        assert outcome is not None
        assert outcome.alarm
        assert 0 < round_._watcher.state.memories[1].labels < 60 * 120
        round_.close()
        again = Round(platform, "rides")
        replica.count(asked(rng, 120), AT + 61 * MINUTE)
        replica.count(asked(rng, 120), AT + 62 * MINUTE)
        clock.advance(3 * MINUTE)
        assert again.go() > 0
        # By now every span is over, and each label is taken into account.
        assert again._watcher.state.memories[1].labels == 60 * 120
        texts = [json.loads(one.body)["title"] for one in platform.ledger.entries(RAISED, "rides")]
        assert sum("errors has risen" in text for text in texts) == 1
        again.close()


def test_a_watcher_that_comes_back_is_at_work_at_once(monkeypatch) -> None:
    """What it has missed need not wait for the usual pause as well, five seconds for a training."""
    looked, drove = Event(), Event()
    monkeypatch.setattr(actor, "LOOK_SECONDS", 60.0)
    monkeypatch.setattr(actor, "DRIVE_SECONDS", 60.0)
    monkeypatch.setattr(actor, "_begin", lambda *_: SimpleNamespace(go=looked.set))
    monkeypatch.setattr(actor.Watch, "drive", lambda _: drove.set())
    watch = actor.Watch(lambda: None, "rides")
    try:
        assert looked.wait(10)
        assert drove.wait(10)
    finally:
        watch._stop.set()
