"""Rows that a gate found bad and that are to be set aside: handed from the gate to whoever keeps the tables."""

from dataclasses import dataclass
from hashlib import sha256

import polars as pl

from raypipe.contracts.records import Snapshot


@dataclass(frozen=True)
class Faulty:
    """Some rows of one snapshot.

    Attributes:
        snapshot: whose rows they are.
        rows: columns ``row`` (the place of a row in the snapshot, from 0), ``check`` and ``reason``; each place once,
            in order.
    """

    snapshot: Snapshot
    rows: pl.DataFrame

    @property
    def name(self) -> str:
        """Names these rows and what is wrong with them: the same verdict on the same snapshot has the same name."""
        text = f"{self.snapshot.table}\0{self.snapshot.snapshot_id}\0{self.rows.write_ndjson()}"
        return sha256(text.encode()).hexdigest()[:32]

    @property
    def counts(self) -> dict[str, int]:
        """How many rows each check set aside."""
        return dict(self.rows.group_by("check", maintain_order=True).len().iter_rows())
