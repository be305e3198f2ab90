"""What is written for Feast: the values of the training set, each at the moment it was asked for, and definitions.

That Feast itself takes them is in tests/elsewhere.
"""

import runpy
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import polars as pl
import pytest

from raypipe.errors import FeatureError, WorkspaceError
from raypipe.features.feast import write
from raypipe.spec import Pipeline, request
from tests.features.test_training_set import build, made_tables


class Told(dict[str, Any]):
    """Whatever a definition is made of, as it was said."""

    def __init__(self, **said: Any) -> None:
        super().__init__(said)


def test_the_values_are_those_of_the_training_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = made_tables()
    made = build(tables, tmp_path / "sets")
    files = write(tables.pipeline, made, tmp_path / "feast")
    assert [file.name for file in files[:2]] == ["feature_store.yaml", "definitions.py"]
    rows = pl.concat([pl.read_parquet(Path(made.folder) / f"{period}.parquet") for period in made.rows])
    known = {}
    for file in files[2:]:
        key = ["user", "shop"] if file.stem.endswith("shop") else ["user"]
        values = known[file.stem] = pl.read_parquet(file)
        asked = rows.select(*key, event_timestamp="asked_at")
        assert values.select(*key, "event_timestamp").rows() == asked.unique().sort("event_timestamp").rows()
        beside = asked.join(values, on=[*key, "event_timestamp"], how="left")
        features = [name for name in values.columns if name not in {*key, "event_timestamp"}]
        assert beside.select(features).equals(rows.select(features))
    assert list(known) == ["payments_user", "payments_user_shop"]
    for name in ("feast", "feast.types"):
        monkeypatch.setitem(sys.modules, name, _stub(name))
    found = runpy.run_path(str(files[1]))
    views = {name: found[f"{name}_view"] for name in known}
    for name, values in known.items():
        fields = [one["name"] for one in views[name]["schema"]]
        assert fields == [one for one in values.columns if one not in {"user", "shop", "event_timestamp"}]
        assert [one["name"] for one in views[name]["entities"]] == name.split("_")[1:]
    assert {one["name"]: one["dtype"] for one in views["payments_user"]["schema"]}["last_kind"] == "String"
    assert found["payments_service"]["features"] == list(views.values())


def _stub(name: str) -> ModuleType:
    stub = ModuleType(name)
    stub.__dict__.update(dict.fromkeys(("Entity", "FeatureService", "FeatureView", "Field", "FileSource"), Told))
    kinds = ("Int64", "Float64", "String", "Bool", "UnixTimestamp", "STRING", "INT64", "DOUBLE", "BOOL")
    stub.__dict__.update({kind: kind for kind in kinds}, ValueType=stub)
    return stub


def _without_keys(whole: Pipeline) -> Pipeline:
    return Pipeline(
        "payments",
        ask=whole.ask,
        inputs=[request("user", "due")],
        label=whole.label,
        split=whole.split,
        search=whole.search,
    )


def test_what_feast_has_no_use_for_is_refused(tmp_path: Path) -> None:
    tables = made_tables()
    made = build(tables, tmp_path / "sets")
    with pytest.raises(FeatureError, match="no features that belong to a key"):
        write(_without_keys(tables.pipeline), made, tmp_path / "feast")
    (tmp_path / "file").touch()
    with pytest.raises(WorkspaceError, match="cannot be written"):
        write(tables.pipeline, made, tmp_path / "file")
    (Path(made.folder) / "tune.parquet").unlink()
    with pytest.raises(FeatureError, match="is not there any more"):
        write(tables.pipeline, made, tmp_path / "feast")
