"""A log followed while it grows: each look reads what is new, from files and from the lake, and commits nothing."""

from collections.abc import Sequence

import polars as pl

from raypipe.contracts.segment import segments
from raypipe.errors import WorkspaceError
from raypipe.flows.collect import LogFiles, log_folder
from raypipe.flows.platform import Platform


class Tail:
    """What one log of a pipeline says, look by look.

    Rows go from segments into the lake. They are read from the segments; of what went into the lake before they were
    seen, the files of those commits alone are read. Now and then a row is given a second time, never not at all.

    Args:
        platform: where the log is.
        files: its kind.
        pipeline: whose log it is.
        columns: that are read, ``at`` among them.
    """

    def __init__(self, platform: Platform, files: LogFiles, pipeline: str, columns: Sequence[str]) -> None:
        self._columns, self._reading = list(columns), files.follow(columns)
        self._table = platform.lake.log(files.kind, pipeline)
        self._folder = log_folder(platform.workspace) / files.kind.name / pipeline
        self._nothing = pl.DataFrame(schema={name: files.kind.columns[name] for name in columns})
        self._snapshot: int | None = None
        self._read: dict[str, int] = {}

    def more(self, since: int) -> pl.DataFrame | None:
        """Rows that were logged since the last look; at the first one all that are there.

        Args:
            since: what was logged before is left out, microseconds UTC.

        Returns:
            None: the table was written anew, or was not looked at for hours: what it says now a new tail tells.

        Raises:
            WorkspaceError: the log cannot be read.
        """
        found = self._table.added(self._snapshot, self._read, since)
        if found is None:
            return None
        frames = [found.rows.select(self._columns).collect()] if found.files else []
        # The table first: what leaves the files after that is in a commit that the next look finds.
        ends: dict[str, int] = dict(found.positions)
        for path in segments(self._folder):
            start = max(ends.get(path.name, 0), self._read.get(path.name, 0))
            try:
                if path.stat().st_size > start:
                    rows, start = self._reading(path, start)
                    frames.append(rows)
            except FileNotFoundError:
                continue  # it is all in the lake now
            except OSError as error:
                raise WorkspaceError(f"cannot be read: {error.strerror}", where=str(path)) from None
            ends[path.name] = start
        self._snapshot, self._read = found.snapshot, ends
        if not frames:
            return self._nothing
        return pl.concat(frames).filter(pl.col("at").cast(pl.Int64) >= since)
