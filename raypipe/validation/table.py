"""One table before its gate: which of its rows are judged, and which of those are new.

Whatever is to be published is judged, whenever it is known. Only rows that were published before, and passed their gate
then, wait for their time: a run that pretends to be at an earlier moment is not stopped by what came later.
"""

from dataclasses import dataclass
from functools import cached_property

import polars as pl

from raypipe.validation.parts import Blocks
from raypipe.validation.reference import Reference
from raypipe.validation.subject import Subject


@dataclass(frozen=True)
class Table:
    """A table before its gate.

    Attributes:
        subject: declares it.
        rows: all of it, or, once it is being judged, its rows that are.
        before: what of it was published before, as far as it is compared with; None when nothing was.
        as_of: the run's moment, in microseconds UTC.
        height: how many rows all of it has; asked where some were published before.
        files: those that came since.
        reference: what checks compare with; None when nothing was published.
        incomparable: why what was published before cannot be read; empty when it can.
        published: the rows of files that were published before, when nothing is lost of them; None: all are to be.
        gained: the rows of all other files; None: all are.
        blocks: asks the blocks of the rows published before, or of all where these are not told apart, where the
            cluster is to do that; None: one scan here.
    """

    subject: Subject
    rows: pl.LazyFrame
    before: pl.LazyFrame | None
    as_of: int
    height: int = 0
    files: tuple[str, ...] = ()
    reference: Reference | None = None
    incomparable: str = ""
    published: pl.LazyFrame | None = None
    gained: pl.LazyFrame | None = None
    blocks: Blocks | None = None

    @cached_property
    def judged(self) -> pl.LazyFrame:
        """Its rows that are judged, told apart by the files that they are in."""
        if self.kept is None or self.gained is None:
            return self.rows
        names = self.rows.collect_schema().names()
        return pl.concat([self.kept.select(names), self.gained.select(names)])

    def without_waiting(self, rows: pl.LazyFrame) -> pl.LazyFrame:
        """Of these rows of its own, those that are judged, in their order, told apart by their ids."""
        if self._waiting.is_empty():
            return rows
        ids = list(self.subject.id)
        return rows.join(self._waiting.lazy(), on=ids, how="anti", nulls_equal=True, maintain_order="left")

    @cached_property
    def _waiting(self) -> pl.DataFrame:
        """The ids of rows that were published before and are known later only."""
        waits = self.subject.waits(self.as_of)
        if self.published is None or waits is None:
            return pl.DataFrame()
        return self.published.filter(waits).select(self.subject.id).collect(engine="streaming")

    def taken(self, judged: int) -> dict[str, pl.Series]:
        """By check ``unique``, the values of rows that wait for their time, but for those that judged ones kept have.

        Args:
            judged: how many rows are judged; when no more are there, nothing is read.
        """
        checks = [check for check in self.subject.gate if check.kind == "unique"]
        waits = self.subject.waits(self.as_of)
        if not checks or waits is None or self.published is None or self.kept is None or judged >= self.height:
            return {}
        found: dict[str, pl.Series] = {}
        for check in checks:
            names = list(check.columns)
            kept = self.kept.select(names)
            alone = self.published.filter(waits).select(names).join(kept, on=names, how="anti", nulls_equal=True)
            values = alone.unique().collect(engine="streaming")
            found[check.name] = values.to_series() if len(names) == 1 else values.to_struct()
        return found

    @cached_property
    def kept(self) -> pl.LazyFrame | None:
        """Those of the rows published before that are judged; None: they are not told apart."""
        return None if self.published is None else self.subject.known(self.published, self.as_of)

    @cached_property
    def new_rows(self) -> pl.LazyFrame:
        """The rows that were not there before; all when there are none, or where rows do not join others.

        By the files that came, where they are known to hold nothing else, otherwise by their ids. They are found once,
        for all checks that compare, with the columns that these compare.
        """
        if self.before is None or not self.subject.grows:
            return self.rows
        if self.gained is not None:
            # Of its one column a few values are read; of all columns it would be a group of rows.
            some = self.gained.select(self.subject.id[0]).head(1).collect(engine="streaming").height
            return self.gained if some else self.rows
        ids = list(self.subject.id)
        compared = {name for check in self.subject.gate if check.kind == "drift" for name in check.columns}
        rows = self.rows.select(list(dict.fromkeys((*ids, *sorted(compared)))))
        new = rows.join(self.before.select(ids), on=ids, how="anti", nulls_equal=True).collect()
        return new.lazy() if new.height else self.rows
