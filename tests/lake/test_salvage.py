"""Files with faults, where their source lets some go: what is no row is kept with its bytes, and nothing is lost."""

from pathlib import Path

import polars as pl
import pytest

from raypipe.contracts.progress import Silent
from raypipe.contracts.records import Snapshot
from raypipe.errors import SourceError
from raypipe.lake import Lake
from raypipe.spec import Stream, csv, json_lines, parquet
from tests.lake.logs import ride
from tests.lake.sources import HEADER, line, lines, trips

#: Lines that are no trip, with what is said of each.
CSV_FAULTS = {
    "a value of another type": ("3,Bern,2024-01-01T03:00:00Z,much,7.5\n", "column `minutes` holds `much`, expected a"),
    "a field less": ("3,Bern,2024-01-01T03:00:00Z,10.0\n", "has 4 fields, expected 5"),
    "a time without a zone": ("3,Bern,2024-01-01T03:00:00,10.0,7.5\n", "column `started` holds `2024-01-01T03:00:00`"),
    "a quote that is never closed": ('3,"Bern,2024-01-01T03:00:00Z,10.0,7.5\n', "a quote is opened and never closed"),
    "bytes that are no text": (b"3,B\xffrn,2024-01-01T03:00:00Z,10.0,7.5\n", "column `town` holds a value, expected"),
    "cut off": ("3,Be", "has 2 fields, expected 5"),
    "more lines in one value": ('3,"Be\nrn",2024-01-01T03:00:00Z,,x\n', "column `fare` holds `x`, expected a number"),
}  # fmt: skip
JSON_FAULTS = {
    "cut off": (ride(3)[:-9], "is not a JSON object a line"),
    "a value of another type": (ride(3, fare="much"), 'column `fare` holds `"much"`, expected a number'),
    "no object": (b"[3]", "is not a JSON object"),
    "bytes that are no text": (ride(3).replace(b"Bern", b"B\xffrn"), "is not a JSON object a line"),
    "renamed": (ride(3).replace(b'"fare"', b'"fares"'), "has `fares`, and lacks column `fare`"),
}


def take(lake: Lake, stream: Stream) -> Snapshot:
    snapshot = lake.ingest(stream, Silent())
    lake.publish([snapshot])
    return snapshot


def as_bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode()


def look(lake: Lake, stream: Stream, path: Path, bad: bytes, number: int, words: str, rows: list[int]) -> None:
    """Good rows are there, the bad record is in the quarantine; together they are all that was read, also later."""
    for _ in range(2):
        snapshot = take(lake, stream)
        assert sorted(lake.frame(snapshot, ["id"]).collect()["id"]) == rows
        (aside,) = lake.quarantined(stream).collect().rows(named=True)
        assert (aside["origin"], aside["offset"]) == (str(path), str(number))
        assert aside["bytes"] == bad.rstrip(b"\n")
        assert words in aside["reason"]
        assert [(file.rows, file.bad) for file in snapshot.files] == [(len(rows), 1)]


@pytest.mark.parametrize(("bad", "words"), CSV_FAULTS.values(), ids=CSV_FAULTS)
def test_a_line_of_csv_that_is_no_row(lake: Lake, data: Path, bad: str | bytes, words: str) -> None:
    path, record = data / "trips.csv", as_bytes(bad)
    after = b"" if "cut" in words or "never closed" in words or record[-1:] != b"\n" else line(4).encode()
    path.write_bytes((HEADER + line(1) + "\n" + line(2)).encode() + record + after)
    number = 5 + record.count(b"\n", 0, -1)
    stream = trips(None, history=csv(str(path), at_most_bad=0.5))
    look(lake, stream, path, record, number, words, [1, 2, 4] if after else [1, 2])
    with pytest.raises(SourceError):
        Lake(data / "strict").ingest(trips(path), Silent())


@pytest.mark.parametrize(("bad", "words"), JSON_FAULTS.values(), ids=JSON_FAULTS)
def test_a_line_of_json_that_is_no_row(lake: Lake, data: Path, bad: bytes, words: str) -> None:
    path = data / "trips.json"
    path.write_bytes(b"\n".join([ride(1), ride(2), bad, ride(4), b""]))
    stream = trips(None, history=json_lines(str(path), at_most_bad=0.5))
    look(lake, stream, path, bad, 3, words, [1, 2, 4])
    with pytest.raises(SourceError):
        Lake(data / "strict").ingest(trips(None, history=json_lines(str(path))), Silent())


def test_a_row_that_cannot_be_derived(lake: Lake, data: Path) -> None:
    path = data / "trips.csv"
    path.write_text(HEADER + line(1, "1") + line(2, "x") + line(4, "2"))
    derive = {"ended_at": pl.col("started") + pl.duration(seconds=pl.col("town").str.to_integer())}
    stream = trips(None, history=csv(str(path), at_most_bad=0.5), derive=derive)
    look(lake, stream, path, line(2, "x").encode(), 3, "`ended_at` cannot be derived", [1, 4])


def test_a_file_that_is_cut_off(lake: Lake, data: Path) -> None:
    folder = data / "parquet"
    folder.mkdir()
    rows = pl.read_csv((HEADER + lines(*range(200))).encode(), try_parse_dates=True)
    for name, part in (("a", rows[:100]), ("b", rows[100:])):
        part.write_parquet(folder / f"{name}.parquet")
    whole = (folder / "b.parquet").read_bytes()
    (folder / "b.parquet").write_bytes(whole[:-40])
    stream = trips(None, history=parquet(str(folder), at_most_bad=0.6))
    assert take(lake, stream).rows == 100
    (aside,) = lake.quarantined(stream).collect().rows(named=True)
    assert (aside["origin"], aside["bytes"]) == (str(folder / "b.parquet"), whole[:-40])
    assert "the Parquet file is corrupt" in aside["reason"]
    strict = trips(None, history=parquet(str(folder), at_most_bad=0.1))
    with pytest.raises(SourceError, match=r"b\.parquet: 49\.\d% of the source's bytes cannot be read"):
        Lake(data / "strict").ingest(strict, Silent())
    (folder / "b.parquet").write_bytes(whole)
    assert take(lake, stream).rows == 200, "it comes in when it is whole"


def test_more_than_may_be_stops(lake: Lake, data: Path) -> None:
    path = data / "trips.csv"
    path.write_text(HEADER + lines(*range(1_500)) + "x\n" * 16)
    stream = trips(None, history=csv(str(path), at_most_bad=0.01))
    with pytest.raises(SourceError, match=r"trips\.csv: 16 of 1,516 lines cannot be read; line 1502: has 1 fields"):
        take(lake, stream)
    assert lake.published(stream) is None
    assert lake.quarantined(stream).collect().is_empty()
    path.write_text(HEADER + lines(*range(1_500)) + "x\n" * 15)
    assert take(lake, stream).rows == 1_500
    assert lake.quarantined(stream).collect()["offset"].to_list() == [str(1_502 + i) for i in range(15)]


@pytest.mark.parametrize("header", ["id,town,started,minutes\n", HEADER.replace("fare", "fares")])
def test_another_column_is_no_bad_line(lake: Lake, data: Path, header: str) -> None:
    path = data / "trips.csv"
    path.write_text(header + lines(1, 2))
    with pytest.raises(SourceError, match="lacks column `fare`"):
        take(lake, trips(None, history=csv(str(path), at_most_bad=1.0)))
