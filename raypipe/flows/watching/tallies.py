"""What became of predictions as sums that add up, by version, arm and segment: whatever is new is counted once."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import polars as pl

from raypipe.contracts.counts import latency_cells
from raypipe.flows.figures import SEGMENT, VALUE
from raypipe.flows.measure import Measure
from raypipe.stats.arrays import Ints

#: A version, an arm and a segment, which is empty for all.
Part: TypeAlias = tuple[str, str, str]
_PLACE = "__place"


@dataclass
class Tally:
    """What became of some predictions.

    Attributes:
        predictions: how many were answered.
        labelled: of these, how many have a label.
        lost: the sum of their losses.
        wrong: how many of them are errors; None where it is unknown what an error is.
        latency: answers by the cell of their latency, see `raypipe.contracts.counts`.
        values: of each figure that the pipeline declares, in how many rows it is known, and their sum.
    """

    predictions: int = 0
    labelled: int = 0
    lost: float = 0.0
    wrong: int | None = None
    latency: Counter[int] = field(default_factory=Counter)
    values: dict[str, tuple[int, float]] = field(default_factory=dict)

    def add(self, other: "Tally") -> None:
        """Others have become of what they have become of."""
        self.predictions += other.predictions
        self.labelled += other.labelled
        self.lost += other.lost
        self.wrong = other.wrong if self.wrong is None else self.wrong + (other.wrong or 0)
        for cell, count in other.latency.items():
            self.latency[cell] += count
        for name, (rows, total) in other.values.items():
            before = self.values.get(name, (0, 0.0))
            self.values[name] = before[0] + rows, before[1] + total


def tallied(rows: pl.DataFrame, measure: Measure, by: Sequence[str]) -> dict[Part, Tally]:
    """The tallies of predictions as `raypipe.flows.figures.joined` gives them, and of each value of some fields."""
    truth, score = rows["truth"].to_numpy(), rows["score"].to_numpy()
    known = rows["truth"].is_not_null().to_numpy()
    lost = np.zeros(rows.height)
    lost[known] = measure.losses(score[known], truth[known])
    wrong = None if measure.wrong is None else rows.select(measure.wrong.fill_null(value=False)).to_series().to_numpy()
    latency = rows["latency"].to_numpy() / 1e6
    figures = {name.removeprefix(VALUE): rows[name] for name in rows.columns if name.startswith(VALUE)}
    values = {name: (of.is_not_null().to_numpy(), of.fill_null(0.0).to_numpy()) for name, of in figures.items()}
    found: dict[Part, Tally] = {}
    for part, places in _parts(rows, by):
        found[part] = Tally(
            predictions=len(places),
            labelled=int(known[places].sum()),
            lost=float(lost[places].sum()),
            wrong=None if wrong is None else int((wrong[places] & known[places]).sum()),
            latency=Counter(latency_cells(latency[places])),
            values={name: (int(told[places].sum()), float(of[places].sum())) for name, (told, of) in values.items()},
        )
    return found


def together(some: Iterable[Mapping[Part, Tally]]) -> dict[Part, Tally]:
    """Tallies of other rows, added up."""
    found: dict[Part, Tally] = {}
    for tallies in some:
        for part, tally in tallies.items():
            found.setdefault(part, Tally()).add(tally)
    return found


def _parts(rows: pl.DataFrame, by: Sequence[str]) -> Iterable[tuple[Part, Ints]]:
    """Which rows are of which part."""
    for name in ("", *by):
        keys = ["version", "arm", *([SEGMENT + name] if name else [])]
        groups = (
            rows.select(*keys, pl.int_range(pl.len()).alias(_PLACE)).group_by(keys, maintain_order=True).agg(_PLACE)
        )
        for row, places in zip(groups.select(keys).iter_rows(), groups[_PLACE], strict=True):
            yield (str(row[0]), str(row[1]), f"{name}={row[2]}" if name else ""), places.to_numpy()
