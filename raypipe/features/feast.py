"""The features of a pipeline for Feast: their history as Parquet files, and the definitions that `feast apply` takes.

Feast itself is not needed to write them. What it gets is what a training set has: the value that each feature of a key
had at each moment it was asked for, so Feast's own joins, as of any of these moments, give the same values. Features
that are computed from a request or from other features are whoever asks to compute.
"""

import os
from pathlib import Path

import polars as pl

from raypipe.contracts.records import TrainingSet
from raypipe.errors import FeatureError, WorkspaceError
from raypipe.features import spine
from raypipe.spec import FeatureGroup, Pipeline, TableFeatures

DEFINITIONS, STORE = "definitions.py", "feature_store.yaml"
#: When a value was that of its key; Feast's own name for it.
TIME = "event_timestamp"
_HEAD = """\
\"\"\"Features of {name}, as raypipe made them for training set {digest}. Written by `raypipe export --feast`.\"\"\"

from pathlib import Path

from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import {types}

HERE = Path(__file__).parent
"""
_VIEW = """
{view} = FeatureView(
    name="{name}",
    entities=[{entities}],
    schema=[
{fields}    ],
    source=FileSource(path=str(HERE / "{name}.parquet"), timestamp_field="{time}"),
)
"""


def write(pipeline: Pipeline, made: TrainingSet, folder: Path) -> list[Path]:
    """Write a Feast repository into a folder; what is there of these names is replaced.

    Args:
        pipeline: the definition.
        made: a training set of it.
        folder: where; `feast -c FOLDER apply` is run there.

    Returns:
        The files: ``feature_store.yaml``, ``definitions.py``, and for each key one of values by ``event_timestamp``.

    Raises:
        FeatureError: no feature belongs to a key, or nothing tells when it had its value; or the set's files are gone.
        WorkspaceError: the folder cannot be written to.
    """
    views = _views(pipeline)
    if not views or not pipeline.ask.timed:
        raise FeatureError(
            "has no features that belong to a key and a moment", where=pipeline.name, cure="Feast has no use for others"
        )
    files = [Path(made.folder) / f"{period}.parquet" for period in made.rows]
    if gone := [str(file) for file in files if not file.is_file()]:
        cure = f"Make it again: raypipe run FILE --until features ({pipeline.name})"
        raise FeatureError("is not there any more", where=gone[0], cure=cure)
    rows = pl.concat([pl.scan_parquet(file, glob=False) for file in files])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        written = [_values(rows, pipeline.name, key, features, folder) for key, features in views.items()]
        definitions, store = folder / DEFINITIONS, folder / STORE
        definitions.write_text(_definitions(pipeline.name, made.digest, views, rows.collect_schema()), encoding="utf-8")
        store.write_text(
            f"project: {pipeline.name}\nregistry: registry.db\nprovider: local\nentity_key_serialization_version: 3\n"
            "online_store:\n  type: sqlite\n  path: online.db\n",
            encoding="utf-8",
        )
    except OSError as error:
        raise WorkspaceError(f"cannot be written: {error.strerror}", where=os.fspath(folder)) from None
    return [store, definitions, *written]


def _views(pipeline: Pipeline) -> dict[tuple[str, ...], list[str]]:
    """By the request fields that name their key, the features that belong to it."""
    found: dict[tuple[str, ...], list[str]] = {}
    for item in pipeline.inputs:
        if isinstance(item, FeatureGroup):
            found.setdefault(item.asked, []).extend(item.features)
        elif isinstance(item, TableFeatures):
            found.setdefault((item.by,), []).extend(item.features)
    return found


def _values(rows: pl.LazyFrame, name: str, key: tuple[str, ...], features: list[str], folder: Path) -> Path:
    file = folder / f"{_view(name, key)}.parquet"
    known = rows.filter(pl.all_horizontal(pl.col(key).is_not_null()))
    # One key asked about twice at one moment had one value then.
    each = known.select(*key, pl.col(spine.ASKED_AT).alias(TIME), *features).unique([*key, TIME]).sort(TIME, *key)
    each.collect().write_parquet(file)
    return file


def _view(name: str, key: tuple[str, ...]) -> str:
    return "_".join((name, *key))


def _definitions(name: str, digest: str, views: dict[tuple[str, ...], list[str]], schema: pl.Schema) -> str:
    types = sorted({_type(schema[feature]) for features in views.values() for feature in features})
    parts = [_HEAD.format(name=name, digest=digest, types=", ".join(types))]
    for field in dict.fromkeys(field for key in views for field in key):
        kind = {"Float64": "DOUBLE"}.get(kind := _type(schema[field]), kind.upper())
        parts.append(f'{field}_key = Entity(name="{field}", join_keys=["{field}"], value_type=ValueType.{kind})\n')
    for key, features in views.items():
        fields = "".join(f'        Field(name="{one}", dtype={_type(schema[one])}),\n' for one in features)
        view, entities = _view(name, key), ", ".join(f"{field}_key" for field in key)
        parts.append(_VIEW.format(view=f"{view}_view", name=view, entities=entities, fields=fields, time=TIME))
    chosen = ", ".join(f"{_view(name, key)}_view" for key in views)
    parts.append(f'\n{name}_service = FeatureService(name="{name}", features=[{chosen}])\n')
    return "".join(parts)


def _type(dtype: pl.DataType) -> str:
    """What Feast calls it."""
    if dtype.is_integer():
        return "Int64"
    if dtype.is_float():
        return "Float64"
    if dtype.is_temporal():
        return "UnixTimestamp"
    return "Bool" if dtype == pl.Boolean else "String"
