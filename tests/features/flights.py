"""The flights example read straight from its files, with nothing of the lake between."""

import zipfile
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import polars as pl

from raypipe.contracts.records import Snapshot
from raypipe.spec import POLARS_TYPES, Lookup, Pipeline, Source, load

AS_OF = 1_372_809_600_000_000  # 2013-07-03


def pipeline_of_flights() -> Pipeline:
    return load(Path(__file__).parents[2] / "examples/flights/pipeline.py")


def shipped(source: Source) -> pl.DataFrame:
    package, _, inside = source.source.path.removeprefix("package://").partition("/")
    path = Path(find_spec(package).submodule_search_locations[0]) / inside
    content = path.read_bytes()
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            content = archive.read(archive.namelist()[0])
    types = {name: POLARS_TYPES[kind] for name, kind in source.columns.items()}
    return pl.read_csv(BytesIO(content), null_values=list(source.source.nulls), schema_overrides=types).select(
        list(types)
    )


class Files:
    """Tables by name, kept in memory: `read` for a snapshot."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.tables: dict[str, pl.DataFrame] = {}
        for source in pipeline.sources:
            self.tables[source.name] = self._derived(source)
        self.snapshots = {name: snapshot(name, 1, frame) for name, frame in self.tables.items()}

    @classmethod
    def like(cls, other: "Files") -> "Files":
        """The same tables, to be changed: under snapshots of their own."""
        copy = cls.__new__(cls)
        copy.pipeline, copy.tables = other.pipeline, dict(other.tables)
        copy.snapshots = {name: snapshot(name, 2, frame) for name, frame in other.tables.items()}
        return copy

    def _derived(self, source: Source) -> pl.DataFrame:
        frame = shipped(source)
        for name, way in source.derive.items():
            if isinstance(way, Lookup):
                right = self.tables[way.table.name].select(
                    pl.col(way.table.key).alias("__key"), pl.col(way.column).alias(name)
                )
                frame = frame.join(right, left_on=way.by, right_on="__key", how="left", maintain_order="left")
            else:
                frame = frame.with_columns(way.polars.alias(name))
        return frame

    def read(self, snapshot: Snapshot) -> pl.LazyFrame:
        return self.tables[snapshot.table].lazy()


def snapshot(table: str, snapshot_id: int, frame: pl.DataFrame) -> Snapshot:
    return Snapshot(
        table=table, snapshot_id=snapshot_id, definition="", rows=frame.height, added=frame.height, repeated=0, files=()
    )
