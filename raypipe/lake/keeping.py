"""A lake kept small, and what is to be forgotten forgotten."""

from dataclasses import replace

import polars as pl
from polars.exceptions import PolarsError
from pyiceberg.exceptions import CommitFailedException

from raypipe.errors import SourceError
from raypipe.lake.aside import erase_quarantined, quarantine_table
from raypipe.lake.catalog import load_table
from raypipe.lake.home import Home
from raypipe.lake.ingest import ATTEMPTS
from raypipe.lake.state import INCOMING, head, main_of
from raypipe.lake.upkeep import Kept, erase_rows, expire, forget_metadata, remove_orphans, rewrite, scattered
from raypipe.spec import Source
from raypipe.spec.shape import in_lake


class Keeping(Home):
    """The part of a lake that tidies and erases."""

    def erase(self, source: Source, column: str, value: str) -> tuple[int, int]:
        """Remove every row with this value in a column: from ``main``, the quarantine, all older snapshots, the files.

        Rows that no gate has passed are let go too, and come in again. Doing it again changes nothing.

        Returns:
            How many rows of ``main``, and how many quarantined ones, there were.

        Raises:
            SourceError: the value is not of the column's type.
        """
        try:
            wanted = pl.Series(column, [value]).cast(in_lake(source)[column])
        except PolarsError:
            what = f"`{value}` is not {in_lake(source)[column]}"
            raise SourceError(what, where=f"{source.name}.{column}", cure="Give it as the column holds it") from None
        rows = aside = 0
        with self._workspace_errors():
            for _ in range(ATTEMPTS):
                try:
                    if (table := load_table(self._catalog, source.name)) is not None:
                        rows += erase_rows(table, pl.col(column) == pl.lit(wanted.item()))
                        forget_metadata(table.refresh())
                    aside += erase_quarantined(self._catalog, source.name, wanted, value)
                    expire(quarantine_table(self._catalog))
                    forget_metadata(quarantine_table(self._catalog))
                except CommitFailedException:
                    continue  # somebody else moved a table: look again
                return rows, aside
        raise self._overtaken(source.name)

    def tidy(self, source: Source, expire_before: int, orphans_before: int, by: str = "") -> Kept:
        """Write a scattered table into few files, expire old snapshots, remove files that nobody names.

        Args:
            source: whose table it is.
            expire_before: snapshots made earlier go, microseconds UTC; what branches point at stays.
            orphans_before: files that nobody names go when they were written earlier.
            by: a column that a long table is laid out by when it is written anew; empty: by none.
        """
        with self._workspace_errors():
            for _ in range(ATTEMPTS):
                if (table := load_table(self._catalog, source.name)) is None:
                    return Kept()
                try:
                    if scattered(table) and head(table, INCOMING) == main_of(table):
                        rewrite(table, by=by)
                    kept = expire(table.refresh(), expire_before)
                except CommitFailedException:
                    continue  # somebody else moved the table: look again
                aside = quarantine_table(self._catalog)
                orphans = sum(remove_orphans(one, orphans_before) for one in (table.refresh(), aside))
                return replace(kept, removed=kept.removed + orphans)
        raise self._overtaken(source.name)
