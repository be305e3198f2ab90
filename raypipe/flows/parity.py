"""Replay what was asked: would training have seen what serving saw?"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from raypipe.contracts import bundle
from raypipe.contracts.logs import opened
from raypipe.contracts.parity import FeatureParity, Mismatch, Parity
from raypipe.contracts.progress import Progress
from raypipe.contracts.records import MATERIALIZED, Materialized, ModelVersion, Snapshot
from raypipe.errors import FeatureError, SourceError
from raypipe.features.materialize import definition
from raypipe.features.parity import differing, fitting, from_used, mismatches, replayed, sizes
from raypipe.features.reading import Tables
from raypipe.flows.materialize import in_store, published
from raypipe.flows.platform import Platform
from raypipe.spec import Pipeline
from raypipe.spec.shape import schema

AT, GENERATION, WATERMARK = "at", "generation", "watermark"


@dataclass
class Logged:
    """Some rows of a log that one definition answered.

    Attributes:
        pipeline: the definition.
        rows: with ``at``, and ``generation`` and ``watermark`` where they are known.
        requests: their request fields, typed as in the asked stream.
        used: gives the features as used, for names with types; only those that the log keeps.
    """

    pipeline: Pipeline
    rows: pl.DataFrame
    requests: pl.DataFrame
    used: Callable[[dict[str, pl.DataType]], pl.DataFrame]


@dataclass
class _Sums:
    rows: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    compared: dict[str, list[int]] = field(default_factory=dict)
    missing: dict[str, None] = field(default_factory=dict)
    shown: list[Mismatch] = field(default_factory=list)

    def leave_out(self, reason: str, rows: int) -> None:
        if rows:
            self.left_out[reason] = self.left_out.get(reason, 0) + rows


def from_file(path: Path, pipeline: Pipeline, last: int) -> Logged:
    """A log in a Parquet file: a column for each request field, ``at``, and a column for each feature as used.

    Raises:
        FeatureError: it cannot be read, or lacks a column.
    """
    where = f"log {path}"
    try:
        rows = pl.read_parquet(path, glob=False).tail(last)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise FeatureError(f"cannot be read: {str(error).splitlines()[0]}", where=where) from None
    kinds = {name: schema(pipeline.ask.stream)[name] for name in pipeline.request.fields}
    if not rows.height:
        raise FeatureError("has no row", where=where, cure="Log a request first")
    for name in (AT, *kinds):
        if name not in rows.columns:
            what, cure = f"lacks the column `{name}`", "Write request fields, `at`, and the features as used"
            raise FeatureError(what, where=where, cure=cure)
        kind = rows.schema[name]
        if isinstance(kind, pl.Datetime) and kind.time_zone is None:
            raise FeatureError(f"`{name}` has no time zone", where=where, cure="Write times with their zone, best UTC")
    if isinstance(rows.schema[AT], pl.Datetime):
        rows = rows.with_columns(pl.col(AT).cast(pl.Datetime("us", "UTC")))
    fields = []
    for name, kind in kinds.items():
        kept, spoilt = fitting(rows[name], kind)
        if (place := spoilt.arg_max()) is not None and spoilt[place]:
            what = f"`{name}` of row {place} is no {kind}: {rows[name][place]!r}"
            raise FeatureError(what, where=where, cure="Write the field as it was asked")
        fields.append(kept)
    requests = pl.DataFrame(fields)
    return Logged(pipeline, rows, requests, lambda wanted: rows.select(n for n in wanted if n in rows.columns))


def from_lake(rows: pl.DataFrame, versions: list[ModelVersion]) -> Iterator[Logged]:
    """A log in the lake: each version's rows with its own definition."""
    folders = {version.version: Path(version.folder) for version in versions}
    for (version,), some in rows.group_by("version", maintain_order=True):
        if version not in folders:
            raise FeatureError(f"has rows of version {version}, which is not registered", where="prediction log")
        pipeline = bundle.pipeline(folders[int(str(version))])
        kinds = {name: schema(pipeline.ask.stream)[name] for name in pipeline.request.fields}
        yield Logged(pipeline, some, opened(some, "request", kinds).select(list(kinds)), _used(some, pipeline))


def _used(rows: pl.DataFrame, pipeline: Pipeline) -> Callable[[dict[str, pl.DataType]], pl.DataFrame]:
    kept = pipeline.log.features
    plain = [n for n in pipeline.feature_names if (kept is None or n in kept) and n not in pipeline.log.hashed]

    def used(wanted: dict[str, pl.DataType]) -> pl.DataFrame:
        names = [name for name in wanted if name in plain]
        return opened(rows, "features", {name: wanted[name] for name in names}, whole=True).select(names)

    return used


