"""The offline driver on Ray Data, for histories beyond one machine: one keyed repartition, the kernel in each part."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import polars as pl
import pyarrow as pa

from raypipe.contracts.records import Snapshot
from raypipe.errors import FeatureError
from raypipe.features import events, frames, keys, tiles
from raypipe.features.asking import compute
from raypipe.features.cut import Cut
from raypipe.features.gathered import pieces
from raypipe.features.heavy import heavy_answers, heavy_keys
from raypipe.features.plan import GroupPlan
from raypipe.features.spans import answer
from raypipe.spec.shape import in_lake
from raypipe.stats.arrays import Ints
from raypipe.stats.tracks import Answer

if TYPE_CHECKING:
    from ray.data import Dataset

ROW, PART = "__row", "__part"
#: Up to so many asked keys go to where blocks are read, so that events of other keys stay there.
KEYS_SENT = 1_000_000


class Scan(Protocol):
    """Gives rows of a snapshot to the cluster."""

    def __call__(self, snapshot: Snapshot, columns: Sequence[str], /) -> "Dataset":
        """Some columns of a snapshot, each id once, in any order."""
        ...


class Portion(Protocol):
    """All rows of some keys of a stream."""

    def holds(self, key: pl.Expr, /) -> pl.Expr:
        """True for keys that belong here."""
        ...

    def rows(self, columns: Sequence[str], /) -> pl.LazyFrame:
        """Some columns of them, each id once, in any order."""
        ...


class Laid(Protocol):
    """Tells how a snapshot is laid out."""

    def __call__(self, snapshot: Snapshot, by: str, /) -> Sequence[Portion] | None:
        """Its rows in portions by a column; None when it is not laid out so."""
        ...


def in_portions(
    plan: GroupPlan, portions: Sequence[Portion], asked: pl.DataFrame, times: Ints, known_by: int
) -> list[pl.Series]:
    """The same of a stream that is laid out by the first part of the key: nothing is sent around but questions.

    A task keeps its portion's events in files while it works, so that of a heavy key a span of time is in memory.

    Args:
        plan: the compiled group.
        portions: of the stream.
        asked: the questions' keys.
        times: when they are asked.
        known_by: events known later are left out.
    """
    import ray
    import ray.data

    row = pl.int_range(len(times), dtype=pl.Int64).alias(ROW)
    questions, seen_from = asked.with_columns(row, pl.Series(events.TIME, times)), _seen_from(plan, times)
    shared = ray.put((tuple(portions), questions))

    def features_of_portion(numbers: pa.Table) -> pa.Table:
        portions, questions = ray.get(shared)
        (number,) = numbers["id"].to_pylist()
        key = pl.col("k0")
        # Nobody's questions belong to no portion.
        mine = portions[number].holds(key) | (key.is_null() & (number == 0))
        wanted = questions.filter(mine)
        found = events.events(plan, portions[number].rows(plan.columns), known_by)
        if seen_from is not None:
            found = found.filter(pl.col(events.TIME) >= seen_from)
        found = found.join(wanted.lazy().select(asked.columns).unique(), on=asked.columns, how="semi")
        held = Cut(found)
        answers = answer(plan, held.part(), wanted.select(asked.columns), wanted[events.TIME].to_numpy())
        return answered(plan, wanted[ROW], answers).to_arrow(compat_level=pl.CompatLevel.oldest())

    numbers = ray.data.range(len(portions), override_num_blocks=len(portions))
    made = numbers.map_batches(features_of_portion, batch_format="pyarrow", batch_size=1)
    return ordered(plan, list(pieces(made)), len(times))


def group_features(
    plan: GroupPlan,
    rows: "Dataset",
    many: int,
    asked: pl.DataFrame,
    times: Ints,
    known_by: int,
    parts: int,
    scratch: Path | None = None,
) -> list[pl.Series]:
    """The columns of one feature group, one value a question, worked out all over the cluster.

    Blocks of the stream become events where they are read, and those become tiles if that saves much; they and the
    questions of a key meet in one of ``parts``; what comes back is put in the order of the questions. Heavy keys, whose
    events are not tiled, are answered apart. The bytes are those of the way within one process.

    Args:
        plan: the compiled group.
        rows: the stream, with the columns of ``plan.columns``.
        many: how many rows there are.
        asked: the questions' keys.
        times: when they are asked.
        known_by: events known later are left out.
        parts: how many; more than there are CPUs, and each must fit into memory.
        scratch: where events of heavy keys lie meanwhile; None: where the system keeps such files.
    """
    import ray
    import ray.data

    seen_from, cut = _seen_from(plan, times), tiles.cells(plan, asked, times, many)
    wanted = asked.unique().drop_nulls()
    kinds, nobody = _kinds(plan, cut), wanted.clear()
    shared = ray.put((cut, wanted if wanted.height <= KEYS_SENT else None))

    def seen(block: pa.Table) -> pl.DataFrame:
        _, wanted = ray.get(shared)
        # What no question can see is not sent around.
        found = events.events(plan, pl.DataFrame(block).lazy(), known_by)
        if seen_from is not None:
            found = found.filter(pl.col(events.TIME) >= seen_from)
        if wanted is not None:
            found = found.join(wanted.lazy(), on=wanted.columns, how="semi")
        return found.collect()

    heavy = heavy_keys(rows, seen, many, nobody) if cut is None else nobody

    def events_of_block(block: pa.Table) -> pa.Table:
        cut, _ = ray.get(shared)
        return _arrow(_placed(plan, _without(heavy, seen(block)), cut, parts), kinds)

    def features_of_keys(part: pa.Table) -> pa.Table:
        return _features(plan, pl.DataFrame(part), of_tiles=cut is not None)

    row = pl.int_range(len(times), dtype=pl.Int64).alias(ROW)
    mine = keys.bucket([pl.col(name) for name in asked.columns], parts).alias(PART)
    questions = asked.with_columns(row, mine, pl.Series(events.TIME, times))
    apart = heavy_answers(plan, rows, seen, heavy, questions, scratch)
    made = [answered(plan, about[ROW], answers) for about, answers in apart]
    found = rows.map_batches(events_of_block, batch_format="pyarrow", zero_copy_batch=True)
    together = found.union(ray.data.from_arrow(_arrow(_without(heavy, questions), kinds)))
    light = together.groupby(PART, num_partitions=parts).map_groups(features_of_keys, batch_format="pyarrow")
    return ordered(plan, [*made, *pieces(light)], len(times))


def _without(some: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    """Rows of other keys than some."""
    return rows.join(some, on=some.columns, how="anti", maintain_order="left") if some.height else rows


def ordered(plan: GroupPlan, pieces: Sequence[pl.DataFrame], many: int) -> list[pl.Series]:
    """The answers to so many questions in their order, from pieces that tell their numbers.

    Raises:
        FeatureError: some are missing, or there twice.
    """
    whole = pl.concat([piece for piece in pieces if piece.height] or [_nothing(plan)]).sort(ROW)
    if not whole[ROW].equals(pl.Series(np.arange(many))):
        what = f"the cluster answered {whole.height:,} of {many:,} questions"
        raise FeatureError(what, where=plan.group.where, cure="Run it again")
    return whole.drop(ROW).get_columns()


def _seen_from(plan: GroupPlan, times: Ints) -> int | None:
    """The earliest event time that any question can see; None when one can see the whole past."""
    if not len(times) or any(track.endless for track in plan.tracks):
        return None
    first = int(times.min())
    return min(track.first_needed(first, plan.delay) for track in plan.tracks)


def _placed(plan: GroupPlan, found: pl.DataFrame, cut: tiles.Cells | None, parts: int) -> pl.DataFrame:
    """Events, or tiles of them, with the part that they belong to."""
    found = found if cut is None else tiles.tiled(plan, found, cut)
    names = [f"k{i}" for i in range(len(plan.group.key))]
    mine = keys.bucket([pl.col(name) for name in names], parts).alias(PART)
    return found.with_columns(mine, pl.lit(-1, dtype=pl.Int64).alias(ROW))


def _features(plan: GroupPlan, part: pl.DataFrame, *, of_tiles: bool) -> pa.Table:
    """The features of the questions of one part, each with the number of its question."""
    names = [f"k{i}" for i in range(len(plan.group.key))]
    questions = part.filter(pl.col(ROW) >= 0)
    found = part.filter(pl.col(ROW) < 0).drop(ROW, PART)
    if of_tiles:
        coded, numbers, known = events.numbered(found, questions.select(names), plan.group.where)
        answers = compute(plan, tiles.tracks(plan, coded, known.height), numbers, questions[events.TIME].to_numpy())
    else:
        answers = answer(plan, found.lazy(), questions.select(names), questions[events.TIME].to_numpy())
    return answered(plan, questions[ROW], answers).to_arrow(compat_level=pl.CompatLevel.oldest())


def answered(plan: GroupPlan, rows: pl.Series, answers: Sequence[Answer]) -> pl.DataFrame:
    """Features beside the numbers of their questions."""
    columns = [frames.Made(f.name, f.dtype, answer).column() for f, answer in zip(plan.features, answers, strict=True)]
    return pl.DataFrame([rows, *columns])


def _kinds(plan: GroupPlan, cut: tiles.Cells | None) -> pl.Schema:
    """What events and questions look like on their way to one another."""
    nothing = events.events(plan, pl.LazyFrame(schema=in_lake(plan.group.moment.stream)), 0).collect()
    return _placed(plan, nothing, cut, 1).schema


def _arrow(frame: pl.DataFrame, kinds: pl.Schema) -> pa.Table:
    """With all columns in one order; those that are not there are null."""
    whole = frame.select(pl.col(n) if n in frame.columns else pl.lit(None, dtype=k).alias(n) for n, k in kinds.items())
    return whole.to_arrow(compat_level=pl.CompatLevel.oldest())


def _nothing(plan: GroupPlan) -> pl.DataFrame:
    return pl.DataFrame(schema={ROW: pl.Int64()} | {feature.name: feature.dtype for feature in plan.features})
