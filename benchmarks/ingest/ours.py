"""The same with raypipe: exactly once, strict types, repeats dropped, poison kept."""

from datetime import datetime
from pathlib import Path

from raypipe import Stream, csv, kafka, parquet
from raypipe.contracts.progress import Silent
from raypipe.lake import Lake
from raypipe.spec.files import Files
from raypipe.spec.live import Live

_COLUMNS = {int: "id", str: "town driver", datetime: "started", float: "minutes fare"}


def stream(history: Files | None, live: Live | None = None) -> Stream:
    """Trips from files, a log, or both."""
    return Stream("trips", history, live=live, id=["id"], time="started", columns=_COLUMNS)


def from_kafka(address: str, lake: Path, topic: str) -> None:
    """Take in what waits in a topic, and let readers see it."""
    _take_in(lake, stream(None, kafka(topic)), {"kafka": {"bootstrap.servers": address}})


def from_files(folder: Path, kind: str, lake: Path) -> None:
    """Take in a folder, and let readers see it."""
    declared = {"csv": csv, "parquet": parquet}[kind]
    _take_in(lake, stream(declared(str(folder / kind))), {})


def _take_in(folder: Path, source: Stream, connections: dict[str, dict[str, str]]) -> None:
    lake = Lake(folder, connections=connections)
    lake.publish([lake.ingest(source, Silent())])
