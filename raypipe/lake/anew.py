"""Whether a log is still the one that was read: it may have been deleted and filled again under its name."""

from raypipe.contracts.records import Taken
from raypipe.contracts.streaming import Rereadable, StreamSource
from raypipe.errors import SourceError


def require_same(log: StreamSource, taken: Taken, where: str) -> None:
    """Hold the messages that were taken in last against those that stand at their offsets now.

    A message that is there no more tells nothing, nor does a log that cannot give one again.

    Args:
        log: what is about to be read on.
        taken: what was taken in.
        where: names table and log.

    Raises:
        SourceError: another message stands there; what comes after it need not be what comes next.
        ServiceError: the log cannot be reached.
    """
    last = {partition: offset for partition, offset in taken.last.items() if partition in taken.marks}
    if not last or not isinstance(log, Rereadable):
        return
    for partition, mark in log.again(last).marks.items():
        if mark != taken.marks[partition]:
            what = f"partition {partition} holds another message at offset {last[partition]} than was taken in there"
            cure = "Give the table another name, or the stream its old log"
            raise SourceError(f"{what}: the log was made anew", where=where, cure=cure)
