"""Everything that was asked in a stretch of history, with its features as known then, and when each label settled."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from raypipe import features
from raypipe.contracts.progress import Progress
from raypipe.contracts.records import Snapshot, TrainingSet
from raypipe.contracts.target import BINARY, Target
from raypipe.errors import SourceError
from raypipe.features.reading import Read
from raypipe.spec import Periods, Pipeline, changed, micros
from raypipe.stats.arrays import Ints
from raypipe.stats.shift import Floats
from raypipe.training.data import learn_target

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Past:
    """The questions of history in order of time.

    Attributes:
        frame: request fields, features and ``label``.
        at: when each was asked, microseconds UTC.
        settled: when each label was known for good.
        truth: the encoded labels.
        digest: of the content.
        target: what the labels are, with the classes that there ever were.
    """

    frame: pl.DataFrame
    at: Ints
    settled: Ints
    truth: Floats
    digest: str
    target: Target = BINARY

    @property
    def settles(self) -> int:
        """Microseconds after which a label is known for good."""
        return int(self.settled[0] - self.at[0])

    def before(self, moment: int) -> int:
        """How many of the first rows have a label that was settled by then."""
        return int(np.searchsorted(self.settled, moment, side="right"))

    def asked(self, start: int, end: int) -> slice:
        """The rows asked from ``start`` until before ``end``."""
        return slice(*np.searchsorted(self.at, [start, end], side="left").tolist())


def past(
    pipeline: Pipeline, snapshots: Mapping[str, Snapshot], read: Read, folder: Path, until: int, progress: Progress
) -> Past:
    """All that was asked until then, built once; what was built before is taken as it is.

    Args:
        pipeline: its periods are set aside: everything is one period.
        snapshots: by table name.
        read: gives the rows of a snapshot.
        folder: where training sets are kept.
        until: microseconds UTC.
        progress: is told of each feature group.

    Raises:
        SourceError: rows have no time, so there is no past to live through.
    """
    if not pipeline.ask.timed:
        what = f"rows of `{pipeline.ask.stream.name}` have no time, so there is no past to live through"
        raise SourceError(what, where=pipeline.name, cure="Ask about a stream")
    end = _EPOCH + timedelta(microseconds=until)
    late = end + pipeline.label.settled_after + _DAY
    whole = changed(pipeline, split=Periods((_EPOCH, late), (late, late + _DAY), (late + _DAY, late + 2 * _DAY)))
    as_of = round((late + 2 * _DAY).timestamp()) * 1_000_000
    record = features.build_training_set(whole, snapshots, read, folder, as_of, progress)
    return of(pipeline, record, until)


def of(pipeline: Pipeline, record: TrainingSet, until: int) -> Past:
    """The past in the first period of a training set.

    Raises:
        SourceError: nothing was asked until then.
    """
    frame = pl.read_parquet(Path(record.folder) / "train.parquet", glob=False)
    at = frame["asked_at"].cast(pl.Int64).to_numpy()
    rows = int(np.searchsorted(at, until, side="left"))
    if not rows:
        raise SourceError("nothing was asked until then", where=pipeline.name, cure="Give later dates")
    frame = frame[:rows].drop("asked_at")
    target = learn_target(frame["label"], pipeline.label)
    truth = target.encode(frame["label"]).astype(float)
    return Past(frame, at[:rows], at[:rows] + micros(pipeline.label.settled_after), truth, record.digest, target)
