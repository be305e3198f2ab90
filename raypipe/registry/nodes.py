"""The things that a model's way leads through, each with its name, a few words, and what is known of it."""

from raypipe.clock import iso
from raypipe.contracts.records import (
    Deployment,
    GateReport,
    ModelVersion,
    Record,
    Snapshot,
    SourceFile,
    TrainingSet,
    Trial,
)

#: What a way leads through, in this order.
KINDS = ("file", "snapshot", "gate", "training set", "trial", "version", "deployment")


class Node(Record, frozen=True, kw_only=True):
    """One thing on the way: which of `KINDS`, its name, a few words on it, and what is known of it."""

    id: str
    kind: str
    title: str
    detail: str
    facts: dict[str, str | int | float]


def file(source: SourceFile) -> Node:
    """A file that was read."""
    return Node(
        id=f"file:{source.digest[:16]}",
        kind="file",
        title=source.path.rpartition("/")[2],
        detail=f"{source.rows:,} rows, sha256 {source.digest[:12]}",
        facts={"path": source.path, "sha256": source.digest, "rows": source.rows},
    )


def snapshot_id(table: str, number: int) -> str:
    """The id of a snapshot's node."""
    return f"snapshot:{table}@{number}"


def snapshot(found: Snapshot) -> Node:
    """The state of a table."""
    return Node(
        id=snapshot_id(found.table, found.snapshot_id),
        kind="snapshot",
        title=found.table,
        detail=f"{found.rows:,} rows, snapshot {found.snapshot_id}",
        facts={"snapshot": found.snapshot_id, "rows": found.rows, "definition": found.definition},
    )


def unrecorded_snapshot(table: str, number: int) -> Node:
    """The state of a table of which only the number is known."""
    facts: dict[str, str | int | float] = {"snapshot": number}
    return Node(id=snapshot_id(table, number), kind="snapshot", title=table, detail=f"snapshot {number}", facts=facts)


def gate(report: GateReport) -> Node:
    """The checks that the snapshots passed."""
    # A check may pass although some rows fail it: a pipeline can allow a share of them.
    failed = sum(result.failed for result in report.results)
    return Node(
        id=f"gate:{report.pipeline}",
        kind="gate",
        title=f"gate: {sum(result.passed for result in report.results)} checks passed",
        detail=f"as of {iso(report.as_of)}",
        facts={"checks": len(report.results), "rows allowed to fail": failed, "as of": iso(report.as_of)},
    )


def training_set(id: str, version: ModelVersion, record: TrainingSet | None) -> Node:
    """The rows that the model was learned from."""
    lineage = version.lineage
    facts: dict[str, str | int | float] = {"digest": lineage.training_set, "as of": iso(lineage.as_of)}
    detail = f"digest {lineage.training_set[:12]}"
    if record is not None:
        rows = {
            f"rows {period}": record.rows[period] for period in ("train", "tune", "holdout") if period in record.rows
        }
        facts |= {"features": len(record.features), **rows, "left out": sum(record.left_out.values())}
        detail = f"{len(record.features)} features, {sum(rows.values()):,} rows, digest {lineage.training_set[:12]}"
    return Node(id=id, kind="training set", title="training set", detail=detail, facts=facts)


def trial(found: Trial, metric: str) -> Node:
    """One trial of the search, which went by a metric."""
    quality = f", tune {metric} {found.metrics[metric]:.4f}" if metric in found.metrics else ""
    facts: dict[str, str | int | float] = {"status": found.status, "seconds": round(found.seconds, 3)}
    facts |= {f"param {name}": value for name, value in found.params.items()}
    facts.update(found.metrics)
    return Node(
        id=f"trial:{found.number}",
        kind="trial",
        title=f"trial {found.number}: {found.algorithm}",
        detail=f"{found.status}{quality}",
        facts=facts | ({"error": found.error} if found.error else {}) | ({"run": found.run_id} if found.run_id else {}),
    )


def version_id(found: ModelVersion) -> str:
    """The id of a version's node."""
    return f"version:{found.name}/{found.version}"


def version(found: ModelVersion, metric: str) -> Node:
    """The model version itself; its search went by a metric."""
    lineage = found.lineage
    facts: dict[str, str | int | float] = {
        "algorithm": found.algorithm,
        "digest": found.digest,
        "created": iso(found.created),
        "commit": f"{lineage.commit}{' (changed since)' if lineage.dirty else ''}",
        "definition": lineage.pipeline_definition,
        "seed": lineage.seed,
    }
    facts |= {name: lineage.lock[name] for name in ("python", "raypipe", "ray") if name in lineage.lock}
    quality = f", holdout {metric} {found.metrics[metric]:.4f}" if metric in found.metrics else ""
    aliases = f" ({', '.join(found.aliases)})" if found.aliases else ""
    facts.update(found.metrics)
    return Node(
        id=version_id(found),
        kind="version",
        title=f"{found.name}/{found.version}{aliases}",
        detail=f"{found.algorithm}{quality}, digest {found.digest[:12]}",
        facts=facts,
    )


def deployment(number: int, found: Deployment, until: str) -> Node:
    """A time in which the version answered; ``until`` is empty when it answers still."""
    return Node(
        id=f"deployment:{number}",
        kind="deployment",
        title=f"deployment {number}",
        detail=f"since {iso(found.at)}" + (f" until {until}" if until else ""),
        facts={"url": found.url, "since": iso(found.at), "until": until or "now"},
    )
