"""Rows as a person gives them: words on the command line, or a file."""

import io
import json
from pathlib import Path

import pytest

from raypipe.cli.fields import pairs, rows_of, typed
from raypipe.errors import RequestError, SourceError


def test_all_ways_to_write_a_field() -> None:
    words = ["--carrier", "UA", "flight=1545", "--origin=EWR", "--scheduled-at", "2013-07-03T01:00Z", "--delay", "-5"]
    assert pairs([*words, "note=a=b", "empty="]) == {
        "carrier": "UA",
        "flight": "1545",
        "origin": "EWR",
        "scheduled_at": "2013-07-03T01:00Z",
        "delay": "-5",
        "note": "a=b",
        "empty": "",
    }


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--carrier"], "--carrier: has no value"),
        (["UA"], "UA: is not a field with its value"),
        (["carrier=UA", "--carrier", "AA"], "carrier: is given twice"),
    ],
)
def test_words_that_are_no_fields(words: list[str], said: str) -> None:
    with pytest.raises(RequestError, match=said):
        pairs(words)


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("1545", "integer", 1545),
        ("1545", "string", "1545"),
        ("007", "string", "007"),
        ("null", "string", None),
        ("1.5", "number", 1.5),
        ("2", "number", 2.0),
        ("1.5", "integer", 1.5),
        ("9" * 30, "integer", 1e30),
        ("UA", "integer", "UA"),
        ("True", "boolean", True),
        ("yes", "boolean", "yes"),
    ],
)
def test_types_are_the_services(text: str, kind: str, value: object) -> None:
    found = typed({"f": text}, {"f": kind})["f"]
    assert (found, type(found)) == (value, type(value))


def test_a_field_that_the_service_does_not_know_is_text() -> None:
    assert typed({"what": "1"}, {}) == {"what": "1"}


def rows(folder: Path, text: str) -> tuple[list[dict[str, object]], bool]:
    (folder / "rows.json").write_text(text)
    return rows_of(str(folder / "rows.json"))


def test_files_of_rows(tmp_path: Path) -> None:
    one, two = {"flight": 1}, {"flight": 2}
    assert rows(tmp_path, json.dumps(one, indent=2)) == ([one], False)
    assert rows(tmp_path, json.dumps([one, two])) == ([one, two], True)
    assert rows(tmp_path, f"{json.dumps(one)}\n\n{json.dumps(two)}\n") == ([one, two], True)


def test_rows_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO('{"flight": 1}'))
    assert rows_of("-") == ([{"flight": 1}], False)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no rows"),
        ("[]", "holds no rows"),
        ("[1]", "holds no rows"),
        ("{\n  'flight': 1\n}", r"rows.json:2: is not JSON: expecting property name"),
        ('{"flight": 1}\n{"flight"', r"rows.json:2: is not JSON"),
        ('{"flight": 1}\n[2]', r"rows.json:2: is not an object of fields"),
    ],
)
def test_files_that_hold_no_rows(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SourceError, match=said):
        rows(tmp_path, text)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"nowhere.json: no such file or directory. Give a JSON file"):
        rows_of(str(tmp_path / "nowhere.json"))
    (tmp_path / "bytes").write_bytes(b"\xff")
    with pytest.raises(SourceError, match="is not UTF-8"):
        rows_of(str(tmp_path / "bytes"))
