"""The way of a model from its files to its service, put together from the rows of the ledger and nothing else."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from raypipe.clock import iso
from raypipe.contracts.records import Candidate, Deployment, GateReport, Ingested, ModelVersion, Record, TrainingSet
from raypipe.ledger import Ledger
from raypipe.registry import nodes
from raypipe.registry.nodes import Node
from raypipe.registry.rows import body_of, deployments

R = TypeVar("R", bound=Record)


class Way(Record, frozen=True, kw_only=True):
    """How a version came about, and what became of it. ``edges`` are pairs of ids: the first led to the second.

    ``missing`` names what the ledger should know and does not.
    """

    version: str
    nodes: tuple[Node, ...]
    edges: tuple[tuple[str, str], ...]
    missing: tuple[str, ...]

    def before(self, id: str) -> list[Node]:
        """What led to a node, in order."""
        return self._nodes(first for first, second in self.edges if second == id)

    def after(self, id: str) -> list[Node]:
        """What a node led to, in order."""
        return self._nodes(second for first, second in self.edges if first == id)

    def _nodes(self, ids: Iterable[str]) -> list[Node]:
        wanted = set(ids)
        return [node for node in self.nodes if node.id in wanted]


@dataclass(frozen=True)
class Past:
    """The records that led to a version, as far as the ledger has them; ``at`` says when each stage had ended."""

    training_set: TrainingSet | None
    gate: GateReport | None
    candidate: Candidate | None
    at: dict[str, int]


def past(ledger: Ledger, version: ModelVersion) -> Past:
    """What the ledger knows of how a version came about."""
    lineage = version.lineage
    ingested = _last(ledger, "ingest", Ingested, version, _taken, "")
    gate = _last(ledger, "gate", GateReport, version, _judged, str(lineage.as_of))
    made = _last(ledger, "features", TrainingSet, version, _made, lineage.training_set)
    chosen = _last(ledger, "train", Candidate, version, _chosen, lineage.training_set)
    stages = {"ingest": ingested, "gate": gate, "features": made, "train": chosen}
    at = {stage: found[0] for stage, found in stages.items() if found is not None}
    return Past(made and made[1], gate and gate[1], chosen and chosen[1], at)


def walk(ledger: Ledger, version: ModelVersion) -> Way:
    """Everything between the files that a version was learned from and its service."""
    build = _Walk(version)
    known = past(ledger, version)
    build.data(known.training_set, known.gate)
    build.trials(known.candidate)
    build.add(nodes.version(version, "auc" if known.candidate is None else known.candidate.metric))
    build.deployments([d for _, d in deployments(ledger, version.name)])
    return Way(
        version=f"{version.name}/{version.version}",
        nodes=tuple(build.nodes),
        edges=tuple(dict.fromkeys(build.edges)),
        missing=tuple(build.missing),
    )


class _Walk:
    def __init__(self, version: ModelVersion) -> None:
        self.version, self.lineage = version, version.lineage
        self.nodes: list[Node] = []
        self.edges: list[tuple[str, str]] = []
        self.missing: list[str] = []

    def add(self, node: Node) -> str:
        if node.id not in {present.id for present in self.nodes}:
            self.nodes.append(node)
        return node.id

    def data(self, training_set: TrainingSet | None, gate: GateReport | None) -> None:
        """Files, snapshots, the gate, and the training set made of them."""
        snapshots = [] if training_set is None else list(training_set.snapshots)
        files = [
            (self.add(nodes.file(file)), nodes.snapshot_id(s.table, s.snapshot_id))
            for s in snapshots
            for file in s.files
        ]
        if training_set is None:
            # The version itself knows its files and snapshots, but not which file is in which.
            self.missing.append("the record of its training set")
            files = [(self.add(nodes.file(file)), self._set_id) for file in self.lineage.files]
        tables = [self.add(nodes.snapshot(s)) for s in snapshots] or [
            self.add(nodes.unrecorded_snapshot(table, number)) for table, number in self.lineage.snapshots.items()
        ]
        self.edges += files
        through = self._set_id
        if gate is None:
            self.missing.append("a gate that passed these snapshots")
        else:
            through = self.add(nodes.gate(gate))
            self.edges.append((through, self._set_id))
        self.edges += [(table, through) for table in tables]
        self.add(nodes.training_set(self._set_id, self.version, training_set))

    def trials(self, candidate: Candidate | None) -> None:
        """The search, and the trial that was chosen."""
        version = nodes.version_id(self.version)
        if candidate is None:
            self.missing.append("the record of its search")
            self.edges.append((self._set_id, version))
            return
        for trial in candidate.trials:
            id = self.add(nodes.trial(trial, candidate.metric))
            self.edges.append((self._set_id, id))
            chosen = (trial.algorithm, trial.params) == (candidate.algorithm, candidate.params)
            if chosen and trial.status == "finished":
                self.edges.append((id, version))

    def deployments(self, rows: list[Deployment]) -> None:
        """Each time that the version was put into service, and until when it answered."""
        for number, row in enumerate(rows):
            if (row.version, row.digest) == (self.version.version, self.version.digest):
                until = iso(rows[number + 1].at) if number + 1 < len(rows) else ""
                self.edges.append((nodes.version_id(self.version), self.add(nodes.deployment(number + 1, row, until))))

    @property
    def _set_id(self) -> str:
        return f"training_set:{self.lineage.training_set[:12]}"


def _taken(record: Ingested, version: ModelVersion) -> bool:
    seen = {snapshot.table: snapshot.snapshot_id for snapshot in record.snapshots}
    return version.lineage.snapshots.items() <= seen.items()


def _made(record: TrainingSet, version: ModelVersion) -> bool:
    return (record.digest, record.as_of) == (version.lineage.training_set, version.lineage.as_of)


def _judged(record: GateReport, version: ModelVersion) -> bool:
    seen = {snapshot.table: snapshot.snapshot_id for snapshot in record.snapshots}
    return record.passed and record.as_of == version.lineage.as_of and version.lineage.snapshots.items() <= seen.items()


def _chosen(record: Candidate, version: ModelVersion) -> bool:
    made = (version.lineage.training_set, version.algorithm, version.lineage.params, version.metrics)
    return (record.training_set, record.algorithm, record.params, record.metrics) == made


def _last(
    ledger: Ledger,
    stage: str,
    kind: type[R],
    version: ModelVersion,
    fits: Callable[[R, ModelVersion], bool],
    holding: str,
) -> tuple[int, R] | None:
    """The newest record of a stage that belongs to the version, and when it was written down.

    Such a record has ``holding`` in it.
    """
    records = [(entry.at, body_of(entry, kind)) for entry in ledger.entries(f"stage.{stage}", version.name, holding)]
    return next(((at, record) for at, record in reversed(records) if fits(record, version)), None)
