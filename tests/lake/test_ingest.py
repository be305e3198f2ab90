"""What a table holds after any sequence of loads: the same rows whatever was tried before, and none twice."""

import os
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from raypipe.contracts.progress import Silent, Step
from raypipe.contracts.records import Ingested, Snapshot
from raypipe.errors import SourceError
from raypipe.flows.ingest import ingest_line
from raypipe.flows.told import counts
from raypipe.lake import Lake
from raypipe.lake.catalog import load_table, open_catalog
from raypipe.lake.state import INCOMING, MAIN, head
from raypipe.spec import Source, checks, fingerprint, hours
from tests.lake.sources import HEADER, START, line, lines, towns, trips

TOWNS = "town,zone,size\n"


def ids(lake: Lake, snapshot: Snapshot) -> list[int]:
    return lake.frame(snapshot, ["id"]).collect()["id"].to_list()


def branches(lake: Lake, name: str = "trips") -> tuple[int | None, int | None]:
    table = load_table(open_catalog(lake._folder), name)
    assert table is not None
    found = [head(table, branch) for branch in (MAIN, INCOMING)]
    return tuple(one.snapshot_id if one else None for one in found)  # type: ignore[return-value]


def take(lake: Lake, source: Source, *, publish: bool = True) -> Snapshot:
    snapshot = lake.ingest(source, Silent())
    if publish:
        lake.publish([snapshot])
    return snapshot


def test_rows_come_in_whole_and_typed(lake: Lake, data: Path) -> None:
    (data / "a.csv").write_text(HEADER + line(1) + line(2, "Rome", None, None))
    stream = trips(data / "a.csv")
    snapshot = take(lake, stream)
    first, second = START + timedelta(hours=1), START + timedelta(hours=2)
    ten, five = timedelta(minutes=10), timedelta(minutes=5)
    names = ["id", "town", "started", "minutes", "fare", "ended_at", "event_time", "known_at"]
    assert lake.frame(snapshot, names).collect().rows() == [
        (1, "Bern", first, 10.0, 7.5, first + ten, first, first + ten + five),
        (2, "Rome", second, None, None, None, second, second + five),
    ]
    assert (snapshot.table, snapshot.rows, snapshot.added, snapshot.repeated) == ("trips", 2, 2, 0)
    assert snapshot.definition == fingerprint(stream)
    (file,) = snapshot.files
    assert (file.path, file.rows, len(file.digest)) == (str(data / "a.csv"), 2, 64)


def test_the_same_again_changes_nothing(lake: Lake, data: Path) -> None:
    (data / "a.csv").write_text(HEADER + lines(1, 2))
    stream = trips(data)
    first = lake.ingest(stream, Silent())
    assert lake.ingest(stream, Silent()) == first, "landed, not yet published"
    lake.publish([first])
    lake.publish([first])
    again = lake.ingest(stream, Silent())
    assert (again.snapshot_id, again.rows, again.added, again.repeated) == (first.snapshot_id, 2, 0, 0)
    assert again.files == first.files
    assert branches(lake) == (first.snapshot_id, first.snapshot_id)
    assert len(list(lake._folder.rglob("*.parquet"))) == 1


def test_progress_is_told_in_bytes(lake: Lake, data: Path) -> None:
    (data / "a.csv").write_text(HEADER + lines(1, 2))
    (data / "b.csv").write_text(HEADER + lines(3))
    seen: list[tuple[str, float | None]] = []
    advanced: list[float] = []

    class Watcher(Silent):
        def step(self, name: str, total: float | None = None) -> AbstractContextManager[Step]:
            seen.append((name, total))
            return nullcontext(self)

        def advance(self, amount: float = 1.0, note: str = "") -> None:
            assert note.startswith(str(data))
            advanced.append(amount)

    lake.ingest(trips(data), Watcher())
    assert seen == [("read trips", sum(file.stat().st_size for file in data.iterdir()))]
    assert sum(advanced) == pytest.approx(seen[0][1])
    assert min(advanced) >= 0
    lake.ingest(trips(data), Watcher())
    assert len(seen) == 1, "nothing to read, nothing to tell"


