"""The records that cross rooms. Each names the records it came from, so lineage is a walk and a rerun is a look-up."""

from typing import TypeVar

import msgspec

R = TypeVar("R", bound="Record")


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A frozen, JSON-able fact about one stage of one run."""

    def to_json(self) -> str:
        """Canonical JSON; equal records give equal texts."""
        return msgspec.json.encode(self, order="sorted").decode()

    @classmethod
    def from_json(cls: type[R], text: str | bytes) -> R:
        """Read a record back; raises ``msgspec.ValidationError`` when the text is not one."""
        return msgspec.json.decode(text, type=cls)


class SourceFile(Record, frozen=True, kw_only=True):
    """One file that was read: its path as declared, the SHA-256 of its bytes, the rows in it.

    ``bad`` counts what of it is no row and is in the quarantine, ``again`` those of a stream's rows that were there
    already.
    """

    path: str
    digest: str
    rows: int
    bad: int = 0
    again: int = 0


class Taken(Record, frozen=True, kw_only=True):
    """How far a table has come with its log of live events: what ``last`` names is in it, and nothing after it.

    ``first`` and ``last`` are offsets by partition, of the first and the last message taken in; ``marks`` tell that one
    from others; ``newest`` is the latest event time by partition, in microseconds UTC, without times that lie ahead
    of their message's. Of all messages ``read``, ``repeated`` were there already and ``bad`` are in the quarantine; the
    others are rows, ``late`` of them behind their time. ``recent`` is the newest part of them, oldest first: how many
    were read, and how many of these were bad.
    """

    log: str = ""
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    newest: dict[str, int] = {}
    read: int = 0
    repeated: int = 0
    bad: int = 0
    late: int = 0
    recent: tuple[tuple[int, int], ...] = ()
    marks: dict[str, str] = {}


class Snapshot(Record, frozen=True, kw_only=True):
    """The state of one table after ingestion: immutable, readable for ever.

    ``rows`` is the whole table, ``added`` what this ingestion added, ``repeated`` what it read and already had;
    ``taken`` how far it has come with its log, for a stream that has one; ``changed`` how its files' columns changed;
    ``differing`` which of the repeated rows have other values than those that stay, in words; ``unnamed`` the files
    whose rows are there, and that the source does not name any more; ``dropped`` says of rows that were read anew, and
    waited for their gate, that they are not there any more.
    """

    table: str
    snapshot_id: int
    definition: str
    rows: int
    added: int
    repeated: int
    files: tuple[SourceFile, ...]
    taken: Taken | None = None
    changed: tuple[str, ...] = ()
    differing: str = ""
    unnamed: tuple[str, ...] = ()
    dropped: str = ""


class Ingested(Record, frozen=True, kw_only=True):
    """All tables of a pipeline after ingestion; what those ``waiting`` added was there, and no gate has judged it."""

    snapshots: tuple[Snapshot, ...]
    waiting: tuple[str, ...] = ()


class Followed(Record, frozen=True, kw_only=True):
    """What an ingestion that kept going took in: messages read, rows that are new, messages set aside, rows late.

    ``stopped`` names the sources that could not go on; ``snapshots`` are the tables at the end.
    """

    batches: int
    read: int
    rows: int
    bad: int
    late: int
    gates: int
    stopped: tuple[str, ...]
    snapshots: tuple[Snapshot, ...]


class Erased(Record, frozen=True, kw_only=True):
    """Rows, and quarantined rows, with one value in a column that were removed from the lake for good."""

    pipeline: str
    column: str
    tables: tuple[str, ...]
    rows: int
    quarantined: int


class Tidied(Record, frozen=True, kw_only=True):
    """How many old snapshots of a pipeline's tables were expired, and how many files were removed."""

    pipeline: str
    snapshots: int
    files: int


class CheckResult(Record, frozen=True, kw_only=True):
    """What one check found. ``sample`` holds a few of the failing rows as JSON objects.

    ``action`` says what a failure means: ``stop``, ``warn``, or ``quarantine``, where ``failed`` rows were set aside
    and ``passed`` says that they were not too many. ``cause`` is what is likely behind a failure, in words;
    ``allowed`` the share of rows that may fail.
    """

    table: str
    check: str
    columns: tuple[str, ...]
    passed: bool
    rows: int
    failed: int
    detail: str
    where: str
    sample: tuple[str, ...] = ()
    action: str = "stop"
    cause: str = ""
    allowed: float = 0.0

    @property
    def share(self) -> float:
        """The share of rows that failed; of a check that judges the whole, 1 when it failed."""
        if self.passed or self.sample:
            return self.failed / self.rows if self.rows else 0.0
        return 1.0


