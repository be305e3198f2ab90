"""What the features of a pipeline are: what they mean and come from, how they look, and which models see them."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import polars as pl

from raypipe.contracts import bundle
from raypipe.contracts.records import MATERIALIZED, Materialized, ModelVersion, Record, TrainingSet
from raypipe.errors import RaypipeError
from raypipe.features.materialize import definition
from raypipe.ledger import Ledger
from raypipe.spec import Expression, FeatureGroup, Pipeline, Request, TableFeatures, fingerprint


class Described(Record, frozen=True, kw_only=True):
    """One feature.

    Attributes:
        name: unique in its pipeline.
        meaning: as its pipeline says; empty where it says nothing.
        owner: who answers for it, or else for all of the pipeline; empty where it says nothing.
        kind: ``request``, ``as-of``, ``window``, ``decay``, ``temporal``, ``table`` or ``derived``.
        computed: how, in words.
        window: how far back it looks, and whether exactly so far, or in a sawtooth of so much more, or how fast it
            forgets; empty where it does not, or sees all of the past.
        sources: tables, streams, request fields and other features that it reads.
        fingerprint: of all that it is computed from and by: another one is another feature of the same name.
        definition: which of the definitions of this name, in the order in which models with them were registered; the
            first is 1.
        since: when the first model that sees this one was registered, microseconds UTC; None: there is none yet.
        null_share: of the rows that the last training set of this definition fits on; None: there is none.
        fresh_until: what the online store knows, microseconds UTC; None for what needs no store, or is not in it.
        used_by: model versions that see exactly this feature.
        otherwise_in: model versions that see another feature of this name, and keep it.
    """

    name: str
    meaning: str
    owner: str
    kind: str
    computed: str
    window: str
    sources: tuple[str, ...]
    fingerprint: str
    definition: int
    since: int | None
    null_share: float | None
    fresh_until: int | None
    used_by: tuple[int, ...]
    otherwise_in: tuple[int, ...]


def catalogue(
    pipeline: Pipeline, versions: Sequence[ModelVersion] = (), ledger: Ledger | None = None
) -> list[Described]:
    """Every feature of a pipeline, in order.

    Args:
        pipeline: the definition.
        versions: the models of that name.
        ledger: tells of training sets and of what the online store holds; None: nothing was computed yet.
    """
    prints, seen = fingerprints(pipeline), _of_versions(versions)
    created = {version.version: version.created for version in versions}
    gaps, fresh = ({}, None) if ledger is None else (_null_shares(pipeline, ledger), _fresh(pipeline, ledger))
    found: list[Described] = []
    for name, kind, computed, window, sources in _told(pipeline):
        mine = {number: known[name] for number, known in seen.items() if name in known}
        order = list(dict.fromkeys([*(mine[number] for number in sorted(mine)), prints[name]]))
        used_by = tuple(number for number, one in sorted(mine.items()) if one == prints[name])
        found.append(
            Described(
                name=name,
                meaning=pipeline.meanings.get(name, ""),
                owner=pipeline.owners.get(name, pipeline.owner),
                kind=kind,
                computed=computed,
                window=window,
                sources=sources,
                fingerprint=prints[name],
                definition=order.index(prints[name]) + 1,
                since=created[used_by[0]] if used_by else None,
                null_share=gaps.get(name),
                fresh_until=None if kind in ("request", "derived") else fresh,
                used_by=used_by,
                otherwise_in=tuple(number for number, one in sorted(mine.items()) if one != prints[name]),
            )
        )
    return found


def fingerprints(pipeline: Pipeline) -> dict[str, str]:
    """For each feature what names all that it is computed from and by: of features that it reads, theirs."""
    found: dict[str, str] = {}
    for item in pipeline.inputs:
        for name, way in item.features.items():
            if isinstance(item, FeatureGroup):
                about: tuple[object, ...] = (item.moment, item.key, item.asked, way, pipeline.ask)
            elif isinstance(item, TableFeatures):
                about = (item.table, item.by, way)
            else:
                roots = way.roots if isinstance(way, Expression) else ()
                about = (way, tuple((root, found.get(root, "")) for root in roots))
            found[name] = fingerprint(about)
    return found


def _told(pipeline: Pipeline) -> Iterator[tuple[str, str, str, str, tuple[str, ...]]]:
    """Name, kind, how it is computed, window and sources of each feature."""
    for item in pipeline.inputs:
        if isinstance(item, FeatureGroup):
            where = f"{item.moment.stream.name}.{item.moment.at}"
            for name, one in item.features.items():
                computed = f"{one.in_words} by {', '.join(item.key)}"
                yield name, one.kind, computed, one.window_in_words, (where,)
        elif isinstance(item, TableFeatures):
            for name, column in item.features.items():
                yield name, "table", f"{item.table.name}.{column} by {item.by}", "", (item.table.name,)
        else:
            kind = "request" if isinstance(item, Request) else "derived"
            for name, expression in item.features.items():
                yield name, kind, expression.in_words, "", tuple(expression.roots)


def _of_versions(versions: Sequence[ModelVersion]) -> dict[int, Mapping[str, str]]:
    """What each version's features are; of one whose files cannot be read any more, nothing is said."""
    found: dict[int, Mapping[str, str]] = {}
    for version in versions:
        try:
            found[version.version] = fingerprints(bundle.pipeline(Path(version.folder)))
        except RaypipeError:
            continue
    return found


def _null_shares(pipeline: Pipeline, ledger: Ledger) -> dict[str, float]:
    """Of the rows that the last training set of these features fits on."""
    wanted = fingerprint((pipeline.ask, pipeline.inputs, pipeline.label, pipeline.split))
    for entry in reversed(ledger.entries("stage.features", pipeline.name)):
        made = TrainingSet.from_json(entry.body)
        file = Path(made.folder) / "train.parquet"
        if made.definition == wanted and file.is_file():
            counts = pl.scan_parquet(file, glob=False).select(
                pl.len().alias("__rows"), pl.col(made.features).null_count()
            )
            row = counts.collect().row(0, named=True)
            return {name: row[name] / row["__rows"] for name in made.features if row["__rows"]}
    return {}


def _fresh(pipeline: Pipeline, ledger: Ledger) -> int | None:
    wanted = definition(pipeline)
    states = (Materialized.from_json(entry.body) for entry in reversed(ledger.entries(MATERIALIZED, pipeline.name)))
    return next((state.watermark for state in states if state.definition == wanted), None)
