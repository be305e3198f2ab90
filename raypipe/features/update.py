"""What a stored state becomes when its tables gain rows: only the entities that gained events are touched.

New events are merged with those that are stored of their entity; nothing of the history is read again. Where that
cannot be exact, the entity is made anew from the lake: when rows of it are gone or were corrected, and when an event
came late that happened at the same moment as a stored one, whose id is not stored, while the order of both matters.
"""

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import polars as pl

from raypipe.contracts.changes import Changes, Since
from raypipe.contracts.progress import Step
from raypipe.contracts.records import Materialized, Snapshot
from raypipe.contracts.stores import Reading
from raypipe.features import events, keys, state
from raypipe.features.cut import Cut
from raypipe.features.layout import head_of
from raypipe.features.packing import pack
from raypipe.features.plan import GroupPlan, plans
from raypipe.features.reading import Tables
from raypipe.features.spans import states
from raypipe.features.states import EXACT_FOR, entity_blocks, table_states, trimmed
from raypipe.features.tally import Change, Tally
from raypipe.spec import Pipeline, TableFeatures
from raypipe.stats import kernel
from raypipe.stats.arrays import Ints
from raypipe.stats.blocks import Block, Shared, ties
from raypipe.stats.tracks import Track

Item = tuple[bytes, bytes | None]
#: About so many bytes of stored values are worked on at a time: they and what is made of them stay in the cache.
AT_ONCE = 4 * 2**20
#: Of so few entities at least, and so many at most.
FEW, MOST = 4, 4_000


