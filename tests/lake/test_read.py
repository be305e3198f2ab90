"""Files are read strictly: each way of being wrong has its sentence, with file, line, column, value and type."""

import csv as stdlib_csv
import io
import json
import zipfile
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raypipe.errors import SourceError
from raypipe.lake.declared import BLOCK_BYTES
from raypipe.lake.files import find
from raypipe.lake.read import blocks
from raypipe.spec import Files, Table, csv, json_lines, parquet

COLUMNS = {int: "id", str: "name", float: "size", bool: "open", datetime: "at"}
HEAD = "id,name,size,open,at\n"
GOOD = "1,Bern,2.5,true,2024-01-01T00:00:00Z\n"
AT = datetime(2024, 1, 1, tzinfo=UTC)


def source(files: Files) -> Table:
    return Table("places", files, key="id", columns=COLUMNS)


def read(files: Files) -> pl.DataFrame:
    (file,) = find(files)
    table = source(files)
    return pl.DataFrame(pl.from_arrow([batch for batch, _ in blocks(file, table)]))


def rows(path: Path, content: str | bytes, files: Files | None = None) -> list[dict[str, object]]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read(files or csv(str(path))).to_dicts()


def test_values_become_what_the_source_declares(tmp_path: Path) -> None:
    content = (
        "at,open,size,name,id\r\n"
        '2024-01-01T01:00:00+01:00,true,2.5,"Bern, ""old"" town\nupper",1\r\n'
        "2024-01-01 00:00:00.000001Z,FALSE,1e3,Zürich,2\r\n"
        "\r\n"
        ',,NA,"",3\r\n'
    )
    assert rows(tmp_path / "a.csv", "\ufeff" + content) == [
        {"id": 1, "name": 'Bern, "old" town\nupper', "size": 2.5, "open": True, "at": AT},
        {"id": 2, "name": "Zürich", "size": 1000.0, "open": False, "at": AT + timedelta(microseconds=1)},
        {"id": 3, "name": None, "size": None, "open": None, "at": None},
    ]


def test_only_the_declared_texts_mean_that_nothing_is_there(tmp_path: Path) -> None:
    files = csv(str(tmp_path / "a.csv"), nulls=["-"])
    got = rows(tmp_path / "a.csv", HEAD + "1,,-,-,-\n2,NA,-,-,-\n3,-,-,-,-\n", files)
    assert [row["name"] for row in got] == ["", "NA", None]


def test_a_header_alone_is_no_rows(tmp_path: Path) -> None:
    assert rows(tmp_path / "a.csv", HEAD) == []
    assert rows(tmp_path / "b.csv", HEAD.strip()) == []


