"""From a path to the one Pipeline in the file, or to a sentence that says where it went wrong."""

import sys
from pathlib import Path

import pytest

from raypipe.errors import DefinitionError, SourceError
from raypipe.spec import load
from tests.spec.rides import RIDES, pipeline_of


def test_it_finds_the_pipeline(tmp_path: Path) -> None:
    assert pipeline_of(tmp_path).name == "rides"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "pipeline.py: holds no Pipeline. Define exactly one, such as `pipeline = Pipeline(...)`."),
        (RIDES + "\nother = Pipeline(**{**vars(pipeline)} | {'name': 'b'})", "TypeError"),
        (f"{RIDES}\nimport copy\nother = copy.copy(pipeline)", "pipeline.py: holds 2 Pipelines"),
        ("x = 1\n\ny = x +\n", "pipeline.py:3: is not valid Python: invalid syntax. Correct `y = x +`."),
        ("x = 1\n\ny = 1 / 0\n", "pipeline.py:3: ZeroDivisionError: division by zero"),
        ("def f():\n    return g()\ndef g():\n    raise KeyError('k')\n\nf()\n", "pipeline.py:4: KeyError: 'k'"),
        ("from raypipe import Serch\n", "pipeline.py:1: `raypipe` has no `Serch`. Did you mean `Search`?"),
        ("from raypipe import agg\nx = agg.meen('a')\n", "'meen'. Did you mean `mean`?"),
        ("from raypipe import Search\nx = Serch()\n", "name 'Serch' is not defined. Did you mean `Search`?"),
        ("import nothing_of_this_name\n", "pipeline.py:1: ModuleNotFoundError: No module named"),
        ("import nothing_of_this_name\n", "install the package that has it, such as with `pip install nothing_of_th"),
        ("import raypipe.spec.serch\n", "No module named 'raypipe.spec.serch'. Did you mean `search`?"),
        ("from raypip import agg\n", "No module named 'raypip'. Did you mean `raypipe`?"),
        ("import polras as pl\n", "No module named 'polras'. Did you mean `polars`?"),
        ("from raypipe import csv\nx = csv('a.csv', 'b.csv')\n",
         "pipeline.py:2: TypeError: csv() takes 1 positional argument but 2 were given. Give one path: of a folder"),
        ("from raypipe import agg, hours\nx = agg.mean('a', hours(1), hours(2))\n",
         "but 3 were given. Give the others by their names"),
        ("import sys\nsys.exit(3)\n", "pipeline.py:2: SystemExit: 3. Take it out"),
        ("from raypipe import agg, hours\nx = agg.count(windw=hours(1))\n", "'windw'. Did you mean `window`?"),
        ("from raypipe import Search, models\nx = Search(\n    [models.LightGBM()],\n    trails=4,\n)\n",
         "pipeline.py:2: TypeError: Search.__init__() got an unexpected keyword argument 'trails'. Did you mean `tri"),
        ("from raypipe import Stream\nx = Stream('a', id=['b'])\n", "Give `time` and `columns`."),
        ("open('/nowhere')\n", "Correct this line; `python pipeline.py` shows the whole trace."),
        ("x = '\\ud800'.encode()\n", "pipeline.py:1: UnicodeEncodeError"),
        ("from raypipe import periods\nperiods(train='13', tune='2013-05', holdout='2013-06')",
         "pipeline.py:2: `13` is not a period. Write it as `2013-05`"),
        ("from raypipe import periods\nperiods(train='2013-04', tune='2013-05', holdout='2013-06', zone='Utc/Foo')",
         "pipeline.py:2: `Utc/Foo` is not a time zone. Write it as `Europe/Paris` or `UTC`."),
        ("from raypipe import periods\nperiods(train='2013-04', tune='2013-05', holdout='2013-06', zone='Europe')",
         "pipeline.py:2: `Europe` is not a time zone."),
        ("from raypipe import Table, csv\nTable('t', csv('x'), key='a', columns={str: 'a', int: 'a'})",
         "pipeline.py:2: ValueError: column `a` is declared twice"),
    ],
)  # fmt: skip
def test_a_fault_of_the_file_is_one_sentence(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        pipeline_of(tmp_path, text)
    assert told in str(caught.value)
    assert len(caught.value.faults) == 1
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("content", [b"x = '\xff'", b"x = 1\x00", b"\xff\xfe"])
def test_a_file_that_is_no_text(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "pipeline.py").write_bytes(content)
    with pytest.raises(DefinitionError, match=r"pipeline\.py"):
        load(tmp_path / "pipeline.py")


def test_a_folder_is_told_from_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"is a folder, not a pipeline file\. Give .*pipeline\.py"):
        load(tmp_path)


@pytest.mark.parametrize("name", ["missing.py", "nothing/at/all.py"])
def test_a_missing_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(SourceError, match="no such pipeline file") as caught:
        load(tmp_path / name)
    assert caught.value.where == str(tmp_path / name)


def test_an_edit_in_the_same_second_is_seen(tmp_path: Path) -> None:
    """Python's own cache would give the old file: same second, same size."""
    for n in range(10):
        assert pipeline_of(tmp_path, RIDES.replace("trials=4", f"trials={n}")).search.trials == n
    assert [path.name for path in tmp_path.iterdir()] == ["pipeline.py"]


def test_two_files_of_one_name_do_not_mix(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    first = pipeline_of(tmp_path / "a")
    second = pipeline_of(tmp_path / "b", RIDES.replace('Pipeline(\n    "rides"', 'Pipeline(\n    "others"'))
    assert (first.name, second.name) == ("rides", "others")
    assert load(tmp_path / "a" / "pipeline.py") == first


def test_the_file_knows_where_it_is(tmp_path: Path) -> None:
    text = f"{RIDES}\nfrom pathlib import Path\nassert Path(__file__).parent == Path({str(tmp_path)!r})"
    assert pipeline_of(tmp_path, text).name == "rides"
    assert any(name.startswith("raypipe_pipeline_") for name in sys.modules)


def test_modules_beside_the_file_are_found_each_by_its_own_file(tmp_path: Path) -> None:
    for name in ("one", "other"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "beside_it.py").write_text(f'NAME = "{name}"\n')
        text = RIDES.replace('"rides",\n    ask', "beside_it.NAME,\n    ask")
        (folder / "pipeline.py").write_text("import beside_it\n" + text)
    assert [load(tmp_path / name / "pipeline.py").name for name in ("one", "other", "one")] == ["one", "other", "one"]


def test_what_is_installed_is_not_hidden_by_a_file_beside(tmp_path: Path) -> None:
    (tmp_path / "msgspec.py").write_text("raise RuntimeError\n")
    (tmp_path / "pipeline.py").write_text("import msgspec\n" + RIDES)
    assert load(tmp_path / "pipeline.py").name == "rides"
