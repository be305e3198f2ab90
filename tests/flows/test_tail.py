"""A log that is followed gives every row, whatever the collector does in between, and opens no file twice."""

import numpy as np
import polars as pl
import pytest

from raypipe.clock import ManualClock
from raypipe.flows.collect import KINDS, collect
from raypipe.flows.measure import Measure
from raypipe.flows.tail import Tail
from raypipe.flows.watching.joined import ANSWER, LABEL, Joined
from raypipe.lake import storage
from raypipe.serving import log
from raypipe.settings import Settings
from tests.flows.watched import MINUTE, Written, asked, make_champion, opened

AT = 1_372_640_400_000_000


@pytest.fixture
def made(tmp_path):
    """A workspace, and a replica of its champion."""
    clock, settings = ManualClock(AT), Settings(workspace=tmp_path / "home")
    version = make_champion(settings, tmp_path / "made", clock)
    with opened(settings, clock) as platform:
        yield platform, lambda: Written(settings.home, version, AT)


def seen(tail, since=0):
    found = tail.more(since)
    return None if found is None else found["request_id"].to_list()


def test_rows_are_seen_once_wherever_they_are(made, monkeypatch):
    platform, replica = made
    paths, scan, rng = [], storage.scan, np.random.default_rng(0)
    monkeypatch.setattr(storage, "scan", lambda names, *how: paths.extend(names) or scan(names, *how))
    first = replica()
    first.log(asked(rng, 3), AT)
    tail = Tail(platform, KINDS[0], "rides", ["request_id", "at"])
    assert seen(tail) == ["q0", "q1", "q2"]
    assert seen(tail) == []
    collect(platform.lake, platform.workspace, platform.clock)
    first.log(asked(rng, 2), AT)
    assert seen(tail) == ["q3", "q4"]
    assert paths == []
    # Whoever begins now finds the first three in the lake, the others in the segment.
    assert seen(Tail(platform, KINDS[0], "rides", ["request_id", "at"])) == ["q0", "q1", "q2", "q3", "q4"]
    assert len(paths) == 1


def test_what_went_into_the_lake_unseen_is_read_from_there_and_nothing_else(made, monkeypatch):
    platform, replica = made
    rng, first = np.random.default_rng(0), replica()
    first.log(asked(rng, 3), AT)
    tail = Tail(platform, KINDS[0], "rides", ["request_id", "at"])
    assert len(seen(tail)) == 3
    collect(platform.lake, platform.workspace, platform.clock)
    first.log(asked(rng, 2), AT + MINUTE)
    first.predictions._segment.close()
    collect(platform.lake, platform.workspace, platform.clock)
    assert not list((platform.workspace / "log" / "predictions" / "rides").glob("*.seg"))
    paths, scan = [], storage.scan
    monkeypatch.setattr(storage, "scan", lambda names, *how: paths.extend(names) or scan(names, *how))
    assert seen(tail) == ["q3", "q4"]
    assert len(paths) == 1
    assert seen(tail) == []
    assert seen(Tail(platform, KINDS[0], "rides", ["request_id", "at"]), AT + 1) == ["q3", "q4"]


def test_a_table_that_was_written_anew_is_read_anew(made):
    platform, replica = made
    replica().log(asked(np.random.default_rng(0), 3), AT)
    collect(platform.lake, platform.workspace, platform.clock)
    tail = Tail(platform, KINDS[0], "rides", ["request_id", "at"])
    assert len(seen(tail)) == 3
    platform.lake._catalog.load_table("predictions.rides").delete("request_id == 'q1'")
    assert seen(tail) is None
    assert seen(Tail(platform, KINDS[0], "rides", ["request_id", "at"])) == ["q0", "q2"]


def test_answers_and_labels_may_come_in_any_order_and_twice():
    rng = np.random.default_rng(0)
    ids, at = np.arange(60, dtype=np.uint64), rng.integers(0, 600, 60)
    answers = pl.DataFrame({"id": ids, "at": at, "score": rng.random(60), "category": None}, ANSWER)
    # Each is told twice; the later word stands whichever comes first.
    when = rng.integers(0, 900, 120)
    truth = rng.random(120) < 0.5
    told = pl.DataFrame({"id": np.tile(ids, 2), "at": when, "label": truth, "number": None, "category": None}, LABEL)
    last = told.sort("at", maintain_order=True).unique("id", keep="last")
    expected = answers.join(last.select("id", "label"), on="id").sort("at", "score")
    for seed in range(5):
        order = np.random.default_rng(seed)
        joined = Joined(Measure(), 100)
        for part in np.array_split(order.permutation(60), 4):
            some = told[order.integers(0, 120, 40)]
            joined.add(answers[part], some, seed)
            joined.add(answers[part], some, seed)
        joined.add(answers.clear(), told, seed)
        rows = joined.rows(0, lambda *_: True).sort("at", "score")
        assert rows["score"].to_list() == expected["score"].to_list()
        assert rows["truth"].to_list() == expected["label"].cast(pl.Float64).to_list()
    assert joined.usual(0, 10_000) == 10
    assert joined.rows(0, lambda _start, changed, _newest: changed > 4).height == 0


def test_a_file_is_read_from_where_it_was_and_only_for_the_columns_that_are_asked_for(made, monkeypatch):
    platform, replica = made
    rng, first = np.random.default_rng(0), replica()
    begun = []
    real = log.frames
    monkeypatch.setattr(log, "frames", lambda path, start=0: begun.append(start) or real(path, start))
    made_of = []
    as_json = log._object
    monkeypatch.setattr(log, "_object", lambda names, values: made_of.append(names) or as_json(names, values))
    columns = ["request_id", "score", "request"]
    follow, ends, found = log.Follower(columns), [0], []
    for _ in range(3):
        first.log(asked(rng, 2), AT)
        (path,) = (platform.workspace / "log" / "predictions" / "rides").glob("*.seg")
        rows, end = follow(path, ends[-1])
        found.append(rows)
        ends.append(end)
    assert begun == ends[:-1]
    # No text of features, which nobody reads, has been made.
    assert made_of == [("zone",)] * 6
    whole, end = log.read(path, 0)
    assert pl.concat(found).equals(whole.select(columns))
    assert (end, whole["features"].null_count()) == (ends[-1], 0)
    # Somebody else has read some of it, and then it is read anew.
    assert follow(path, ends[3])[0].is_empty()
    assert follow(path, ends[1])[0].equals(whole[2:].select(columns))
    assert log.Follower(columns)(path, ends[2])[0].equals(whole[4:].select(columns))
    # Of files that are gone nothing is kept: there is a new one every 16 MB.
    other = path.rename(path.with_name(f"9{path.name[1:]}"))
    assert follow(other, ends[1])[0].height == 4
    assert list(follow._known) == [other]