def parity(
    platform: Platform, progress: Progress, *, name: str, logs: list[Logged], at_most: int | None = None
) -> Parity:
    """Compare what serving used with what history gives: as known then, and had all that is known now come in time.

    Args:
        platform: the workspace.
        progress: is told of every state of the store that was asked.
        name: of the pipeline.
        logs: what was asked and used.
        at_most: so many mismatches of each feature and state of the store are listed; None: all.
    """
    sums = _Sums()
    states = [(entry.at, Materialized.from_json(entry.body)) for entry in platform.ledger.entries(MATERIALIZED, name)]
    for log in logs:
        mine = [(at, state) for at, state in states if state.definition == definition(log.pipeline)]
        # Whoever put it there may have died before the ledger knew.
        if (there := in_store(platform, log.pipeline)) is not None and there not in [state for _, state in mine]:
            mine.append((platform.clock.now(), there))
        with progress.step("replay", total=log.rows.height) as step:
            for state, places in _by_state(log, mine, sums):
                _compare(platform, log, state, places, sums, at_most)
                step.advance(len(places))
    return Parity(
        pipeline=name,
        rows=sums.rows,
        left_out=sums.left_out,
        not_logged=tuple(sums.missing),
        features=tuple(
            FeatureParity(feature=feature, compared=found[0], differ_then=found[1], differ_now=found[2])
            for feature, found in sums.compared.items()
        ),
        mismatches=tuple(sums.shown),
    )


def _by_state(
    log: Logged, states: list[tuple[int, Materialized]], sums: _Sums
) -> Iterator[tuple[Materialized, pl.Series]]:
    """The state of the store that each row was answered from, with the rows' places."""
    named = GENERATION in log.rows.columns and WATERMARK in log.rows.columns
    by_name = {(state.generation, state.watermark): i for i, (_, state) in enumerate(states)}
    if named:
        pairs = log.rows.select(GENERATION, pl.col(WATERMARK).cast(pl.Int64)).rows()
        found = [by_name.get((generation, watermark), -1) for generation, watermark in pairs]
    else:
        times = pl.Series([at for at, _ in states], dtype=pl.Int64)
        found = (times.search_sorted(log.rows[AT].cast(pl.Int64), side="right").cast(pl.Int64) - 1).to_list()
    whole = log.requests.select(pl.all_horizontal(pl.col(n).is_not_null() for n in _required(log.pipeline))).to_series()
    sums.leave_out("a field that must be there is not in the log", int((~whole).sum()))
    at = pl.DataFrame({"state": found, "whole": whole}).with_row_index("place")
    sums.leave_out("the ledger does not know the state it was answered from", int(((at["state"] < 0) & whole).sum()))
    for (state,), places in at.filter((pl.col("state") >= 0) & pl.col("whole")).group_by("state", maintain_order=True):
        yield states[int(str(state))][1], places["place"]


def _required(pipeline: Pipeline) -> list[str]:
    return [name for name in pipeline.request.fields if name not in pipeline.request.optional]


def _compare(
    platform: Platform, log: Logged, state: Materialized, places: pl.Series, sums: _Sums, at_most: int | None
) -> None:
    requests = log.requests[places]
    try:
        tables = _tables(platform, log.pipeline, state.snapshots)
        then = replayed(tables, requests, state.watermark)
    except SourceError as error:
        sums.leave_out(f"{error.where} {error.what}", len(places))
        return
    of_now = _tables(platform, log.pipeline, published(platform, log.pipeline))
    now = replayed(of_now, requests, platform.clock.now(), punctual=True)
    used = log.used(dict(then.schema))[places]
    sums.missing |= dict.fromkeys(name for name in then.columns if name not in used.columns)
    size = sizes(tables, requests, state.watermark)
    wrong = differing(log.pipeline, used, from_used(log.pipeline, requests, used, then), size)
    late = differing(log.pipeline, used, now, size)
    sums.rows += len(places)
    for name in wrong.columns:
        counts = sums.compared.setdefault(name, [0, 0, 0])
        for i, more in enumerate((len(places), int(wrong[name].sum()), int(late[name].sum()))):
            counts[i] += more
    sums.shown += mismatches(log.pipeline, requests, used, then, wrong, at_most)


def _tables(platform: Platform, pipeline: Pipeline, snapshots: tuple[Snapshot, ...]) -> Tables:
    return Tables(pipeline, {snapshot.table: snapshot for snapshot in snapshots}, platform.lake.frame)
