"""Small sources: a stream of trips with one later moment, and the towns that they go to."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from raypipe.spec import Stream, Table, csv, minutes

HEADER = "id,town,started,minutes,fare\n"
START = datetime(2024, 1, 1, tzinfo=UTC)


def towns(path: Path) -> Table:
    return Table("towns", csv(str(path)), key="town", columns={str: "town zone", int: "size"})


def trips(path: Path | None, at: Table | None = None, **changes: object) -> Stream:
    """Trips: known when started; from ``ended_at`` on, how long they took and what they cost."""
    declared: dict[str, object] = {
        "id": ["id"],
        "time": "started",
        "columns": {int: "id", str: "town", datetime: "started", float: "minutes fare"},
        "derive": {
            "ended_at": pl.col("started") + pl.duration(seconds=(pl.col("minutes") * 60).round()),
            **({"zone": at.lookup("zone", by="town")} if at else {}),
        },
        "reveals": {"ended_at": ["minutes", "fare"]},
        "delay": minutes(5),
    }
    history = changes.pop("history", None if path is None else csv(str(path)))
    return Stream("trips", history, **(declared | changes))  # type: ignore[arg-type]


def line(id: int, town: str = "Bern", minutes: float | None = 10.0, fare: float | None = 7.5) -> str:
    started = (START + timedelta(hours=id)).isoformat()
    return f"{id},{town},{started},{'' if minutes is None else minutes},{'' if fare is None else fare}\n"


def lines(*ids: int) -> str:
    return "".join(line(id) for id in ids)
