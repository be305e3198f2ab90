"""What both drivers read: the rows of every stream, in memory if they fit, else in as many parts as it takes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import polars as pl

from raypipe.contracts.records import Snapshot
from raypipe.errors import FeatureError
from raypipe.features import events, keys
from raypipe.features.cut import Cut
from raypipe.features.plan import GroupPlan, plans
from raypipe.features.spread import Laid, Portion, Scan
from raypipe.spec import Pipeline, Stream

if TYPE_CHECKING:
    from ray.data import Dataset

#: Gives the rows of a snapshot.
Read: TypeAlias = Callable[[Snapshot], pl.LazyFrame]
#: Streams of more rows than this are worked on in parts.
ROWS_AT_ONCE = 10_000_000
#: So many parts hold that many rows: a part with a very common key is still no larger.
FINER = 4
#: From so many rows of a stream on, a training set is worked out all over the cluster.
SPREAD_ROWS = 200_000_000


@dataclass
class Tables:
    """The tables of a pipeline as they are in their snapshots.

    Attributes:
        pipeline: what is to be read for.
        snapshots: by table name.
        read: gives the rows of a snapshot.
        rows_at_once: so many rows of a stream are held in memory at a time.
        scan: gives a snapshot as a Ray dataset.
        laid: tells how a snapshot is laid out.
        spread_rows: streams of at least so many rows are scanned.
        scratch: where the parts of a stream lie while they are worked on; None: where the system keeps such files.
    """

    pipeline: Pipeline
    snapshots: Mapping[str, Snapshot]
    read: Read
    rows_at_once: int = ROWS_AT_ONCE
    scan: Scan | None = None
    laid: Laid | None = None
    spread_rows: int = field(default_factory=lambda: SPREAD_ROWS)
    scratch: Path | None = None
    _cut: "tuple[GroupPlan, int, Cut] | None" = None
    _held: dict[str, pl.LazyFrame] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for source in self.pipeline.sources:
            if source.name not in self.snapshots:
                what = f"there is no snapshot of `{source.name}`"
                raise FeatureError(what, where=self.pipeline.name, cure="Ingest it first")

    def table(self, name: str) -> pl.LazyFrame:
        """The rows of one table or stream."""
        return self.read(self.snapshots[name])

    def portions(self, plan: GroupPlan) -> Sequence[Portion] | None:
        """The rows of a group's stream by the first part of its key, when they are many and lie so."""
        snapshot = self.snapshots[plan.group.moment.stream.name]
        if self.laid is None or snapshot.rows < self.spread_rows:
            return None
        return self.laid(snapshot, plan.group.key[0])

    def scanned(self, plan: GroupPlan) -> "Dataset | None":
        """The rows of a group's stream as a Ray dataset, when they are many and can be had so."""
        stream = plan.group.moment.stream
        if self.scan is None or self.snapshots[stream.name].rows < self.spread_rows:
            return None
        return self.scan(self.snapshots[stream.name], plan.columns)

    def parts(self, plan: GroupPlan) -> int:
        """In how many parts the events of a group are worked on."""
        rows = self.snapshots[plan.group.moment.stream.name].rows
        return 1 if rows <= self.rows_at_once else -(-FINER * rows // self.rows_at_once)

    def events(self, plan: GroupPlan, known_by: int, part: int) -> pl.LazyFrame:
        """The events of one part of a group's keys: in memory if there is one part only, else to be read."""
        stream = plan.group.moment.stream
        if self.parts(plan) == 1:
            return events.events(plan, self._rows(stream), known_by).collect().lazy()
        if self._cut is None or self._cut[:2] != (plan, known_by):
            self._cut = None  # one group's files at a time
            found = events.events(plan, self.table(stream.name), known_by)
            mine = keys.bucket([pl.col(f"k{i}") for i in range(len(plan.group.key))], self.parts(plan))
            self._cut = plan, known_by, Cut(found, self.scratch, mine)
        return self._cut[2].part(part)

    def _rows(self, stream: Stream) -> pl.LazyFrame:
        """The rows of a stream, read once for all groups; the same id counts once, as it was first known."""
        if stream.name not in self._held:
            used = [plan.columns for plan in plans(self.pipeline) if plan.group.moment.stream == stream]
            published = () if stream.published is None else (stream.published,)
            wanted = dict.fromkeys(
                (*stream.id, *published, stream.time, *(name for columns in used for name in columns))
            )
            frame = self.table(stream.name).select(list(wanted)).collect()
            whole = pl.all_horizontal(pl.col(*stream.id).is_not_null())
            repeated = pl.struct(stream.id).is_duplicated() & whole
            if frame.select(repeated.any()).item():
                later = ~pl.struct(stream.id).is_first_distinct() & whole
                first = pl.coalesce(*published, stream.time)
                frame = frame.sort(first, stream.time, maintain_order=True).filter(~later)
            self._held[stream.name] = frame.lazy()
        return self._held[stream.name]