@dataclass
class Update:
    """From one published state to a later one.

    Attributes:
        tables: as they are to be.
        current: the state that there is.
        reading: gives its values.
        as_of: nothing known later is used; microseconds UTC.
        changes: what became of each table that changed, by name.
    """

    tables: Tables
    current: Materialized
    reading: Reading
    as_of: int
    changes: dict[str, Changes]

    def __post_init__(self) -> None:
        self._tally = Tally(self.current.entities, self.current.bytes, self.current.digest)

    @classmethod
    def of(cls, tables: Tables, current: Materialized, reading: Reading, as_of: int, since: Since) -> "Update | None":
        """None when a state is better loaded anew: most rows are new, or it is not known which are."""
        before = {snapshot.table: snapshot for snapshot in current.snapshots}
        changes: dict[str, Changes] = {}
        for source in tables.pipeline.sources:
            old, new = before[source.name], tables.snapshots[source.name]
            found = since(old, new)
            if found is None or (source in tables.pipeline.streams and (found.anew or new.rows > 2 * old.rows)):
                return None
            changes[source.name] = found
        return cls(tables, current, reading, as_of, changes)

    def items(self, step: Step) -> Iterator[Item]:
        """Every key whose value changes, with its new value; None: it goes."""
        compiled = list(plans(self.tables.pipeline))
        for number, plan in enumerate(compiled):
            yield from self._counted(self._group(number, plan))
            step.advance(note=", ".join(list(plan.group.features)[:3]))
        for number, item in enumerate(_looked_up(self.tables.pipeline), start=len(compiled)):
            yield from self._counted(self._table(number, item))
            step.advance(note=item.table.name)

    def record(self, used: tuple[Snapshot, ...]) -> Materialized:
        """What the state is once all items are in it."""
        return msgspec.structs.replace(
            self.current,
            snapshots=used,
            watermark=self.as_of,
            oldest=self.as_of - EXACT_FOR,
            entities=self._tally.entities,
            bytes=self._tally.bytes,
            digest=self._tally.digest.hexdigest(),
        )

    def _counted(self, values: Iterable[Change]) -> Iterator[Item]:
        """Those that are not what they were."""
        changes = [one for one in values if one[1] != one[2]]
        self._tally.replaced(changes)
        return ((key, new) for key, _, new in changes)

    def _group(self, number: int, plan: GroupPlan) -> Iterator[Change]:
        found, gone = self._events(plan)
        names = [f"k{i}" for i in range(len(plan.group.key))]
        anew = gone.select(names).unique()
        found = found.join(anew, on=names, how="anti", maintain_order="left") if anew.height else found
        if found.height:
            tied = yield from self._merged(number, plan, found)
            anew = pl.concat([anew, tied])
        if anew.height:
            yield from self._anew(number, plan, anew)

    def _events(self, plan: GroupPlan) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Events that are new to the store, and those that are in it and must go."""
        changes, before = self.changes[plan.group.moment.stream.name], self.current.watermark
        columns = list(dict.fromkeys((*plan.group.moment.stream.id, *plan.columns)))
        gained, gone = changes.gained.select(columns), changes.gained.select(columns).clear()
        later = [changes.kept.select(columns)]
        if changes.lost is not None:
            rows, lost = gained.collect(), changes.lost.select(columns).collect()
            gained = rows.join(lost, on=columns, how="anti", nulls_equal=True, maintain_order="left").lazy()
            gone = lost.join(rows, on=columns, how="anti", nulls_equal=True).lazy()
            later.append(rows.join(lost, on=columns, how="semi", nulls_equal=True, maintain_order="left").lazy())
        known = events.events(plan, gained, self.as_of)
        since_then = events.events(plan, pl.concat(later).filter(plan.known_at() > before), self.as_of)
        return pl.concat([known, since_then]).collect(), events.events(plan, gone, before).collect()

    def _merged(self, number: int, plan: GroupPlan, found: pl.DataFrame) -> Generator[Change, None, pl.DataFrame]:
        """Entities with new events; returns the keys of those that cannot be merged."""
        coded, _, known = events.numbered(found, found.select(pl.col("^k[0-9]+$")).head(0), plan.group.where)
        tracks = events.tracks(plan, coded, known.height)
        tied: list[Ints] = []
        under = [key for row in known.iter_rows() if (key := keys.stored(number, row)) is not None]
        for first, here, values in self._portions(under):
            groups: dict[bytes, list[int]] = {}
            for i, value in enumerate(values):
                groups.setdefault(b"" if value is None else head_of(value), []).append(i)
            for head, members in groups.items():
                stored = [value for i in members if (value := values[i]) is not None]
                numbers = np.array(members) + first
                blocks, left = _with_stored(plan, tracks, numbers, head, stored)
                tied.append(np.setdiff1d(numbers, left))
                packed = pack(plan, trimmed(plan, blocks, self.as_of - EXACT_FOR)) if blocks else []
                places = (left - first).tolist()
                yield from ((here[i], values[i], value or None) for i, value in zip(places, packed, strict=True))
        return known[np.concatenate(tied)]

    def _portions(self, under: Sequence[bytes]) -> Iterator[tuple[int, Sequence[bytes], list[bytes | None]]]:
        """Some of the keys at a time, from which on, and what is stored of them: about `AT_ONCE` bytes."""
        first, some = 0, FEW
        while first < len(under):
            here = under[first : first + some]
            values = self.reading.get(here)
            yield first, here, values
            size = sum(len(value) for value in values if value is not None)
            first, some = first + some, min(4 * some, max(FEW, AT_ONCE * some // (size + 1)), MOST)

    def _anew(self, number: int, plan: GroupPlan, wanted: pl.DataFrame) -> Iterator[Change]:
        """Entities from all their events in the lake; those that have none any more go."""
        names = wanted.columns
        rows = events.events(plan, self.tables.table(plan.group.moment.stream.name), self.as_of)
        whole = Cut(rows.join(wanted.lazy(), on=names, how="semi"), self.tables.scratch)
        made = dict(states(number, plan, whole.part(), self.as_of))
        under = [key for row in wanted.iter_rows() if (key := keys.stored(number, row)) is not None]
        yield from ((key, old, made.get(key)) for key, old in zip(under, self.reading.get(under), strict=True))

    def _table(self, number: int, item: TableFeatures) -> Iterator[Change]:
        changes = self.changes[item.table.name]
        if changes.lost is None and not changes.gained.head(1).collect().height:
            return
        before = [changes.kept] + ([] if changes.lost is None else [changes.lost])
        gone = dict(table_states(number, item, pl.concat(before)))
        made = dict(table_states(number, item, self.tables.table(item.table.name)))
        every = [*made, *(gone.keys() - made.keys())]
        yield from ((key, gone.get(key), made.get(key)) for key in every)


def _with_stored(
    plan: GroupPlan, tracks: Sequence[Track], numbers: Ints, head: bytes, stored: Sequence[bytes]
) -> tuple[list[Block], Ints]:
    """New events with the stored ones of the same entities, and which entities are left.

    Args:
        plan: the compiled group.
        tracks: all new events.
        numbers: of the entities, which have the same layout.
        head: what their values begin with.
        stored: their values; none, if nothing is stored of any.
    """
    new = entity_blocks(plan, tracks, numbers)
    if not stored:
        return new, numbers
    old = state.blocks_of(plan, head, stored)
    if len(alike := _without_order(plan, old, new, len(numbers))) < len(numbers):
        numbers = numbers[alike]
        if not len(numbers):
            return [], numbers
        new = entity_blocks(plan, tracks, numbers)
        old = state.blocks_of(plan, head, [stored[i] for i in alike.tolist()])
    shared = Shared()
    return [kernel.merge(one, other, shared) for one, other in zip(old, new, strict=True)], numbers


def _without_order(plan: GroupPlan, old: Sequence[Block], new: Sequence[Block], many: int) -> Ints:
    """Places of the entities whose events at the same moment need not be told apart."""
    ordered = [i for i, shape in enumerate(plan.tracks) if shape.kept]
    tied = [ties(old[i].slots, new[i].slots) for i in ordered]
    return np.setdiff1d(np.arange(many), np.concatenate(tied)) if tied else np.arange(many)


def _looked_up(pipeline: Pipeline) -> list[TableFeatures]:
    return [item for item in pipeline.inputs if isinstance(item, TableFeatures)]