#: What is wrong, the file, and the sentence that names it.
BAD_CSV = {
    "renamed": (
        "id,names,size,open,at\n" + GOOD,
        r"a\.csv: lacks column `name` and has the undeclared column `names`\. Was `name` renamed to `names`\?",
    ),
    "missing": (
        "id,name,size,open\n1,Bern,2.5,true\n",
        r"a\.csv: lacks column `at`\. Change the file, or `columns` at",
    ),
    "twice": ("id,name,size,open,at,at\n", r"has twice `at`"),
    "no header": (GOOD, r"lacks column `at`, `id`, `name`, `open`, `size`"),
    "empty": ("", r"a\.csv: is empty: not even a header line"),
    "blank": ("\n\n", r"a\.csv: is empty: not even a header line"),
    "whole number": (
        HEAD + GOOD + "\n2x,Basel,1,true,\n",
        r"a\.csv:4: column `id` holds `2x`, expected a whole number\. Change the file, the type at test_read\.py:\d+",
    ),
    "fraction": (HEAD + "1.0,Bern,1,true,\n", r"a\.csv:2: column `id` holds `1\.0`, expected a whole number"),
    "too big": (HEAD + "9223372036854775808,,,,\n", r"a\.csv:2: column `id` holds `9223372036854775808`"),
    "number": (HEAD + '1,"a\nb",big,true,\n', r"a\.csv:3: column `size` holds `big`, expected a number"),
    "truth": (HEAD + "1,Bern,1,yes,\n", r"a\.csv:2: column `open` holds `yes`, expected true or false"),
    "time": (HEAD + "1,Bern,1,true,soon\n", r"a\.csv:2: column `at` holds `soon`, expected a time with its zone"),
    "naive time": (
        HEAD + "1,Bern,1,true,2024-01-01 00:00:00\n",
        r"a\.csv:2: column `at` holds `2024-01-01 00:00:00`, expected a time with its zone, such as",
    ),
    "undeclared null": (HEAD + "NULL,Bern,1,true,\n", r"a\.csv:2: column `id` holds `NULL`"),
    "long value": (HEAD + "x" * 500 + ",Bern,1,true,\n", r"column `id` holds `x{60}…`"),
    "not text": (
        HEAD.encode() + b"1,Z\xfcrich,1,true,\n",
        r"a\.csv:2: column `name` holds a value, expected text in UTF",
    ),
    "not text in header": (b"id,n\xe4me,size,open,at\n", r"lacks column `name` and has the undeclared column"),
    "short line": (HEAD + GOOD + "2,Ba", r"a\.csv:3: has 2 fields, expected 5\. Is the file cut off\?"),
    "long line": (HEAD + GOOD.strip() + ",1\n", r"a\.csv:2: has 6 fields, expected 5"),
    "open quote": (
        HEAD + GOOD + '2,"Basel,1,true,\n' + GOOD,
        r"a\.csv:\d: (a quote is opened|has 2 fields, expected 5)",
    ),
    "open quote at the end": (
        HEAD + GOOD + '2,Basel,1,true,"\n',
        r"a\.csv:3: .*(a quote is opened and never closed|`at`)",
    ),
    "parquet": (b"PAR1\x15\x04\x15\x0c\x15", r"lacks column"),
}


@pytest.mark.parametrize(("content", "sentence"), BAD_CSV.values(), ids=BAD_CSV)
def test_a_csv_that_is_not_as_declared_is_refused(tmp_path: Path, content: str | bytes, sentence: str) -> None:
    with pytest.raises(SourceError, match=sentence):
        rows(tmp_path / "a.csv", content)


def test_a_quote_that_is_never_closed_does_not_swallow_rows(tmp_path: Path) -> None:
    table = Table("notes", csv(str(tmp_path / "a.csv")), key="id", columns={int: "id", str: "note"})
    (tmp_path / "a.csv").write_text('id,note\n1,fine\n2,"never closed\n3,lost\n')
    (file,) = find(table.source)
    with pytest.raises(SourceError, match=r"a\.csv:3: a quote is opened and never closed\. Is the file cut off\?"):
        list(blocks(file, table))
    (tmp_path / "a.csv").write_text('id,note\n1,a 5" pipe\n2,fine\n')
    (file,) = find(table.source)
    assert sum(batch.num_rows for batch, _ in blocks(file, table)) == 2


def test_the_line_of_a_fault_is_right_far_into_the_file(tmp_path: Path) -> None:
    many = BLOCK_BYTES // len(GOOD) + 1000
    content = HEAD + GOOD * many + "oops,Bern,1,true,\n" + GOOD * 10
    with pytest.raises(SourceError, match=rf"a\.csv:{many + 2}: column `id` holds `oops`"):
        rows(tmp_path / "a.csv", content)


