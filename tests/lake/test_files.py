"""What a declared path means, and what is said when nothing is there."""

import hashlib
import os
import sys
import types
import zipfile
from pathlib import Path

import pytest

from raypipe.errors import SourceError
from raypipe.lake.files import find, opened
from raypipe.spec import Files, csv, json_lines, parquet


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


def names(files: Files, folder: Path) -> list[str]:
    return [file.path.relative_to(folder).as_posix() for file in find(files)]


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("b.csv", ["b.csv"]),
        ("", ["a.csv", "b.csv", "c.csv.zip", "deep/d.CSV"]),
        ("*.csv", ["_SUCCESS.csv", "a.csv", "b.csv"]),
        ("**/*.CSV", ["deep/d.CSV"]),
        ("?.txt", ["n.txt"]),
    ],
)
def test_a_path_is_a_file_a_folder_or_a_pattern(tmp_path: Path, path: str, found: list[str]) -> None:
    touch(tmp_path, "b.csv", "a.csv", "c.csv.zip", "deep/d.CSV", "n.txt", ".hidden.csv", "_SUCCESS.csv", "_tmp/x.csv")
    assert names(csv(str(tmp_path / path)), tmp_path) == found


def test_a_folder_gives_the_files_of_its_format(tmp_path: Path) -> None:
    touch(tmp_path, "a.csv", "b.jsonl", "c.ndjson", "d.parquet", "e.json")
    assert names(json_lines(str(tmp_path)), tmp_path) == ["b.jsonl", "c.ndjson", "e.json"]
    assert names(parquet(str(tmp_path)), tmp_path) == ["d.parquet"]


def test_a_file_of_a_package_is_found_without_importing_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "tidepool/__init__.py", "tidepool/data/a.csv", "tidepool/data/b.csv")
    (tmp_path / "tidepool" / "__init__.py").write_text("raise ImportError('must not be run')")
    monkeypatch.syspath_prepend(tmp_path)
    found = find(csv("package://tidepool/data/*.csv"))
    assert [file.name for file in found] == ["package://tidepool/data/a.csv", "package://tidepool/data/b.csv"]
    assert found[0].digest == hashlib.sha256(b"tidepool/data/a.csv").hexdigest()
    assert "tidepool" not in sys.modules


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("gone.csv", r"gone\.csv \(test_files\.py:\d+\): no such file or folder\. Check the path"),
        ("*.csv", r"no file matches\. Check the pattern"),
        ("folder", r"the folder holds no csv files\. Looked for \*\.csv, \*\.csv\.zip"),
        ("package://no_such_package_here/x.csv", r"package `no_such_package_here` is not installed\. Run `pip install"),
        ("x" * 300 + ".csv", r"cannot be read: File name too long\. Check the file and its rights"),
        ("package://../etc", r"package `\.\.` is not installed"),
        ("package://odd_module/x.csv", r"package `odd_module` is not installed"),
    ],
)
def test_nothing_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, sentence: str) -> None:
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "odd_module", types.ModuleType("odd_module"))
    sys.modules["odd_module"].__spec__ = None
    with pytest.raises(SourceError, match=sentence):
        find(csv(path))


def test_a_zip_with_one_file_is_read_through(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.csv.zip", "w") as archive:
        archive.writestr("folder/", "")
        archive.writestr("folder/a.csv", "x\n1\n")
        archive.writestr("__MACOSX/._a.csv", "noise")
    (file,) = find(csv(str(tmp_path / "a.csv.zip")))
    with opened(file) as (content, _):
        assert content.read() == b"x\n1\n"


def test_a_zip_with_a_password_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.csv", "x\n1\n")
    content = bytearray((tmp_path / "a.zip").read_bytes())
    for header, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(header) + flags] |= 1
    (tmp_path / "a.zip").write_bytes(content)
    (file,) = find(csv(str(tmp_path / "a.zip")))
    with pytest.raises(SourceError, match=r"a\.zip: the zip cannot be read: .*password required"), opened(file):
        pass


def test_what_goes_wrong_with_the_rows_is_not_blamed_on_the_zip(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.csv", "x\n1\n")
    (file,) = find(csv(str(tmp_path / "a.zip")))
    with pytest.raises(NotImplementedError, match="ours"), opened(file):
        raise NotImplementedError("ours")


def test_a_zip_with_two_files_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.csv", "")
        archive.writestr("b.csv", "")
    (file,) = find(csv(str(tmp_path / "a.zip")))
    with pytest.raises(SourceError, match=r"a\.zip: the zip holds 2 files instead of one\. Pack one"), opened(file):
        pass


def test_a_file_that_changes_while_it_is_read_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("x\n1\n")
    (file,) = find(csv(str(path)))
    file.require_unchanged()
    os.utime(path, ns=(1, 1))
    with pytest.raises(SourceError, match="changed while it was read"):
        file.require_unchanged()
    path.unlink()
    with pytest.raises(SourceError, match="cannot be read: No such file"):
        file.require_unchanged()