def test_many_rows_are_kept_in_many_files_in_order(lake: Lake, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raypipe.lake.texts.BLOCK_BYTES", 2**12)
    monkeypatch.setattr("raypipe.lake.stage.ROWS_PER_FILE", 100)
    (data / "a.csv").write_text(HEADER + lines(*range(1000)))
    snapshot = take(lake, trips(data))
    assert ids(lake, snapshot) == list(range(1000))
    assert len(list(lake._folder.rglob("*.parquet"))) > 3


def test_only_new_files_are_read(lake: Lake, data: Path) -> None:
    (data / "a.csv").write_text(HEADER + lines(1, 2))
    take(lake, trips(data))
    (data / "b.csv").write_text(HEADER + lines(3))
    (data / "a.csv").rename(data / "z.csv")  # content is what counts, not its name
    second = take(lake, trips(data))
    assert (second.rows, second.added, second.repeated) == (3, 1, 0)
    assert ids(lake, second) == [1, 2, 3]
    (data / "z.csv").unlink()  # what was taken in stays
    third = take(lake, trips(data))
    assert third.snapshot_id == second.snapshot_id
    assert [file.rows for file in third.files] == [2, 1]


def test_the_same_id_counts_once(lake: Lake, data: Path) -> None:
    (data / "a.csv").write_text(HEADER + lines(1, 2, 1))
    first = take(lake, trips(data))
    assert (first.rows, first.added, first.repeated) == (2, 2, 1)
    (data / "b.csv").write_text(HEADER + lines(2) + line(3, "Rome") + line(3, "Oslo"))
    (data / "c.csv").write_text(HEADER + lines(3, 4))
    second = take(lake, trips(data))
    assert (second.rows, second.added, second.repeated) == (4, 2, 3)
    assert lake.frame(second, ["id", "town"]).collect().rows() == [(1, "Bern"), (2, "Bern"), (3, "Rome"), (4, "Bern")]


def test_rows_that_come_again_with_other_values_are_told(lake: Lake, data: Path) -> None:
    (data / "a.csv").write_text(HEADER + lines(1, 2, 3) + line(4, fare=None))
    take(lake, trips(data))
    (data / "a.csv").write_text(HEADER + lines(1, 2, 3) + line(4, fare=None) + lines(5))
    assert take(lake, trips(data)).differing == ""
    (data / "b.csv").write_text(HEADER + lines(6, 1) + line(2, "Rome") + line(3, minutes=None))
    snapshot = take(lake, trips(data))
    said = f"other values in `town`, `minutes`, which change nothing: the first is row 3 of {data / 'b.csv'}"
    assert snapshot.differing == f"trips: 2 of 3 rows that came again have {said}"
    assert snapshot.repeated == 3
    line_, *said, cure = ingest_line(Ingested(snapshots=(snapshot,))).splitlines()
    assert (line_, said) == ("1 table, 6 rows (1 new, 3 came again)", [f"  {snapshot.differing}"])
    assert "--anew" in cure
    assert take(lake, trips(data)).differing == ""


def test_rows_of_files_that_the_source_does_not_name_are_told_and_can_be_taken_out(lake: Lake, data: Path) -> None:
    right, wrong = data / "right.csv", data / "wrong.csv"
    right.write_text(HEADER + lines(1, 2))
    wrong.write_text(HEADER + lines(2, 3, 4))
    first = take(lake, trips(right))
    before = take(lake, trips(wrong))
    assert before.unnamed == (str(right),)
    snapshot = take(lake, trips(right))
    assert (snapshot.rows, snapshot.unnamed) == (4, (str(wrong),))
    told = ingest_line(Ingested(snapshots=(snapshot,))).splitlines()
    assert told[1] == f"  trips: 2 rows came with {wrong}, which its source does not name: they stay"
    assert "--anew" in told[2]
    # What is made anew waits for its gate, also when somebody ingests meanwhile without asking for it.
    anew = lake.ingest(trips(right), Silent(), anew=True)
    assert (anew.rows, anew.unnamed) == (2, ())
    assert lake.published(trips(right)).rows == 4  # type: ignore[union-attr]
    assert take(lake, trips(right)).snapshot_id == anew.snapshot_id == lake.ingest(trips(right), Silent()).snapshot_id
    assert lake.published(trips(right)).rows == 2  # type: ignore[union-attr]
    assert lake.ingest(trips(right), Silent(), anew=True).snapshot_id == anew.snapshot_id
    assert ids(lake, before) == [1, 2, 3, 4]
    assert ids(lake, first) == ids(lake, anew) == [1, 2]


def test_a_corrected_file_takes_the_place_of_the_one_before_when_that_is_asked_for(lake: Lake, data: Path) -> None:
    file = data / "a.csv"
    file.write_text(HEADER + lines(1) + line(2, fare=9.0))
    take(lake, trips(f"{data}/./*.csv"))  # type: ignore[arg-type]
    file.write_text(HEADER + lines(1) + line(2, fare=8.0) + lines(3))
    (data / "b.csv").write_text(HEADER + lines(4))
    again = take(lake, trips(f"{data}/./*.csv"))  # type: ignore[arg-type]
    assert again.unnamed == ()  # a file that was written to since is named
    assert lake.frame(again, ["fare"]).collect()["fare"].to_list() == [7.5, 9.0, 7.5, 7.5]
    anew = lake.ingest(trips(data), Silent(), anew=True)
    assert lake.frame(anew, ["id", "fare"]).collect().rows() == [(1, 7.5), (2, 8.0), (3, 7.5), (4, 7.5)]
    lake.publish([anew])
    (data / "b.csv").unlink()
    gone = take(lake, trips(f"{data}/./*.csv"))  # type: ignore[arg-type]
    assert (gone.rows, gone.unnamed) == (4, ())  # of files that come and go nothing is said


def test_a_file_that_grew_adds_its_new_rows(lake: Lake, data: Path) -> None:
    (data / "a.csv").write_text(HEADER + lines(1, 2))
    take(lake, trips(data))
    (data / "a.csv").write_text(HEADER + lines(1, 2, 3))
    grown = take(lake, trips(data))
    assert (grown.rows, grown.added, grown.repeated) == (3, 1, 2)


def test_a_snapshot_is_readable_for_ever(lake: Lake, data: Path) -> None:
    (data / "a.csv").write_text(HEADER + lines(1))
    first = take(lake, trips(data))
    before = lake.frame(first).collect()
    (data / "b.csv").write_text(HEADER + lines(2))
    take(lake, trips(data))
    changed = trips(data, derive={"ended_at": pl.col("started"), "more": pl.col("fare") * 2})
    take(lake, changed)
    assert lake.frame(first).collect().equals(before)
    assert ids(Lake(lake._folder), first) == [1]


def test_a_table_keeps_the_latest_row_of_a_key(lake: Lake, data: Path) -> None:
    (data / "1.csv").write_text(TOWNS + "Bern,CET,1\nRome,CET,2\nBern,CET,1\n")
    first = take(lake, towns(data))
    assert (first.rows, first.added, first.repeated) == (2, 2, 1)
    (data / "2.csv").write_text(TOWNS + "Rome,CET,3\nOslo,CET,4\nBern,CET,1\n")
    (data / "3.csv").write_text(TOWNS + "Oslo,CET,5\n")
    second = take(lake, towns(data))
    assert lake.frame(second).collect().rows() == [("Rome", "CET", 3), ("Bern", "CET", 1), ("Oslo", "CET", 5)]
    assert (second.rows, second.added, second.repeated) == (3, 2, 2)
    assert lake.frame(first).collect().rows() == [("Bern", "CET", 1), ("Rome", "CET", 2)]


def test_one_file_with_two_truths_about_a_key_is_refused(lake: Lake, data: Path) -> None:
    (data / "1.csv").write_text(TOWNS + "Bern,CET,1\nBern,CET,2\n")
    with pytest.raises(
        SourceError, match=r"1\.csv: holds 1 keys more than once with different content, such as `Bern`"
    ):
        take(lake, towns(data))


def test_bad_rows_are_dropped_and_not_carried(lake: Lake, data: Path) -> None:
    """A gate stopped what landed: the next load of other content starts from what was published."""
    (data / "a.csv").write_text(HEADER + lines(1))
    good = take(lake, trips(data))
    (data / "b.csv").write_text(HEADER + lines(2, 666))
    bad = take(lake, trips(data), publish=False)
    assert (bad.rows, bad.added) == (3, 2)
    assert branches(lake) == (good.snapshot_id, bad.snapshot_id)
    (data / "b.csv").write_text(HEADER + lines(2, 3))
    mended = take(lake, trips(data))
    assert ids(lake, mended) == [1, 2, 3]
    assert (mended.added, mended.repeated) == (2, 0)


def test_bad_rows_are_dropped_when_their_file_is_taken_away(lake: Lake, data: Path) -> None:
    (data / "a.csv").write_text(HEADER + lines(1))
    good = take(lake, trips(data))
    (data / "b.csv").write_text(HEADER + lines(666))
    take(lake, trips(data), publish=False)
    (data / "b.csv").unlink()
    assert take(lake, trips(data)).snapshot_id == good.snapshot_id
    assert branches(lake) == (good.snapshot_id, good.snapshot_id)


@pytest.mark.parametrize("published", [True, False])
def test_a_load_that_fails_writes_nothing(lake: Lake, data: Path, published: bool) -> None:
    (data / "a.csv").write_text(HEADER + lines(1))
    first = take(lake, trips(data), publish=published)
    before, files = branches(lake), sorted(lake._folder.rglob("*.parquet"))
    (data / "b.csv").write_text(HEADER + lines(2))
    (data / "c.csv").write_text(HEADER + lines(3) + "4,Bern,soon,1,1\n")
    with pytest.raises(SourceError, match=r"c\.csv:3: column `started` holds `soon`"):
        take(lake, trips(data))
    assert branches(lake) == before
    assert sorted(lake._folder.rglob("*.parquet")) == files
    assert ids(lake, first) == [1]


def test_another_gate_is_no_other_reading(lake: Lake, data: Path) -> None:
    (data / "a.csv").write_text(HEADER + lines(1))
    first = take(lake, trips(data))
    gated = take(lake, trips(data, gate=[checks.rows(1)]))
    assert gated.snapshot_id == first.snapshot_id
    assert gated.definition != first.definition


CHANGES: dict[str, Callable[[Path], Source]] = {
    "derived": lambda data: trips(data, derive={"ended_at": pl.col("started"), "double": pl.col("fare") * 2}),
    "another type": lambda data: trips(data, derive={"ended_at": pl.col("started") + pl.duration(hours=1)}),
    "known later": lambda data: trips(data, delay=hours(3)),
    "another id": lambda data: trips(data, id=["town"]),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_another_definition_reads_everything_again(lake: Lake, data: Path, change: Callable[[Path], Source]) -> None:
    (data / "a.csv").write_text(HEADER + lines(1, 2))
    take(lake, trips(data))
    (data / "b.csv").write_text(HEADER + line(3, "Rome"))
    take(lake, trips(data))
    changed = take(lake, change(data))
    fresh = Lake(lake._folder.with_name("fresh"))
    expected = fresh.ingest(change(data), Silent())
    rows = fresh.frame(expected).collect()
    assert lake.frame(changed, rows.columns).collect().equals(rows)
    assert (changed.rows, changed.added, changed.repeated) == (expected.rows, expected.added, expected.repeated)
    assert take(lake, change(data)).snapshot_id == changed.snapshot_id


def test_another_definition_needs_all_files(lake: Lake, data: Path) -> None:
    (data / "a.csv").write_text(HEADER + lines(1))
    (data / "b.csv").write_text(HEADER + lines(2))
    first = take(lake, trips(data))
    (data / "a.csv").rename(data / "c.csv")
    (data / "b.csv").unlink()
    sentence = r"table trips \(sources\.py:\d+\): was read by another definition; to read it again, .*b\.csv is needed"
    with pytest.raises(SourceError, match=sentence):
        take(lake, trips(data, delay=hours(3)))
    assert branches(lake) == (first.snapshot_id, first.snapshot_id)


def test_a_file_that_grew_is_read_again_with_what_it_now_holds(lake: Lake, data: Path) -> None:
    (data / "a.csv").write_text(HEADER + lines(1))
    take(lake, trips(data))
    (data / "a.csv").write_text(HEADER + lines(1, 2))
    assert ids(lake, take(lake, trips(data, delay=hours(3)))) == [1, 2]


def test_a_definition_that_did_not_pass_leaves_no_trace(lake: Lake, data: Path) -> None:
    """It changed the columns of the table; then the old definition takes over again."""
    (data / "a.csv").write_text(HEADER + lines(1))
    take(lake, trips(data))
    other = {"ended_at": pl.col("started"), "town": pl.col("town").str.len_chars(), "more": pl.col("fare")}
    take(lake, trips(data, derive=other), publish=False)
    (data / "b.csv").write_text(HEADER + lines(2))
    back = take(lake, trips(data))
    fresh = Lake(lake._folder.with_name("fresh"))
    assert lake.frame(back).collect().equals(fresh.frame(take(fresh, trips(data))).collect())
    table = load_table(open_catalog(lake._folder), "trips")
    assert table is not None
    # As any other engine reads it, by Iceberg's own rules.
    seen = pl.DataFrame(pl.from_arrow(table.scan().to_arrow())).select("id", "town").sort("id")
    assert seen.rows() == [(1, "Bern"), (2, "Bern")]


def test_look_ups_follow_their_table(lake: Lake, data: Path) -> None:
    (data / "towns.csv").write_text(TOWNS + "Bern,CET,1\n")
    (data / "trips.csv").write_text(HEADER + line(1) + line(2, "Oslo"))
    places = towns(data / "towns.csv")
    stream = trips(data / "trips.csv", at=places)

    def zones() -> list[str | None]:
        lake.publish([lake.ingest(places, Silent()), snapshot := lake.ingest(stream, Silent())])
        return lake.frame(snapshot, ["zone"]).collect()["zone"].to_list()

    assert zones() == ["CET", None]
    before = branches(lake)
    (data / "towns.csv").write_text(TOWNS + "Bern,CET,999\n")
    assert zones() == ["CET", None]
    assert branches(lake) == before, "what is looked up has not changed"
    (data / "towns.csv").write_text(TOWNS + "Bern,UTC,1\nOslo,CET,1\n")
    assert zones() == ["UTC", "CET"]


def test_look_ups_see_what_landed_with_them(lake: Lake, data: Path) -> None:
    """Tables come first: their landed rows are looked up, unpublished as they are; dropped rows are not."""
    (data / "towns.csv").write_text(TOWNS + "Bern,CET,1\n")
    (data / "trips.csv").write_text(HEADER + line(1))
    places = towns(data / "towns.csv")
    stream = trips(data / "trips.csv", at=places)
    lake.publish([lake.ingest(places, Silent()), lake.ingest(stream, Silent())])
    (data / "towns.csv").write_text(TOWNS + "Bern,bad,1\n")
    lake.ingest(places, Silent())
    bad = lake.ingest(stream, Silent())
    assert lake.frame(bad, ["zone"]).collect().item() == "bad"
    (data / "towns.csv").write_text(TOWNS + "Bern,CET,1\n")
    lake.ingest(places, Silent())
    assert lake.frame(lake.ingest(stream, Silent()), ["zone"]).collect().item() == "CET"


def test_publishing_goes_forward_only(lake: Lake, data: Path) -> None:
    (data / "a.csv").write_text(HEADER + lines(1))
    ours = lake.ingest(trips(data), Silent())
    (data / "b.csv").write_text(HEADER + lines(2))
    theirs = lake.ingest(trips(data), Silent())
    lake.publish([theirs])
    with pytest.raises(
        SourceError, match=r"table trips: was published by another run since these rows came in\. Run again"
    ):
        lake.publish([ours])
    assert branches(lake)[0] == theirs.snapshot_id
    (data / "c.csv").write_text(HEADER + lines(3))
    take(lake, trips(data))
    lake.publish([theirs])  # long published: nothing to do
    assert ids(lake, take(lake, trips(data))) == [1, 2, 3]


def test_all_or_none_is_published(lake: Lake, data: Path) -> None:
    (data / "towns.csv").write_text(TOWNS + "Bern,CET,1\n")
    good = lake.ingest(towns(data / "towns.csv"), Silent())
    before = branches(lake, "towns")
    unknown = Snapshot(table="towns", snapshot_id=1, definition="", rows=0, added=0, repeated=0, files=())
    with pytest.raises(SourceError, match=r"table towns: has no snapshot 1\. Ingest it again"):
        lake.publish([good, unknown])
    with pytest.raises(SourceError, match=r"table nowhere: is not in the lake\. Ingest it first"):
        lake.frame(Snapshot(table="nowhere", snapshot_id=1, definition="", rows=0, added=0, repeated=0, files=()))
    assert branches(lake, "towns") == before


def test_a_lake_in_a_folder_with_an_odd_name(tmp_path: Path, data: Path) -> None:
    lake = Lake(tmp_path / "a b#ü%20?&" / "lake")
    (data / "a.csv").write_text(HEADER + lines(1))
    assert ids(lake, take(lake, trips(data))) == [1]


def test_a_relative_lake_stays_where_it_is(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (data / "a.csv").write_text(HEADER + lines(1))
    monkeypatch.chdir(tmp_path)
    lake = Lake(Path("lake"))
    snapshot = take(lake, trips(data))
    os.chdir("/")
    assert ids(lake, snapshot) == [1]


def test_history_outlives_expired_snapshots(lake: Lake, data: Path) -> None:
    """Snapshots may be expired by any tool; the files that a table holds are still known, so no row comes twice."""
    for name, id in (("a", 1), ("b", 2), ("c", 3)):
        (data / f"{name}.csv").write_text(HEADER + lines(id))
        last = take(lake, trips(data))
    table = load_table(open_catalog(lake._folder), "trips")
    assert table is not None
    old = [one.snapshot_id for one in table.metadata.snapshots if one.snapshot_id != last.snapshot_id]
    table.maintenance.expire_snapshots().by_ids(old).commit()
    again = take(lake, trips(data))
    assert again.snapshot_id == last.snapshot_id
    assert len(again.files) == 3
    (data / "d.csv").write_text(HEADER + lines(4))
    assert ids(lake, take(lake, trips(data))) == [1, 2, 3, 4]


def test_a_removed_lake_is_simply_filled_again(lake: Lake, data: Path) -> None:
    (data / "a.csv").write_text(HEADER + lines(1))
    take(lake, trips(data))
    shutil.rmtree(lake._folder)
    assert take(Lake(lake._folder), trips(data)).added == 1


def test_what_was_read_anew_and_goes_unjudged_is_told(lake: Lake, data: Path) -> None:
    """Another file comes in between, or only files that are gone are asked for: the rows are not carried on."""
    one, other = data / "one.csv", data / "other.csv"
    one.write_text(HEADER + lines(1, 2))
    take(lake, trips(one))
    one.write_text(HEADER + line(1, fare=9.0) + line(2, fare=9.0))
    take(lake, trips(one))
    anew = lake.ingest(trips(one), Silent(), anew=True)
    assert (anew.added, anew.dropped) == (2, "")
    assert lake.ingest(trips(one), Silent()).dropped == "", "it waits still"
    other.write_text(HEADER + lines(3))
    snapshot = lake.ingest(trips(other), Silent())
    assert lake.frame(snapshot, ["fare"]).collect()["fare"].to_list() == [7.5, 7.5, 7.5]
    assert "the rows read with `--anew` at 20" in snapshot.dropped
    told = ingest_line(Ingested(snapshots=(snapshot,))).splitlines()
    assert f"  {snapshot.dropped}" in told
    assert "reads such tables again" in told[-1]
    assert take(lake, trips(other)).dropped == "", "it is told once"


def test_rows_of_a_file_that_came_twice_are_counted_once(lake: Lake, data: Path) -> None:
    one, other = data / "one.csv", data / "other.csv"
    one.write_text(HEADER + lines(1, 2, 3))
    take(lake, trips(one))
    one.write_text(HEADER + lines(1, 2) + line(3, fare=9.0) + lines(4))
    (data / "same.csv").write_text(HEADER + lines(4, 2))
    take(lake, trips(data))
    other.write_text(HEADER + lines(5, 3))
    snapshot = take(lake, trips(other))
    assert {(Path(file.path).name, file.rows, file.again) for file in snapshot.files} == {
        ("one.csv", 3, 0), ("one.csv", 4, 3), ("same.csv", 2, 2), ("other.csv", 2, 1),
    }  # fmt: skip
    assert snapshot.unnamed == (str(one),)
    assert f"4 rows came with {one}, which" in ingest_line(Ingested(snapshots=(snapshot,)))


def test_what_waits_for_its_gate_is_not_said_to_be_new_again(lake: Lake, data: Path) -> None:
    (data / "a.csv").write_text(HEADER + lines(1, 2))
    assert lake.landed(trips(data)) is None
    first = lake.ingest(trips(data), Silent())
    assert lake.landed(trips(data)) == first.snapshot_id == lake.ingest(trips(data), Silent()).snapshot_id
    again = Ingested(snapshots=(first,), waiting=("trips",))
    assert ingest_line(again) == "1 table, 2 rows (0 new, 2 read before and not published yet)"
    assert counts(again) == {"new": 0, "repeated": 0}
    lake.publish([first])
    assert lake.landed(trips(data)) is None