def test_memory_stays_flat_because_blocks_do(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(HEAD + GOOD * (3 * BLOCK_BYTES // len(GOOD)))
    (file,) = find(csv(str(tmp_path / "a.csv")))
    got = [(batch.num_rows, share) for batch, share in blocks(file, source(csv(str(tmp_path / "a.csv"))))]
    assert len(got) >= 3
    assert max(count for count, _ in got) <= BLOCK_BYTES / len(GOOD) + 1
    assert [share for _, share in got] == sorted(share for _, share in got)
    assert got[-1][1] == 1.0


@pytest.mark.parametrize("damage", ["flipped", "cut", "crc"])
def test_a_damaged_zip_is_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "a.csv.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if damage != "crc" else zipfile.ZIP_STORED) as archive:
        archive.writestr("a.csv", HEAD + "".join(f"{i},Bern {i * 7919},1,true,\n" for i in range(50_000)))
    content = bytearray(path.read_bytes())
    if damage == "cut":
        content = content[: len(content) // 2]
    elif damage == "crc":
        spot = content.index(b"Bern 7919,")
        content[spot : spot + 4] = b"Burn"
    else:
        content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(SourceError, match=r"a\.csv\.zip(:\d+)?: "):
        read(csv(str(path)))


BAD_JSON = {
    "cut": ('{"id": 1}\n{"id": 2', r"a\.json:2: is not a JSON object a line: .*\. Is the file cut off\?"),
    "not json": ("id,name\n1,2\n", r"a\.json:1: is not a JSON object a line"),
    "array": ("[1]\n", r"a\.json:1: is not a JSON object\. Write one object a line"),
    "extra": ('{"id": 1, "note": 2}\n', r"a\.json:1: has `note`, and lacks column `at`\. Was it renamed\?"),
    "text for a number": ('{"id": 1}\n\n{"id": "2"}\n', r'a\.json:3: column `id` holds `"2"`, expected a whole number'),
    "fraction": ('{"id": 1.5}\n', r"a\.json:1: column `id` holds `1\.5`, expected a whole number"),
    "number for a text": ('{"id": 1, "name": 5}\n', r"a\.json:1: column `name` holds `5`, expected text"),
    "truth for a number": ('{"id": 1, "size": true}\n', r"a\.json:1: column `size` holds `true`, expected a number"),
    "naive time": ('{"id": 1, "at": "2024-01-01 00:00:00"}\n', r"a\.json:1: column `at` holds .* expected a time with"),
    "object": ('{"id": {"a": 1}}\n', r"a\.json:1: column `id` holds"),
    "never there": ('{"id": 1, "name": "x", "size": 1, "open": null}\n', r"a\.json: lacks column `at`"),
}


@pytest.mark.parametrize(("content", "sentence"), BAD_JSON.values(), ids=BAD_JSON)
def test_json_that_is_not_as_declared_is_refused(tmp_path: Path, content: str, sentence: str) -> None:
    with pytest.raises(SourceError, match=sentence):
        rows(tmp_path / "a.json", content, json_lines(str(tmp_path / "a.json")))


def test_json_lines_are_read(tmp_path: Path) -> None:
    content = (
        '{"id": 1, "name": "Bern", "size": 2, "open": true, "at": "2024-01-01T01:00:00+01:00"}\n'
        '{"id": 2, "name": null, "at": null}\n'
    )
    nothing = {"name": None, "size": None, "open": None, "at": None}
    assert rows(tmp_path / "a.json", content, json_lines(str(tmp_path / "a.json"))) == [
        {"id": 1, "name": "Bern", "size": 2.0, "open": True, "at": AT},
        {"id": 2, **nothing},
    ]
    assert rows(tmp_path / "b.json", "", json_lines(str(tmp_path / "b.json"))) == []
    listed = "\n".join(json.dumps({"id": 1, **nothing}) for _ in range(3))
    assert len(rows(tmp_path / "c.json", listed, json_lines(str(tmp_path / "c.json")))) == 3


def table_of(**changes: pa.Array) -> pa.Table:
    columns = {
        "id": pa.array([1, 2], pa.int64()),
        "name": pa.array(["Bern", None]),
        "size": pa.array([1.5, None]),
        "open": pa.array([True, False]),
        "at": pa.array([AT, None], pa.timestamp("us", "UTC")),
    }
    return pa.table({name: array for name, array in (columns | changes).items() if array is not None})


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"id": pa.array([1, 2], pa.int16()), "size": pa.array([1.5, None], pa.float32())},
        {"name": pa.array(["Bern", None]).dictionary_encode()},
        {"name": pa.array(["Bern", None], pa.large_string())},
        {"at": pa.array([AT, None], pa.timestamp("ms", "Europe/Zurich"))},
        {"at": pa.array([AT, None], pa.timestamp("ns", "UTC"))},
    ],
    ids=["as is", "narrow", "dictionary", "large", "zone", "nanoseconds"],
)
def test_parquet_types_that_fit_are_read(tmp_path: Path, changes: dict[str, pa.Array]) -> None:
    pq.write_table(table_of(**changes).select(["at", "open", "size", "name", "id"]), tmp_path / "a.parquet")
    assert read(parquet(str(tmp_path / "a.parquet"))).to_dicts() == [
        {"id": 1, "name": "Bern", "size": 1.5, "open": True, "at": AT},
        {"id": 2, "name": None, "size": None, "open": False, "at": None},
    ]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"id": pa.array(["1", "2"])}, r"a\.parquet: column `id` is string, expected int64\. Change the file"),
        ({"id": pa.array([1.0, 2.0])}, r"column `id` is double, expected int64"),
        ({"id": pa.array([1, 2], pa.uint64())}, r"column `id` is uint64, expected int64"),
        ({"size": pa.array([1, 2], pa.int64())}, r"column `size` is int64, expected double"),
        ({"at": pa.array([AT.replace(tzinfo=None), None])}, r"column `at` is timestamp\[us\], .*Times need a zone"),
        ({"at": None}, r"a\.parquet: lacks column `at`"),
        (
            {"at": None, "when": pa.array([AT, None])},
            r"lacks column `at` and has the undeclared column `when`",
        ),
        (
            {"at": pa.array([1, 2], pa.timestamp("ns", "UTC"))},
            r"a\.parquet: holds a value that does not fit: Casting from timestamp\[ns",
        ),
    ],
)
def test_parquet_that_is_not_as_declared_is_refused(
    tmp_path: Path, changes: dict[str, pa.Array], sentence: str
) -> None:
    pq.write_table(table_of(**changes), tmp_path / "a.parquet")
    with pytest.raises(SourceError, match=sentence):
        read(parquet(str(tmp_path / "a.parquet")))