class GateReport(Record, frozen=True, kw_only=True):
    """What all checks of a run found. ``snapshots`` are those judged; once passed, those published.

    ``bypassed`` is the reason for which somebody went on although checks failed. ``stage`` says before what the gate
    stands: ``ingest`` (before tables are published), ``training`` or ``promotion``; ``about`` what was judged there:
    the digest of a training set, or of a model version.
    """

    pipeline: str
    as_of: int
    snapshots: tuple[Snapshot, ...]
    results: tuple[CheckResult, ...]
    bypassed: str = ""
    stage: str = "ingest"
    about: str = ""

    @property
    def passed(self) -> bool:
        """True when no check failed that may stop a run."""
        return not self.stopping

    @property
    def stopping(self) -> tuple[CheckResult, ...]:
        """The checks that failed, but for those that only warn."""
        return tuple(result for result in self.results if not result.passed and result.action != "warn")

    @property
    def quarantined(self) -> int:
        """How many rows were set aside."""
        return sum(result.failed for result in self.results if result.action == "quarantine")


class TrainingSet(Record, frozen=True, kw_only=True):
    """One row per prediction that could have been asked, with features as known then, split by period.

    ``digest`` is over the content: the same definition, snapshots and as-of time give the same digest.
    ``positives`` counts labels that are true; empty where labels are no truths. ``left_out`` counts
    the rows of history that are not in it, by reason. Files are ``{folder}/{period}.parquet``.
    """

    pipeline: str
    definition: str
    as_of: int
    snapshots: tuple[Snapshot, ...]
    folder: str
    digest: str
    features: tuple[str, ...]
    rows: dict[str, int]
    positives: dict[str, int]
    left_out: dict[str, int]


#: Kind of the ledger's rows that say what the online store held; each holds a `Materialized`.
MATERIALIZED = "features.materialized"


class Materialized(Record, frozen=True, kw_only=True):
    """The features of a pipeline in an online store, made of exactly these snapshots.

    Events known at ``watermark`` are in it, none later. Questions asked from ``oldest`` on are answered as history
    would; both in microseconds UTC. ``digest`` is over all keys and values.
    """

    pipeline: str
    definition: str
    snapshots: tuple[Snapshot, ...]
    watermark: int
    oldest: int
    generation: int
    entities: int
    bytes: int
    digest: str


class Trial(Record, frozen=True, kw_only=True):
    """One candidate of a search. ``metrics`` are on the tuning period, by name; speeds in milliseconds."""

    number: int
    algorithm: str
    params: dict[str, str | int | float | bool]
    status: str
    metrics: dict[str, float]
    seconds: float
    error: str = ""
    run_id: str = ""


class Candidate(Record, frozen=True, kw_only=True):
    """The model a search chose, with its judgement on the holdout. ``folder`` holds the bundle's files.

    ``run_id`` is the MLflow run of a model that was fitted by an earlier one's recipe; a search has one for each trial.
    """

    pipeline: str
    training_set: str
    algorithm: str
    params: dict[str, str | int | float | bool]
    seed: int
    folder: str
    metrics: dict[str, float]
    trials: tuple[Trial, ...]
    reason: str
    experiment: str
    metric: str = "auc"
    run_id: str = ""


class Lineage(Record, frozen=True, kw_only=True):
    """Everything that made a model version, enough to make it again. ``machine`` is empty where it was not recorded."""

    commit: str
    dirty: bool
    pipeline_definition: str
    feature_definition: str
    training_set: str
    as_of: int
    snapshots: dict[str, int]
    files: tuple[SourceFile, ...]
    params: dict[str, str | int | float | bool]
    seed: int
    lock: dict[str, str]
    run_id: str
    machine: str = ""


class ModelVersion(Record, frozen=True, kw_only=True):
    """A registered model: immutable files under one digest. ``created`` in microseconds UTC."""

    name: str
    version: int
    aliases: tuple[str, ...]
    algorithm: str
    metrics: dict[str, float]
    created: int
    digest: str
    folder: str
    lineage: Lineage


class Deployment(Record, frozen=True, kw_only=True):
    """A model version in service."""

    name: str
    version: int
    digest: str
    url: str
    at: int