def test_no_damage_to_a_parquet_file_goes_unnoticed(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    big = pa.concat_tables([table_of()] * 500)
    buffer = io.BytesIO()
    pq.write_table(big, buffer, write_page_checksum=True)
    whole = buffer.getvalue()
    path.write_bytes(whole)
    expected = read(parquet(str(path)))
    for cut in range(0, len(whole), max(1, len(whole) // 64)):
        path.write_bytes(whole[:cut])
        with pytest.raises(SourceError, match=r"a\.parquet: "):
            read(parquet(str(path)))
    for spot in range(0, len(whole), 97):
        path.write_bytes(whole[:spot] + bytes([whole[spot] ^ 0xFF]) + whole[spot + 1 :])
        try:
            assert read(parquet(str(path))).equals(expected)
        except SourceError:
            continue


texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12).filter(
    lambda t: t not in ("", "NA")
)
zones = st.integers(-12 * 60, 12 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
moments = st.datetimes(datetime(1970, 1, 2), datetime(2100, 1, 1), timezones=zones)  # noqa: DTZ001
records = st.tuples(
    st.none() | st.integers(-(2**63), 2**63 - 1),
    st.none() | texts,
    st.none() | st.floats(allow_nan=False),
    st.none() | st.booleans(),
    st.none() | moments,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(records, max_size=20))
def test_whatever_the_standard_library_writes_is_read_back(tmp_path: Path, listed: list[tuple[object, ...]]) -> None:
    with (tmp_path / "a.csv").open("w", newline="", encoding="utf-8") as file:
        writer = stdlib_csv.writer(file)
        writer.writerow(["id", "name", "size", "open", "at"])
        for record in listed:
            writer.writerow(v.isoformat() if isinstance(v, datetime) else "NA" if v is None else v for v in record)
    assert [tuple(row.values()) for row in read(csv(str(tmp_path / "a.csv"))).to_dicts()] == listed
