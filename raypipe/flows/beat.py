"""A sign of life of a process, in a file: losing it costs another attempt, never a wrong result."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

from raypipe.clock import Clock

#: Seconds between two signs.
EVERY = 5.0


@contextmanager
def beating(workspace: Path, job: str, clock: Clock, every: float = EVERY) -> Iterator[None]:
    """Give a sign of life until the work is over."""
    file, over = _file(workspace, job), Event()
    file.parent.mkdir(parents=True, exist_ok=True)

    def beat() -> None:
        while True:
            draft = file.with_suffix(".new")
            draft.write_text(str(clock.now()))
            draft.replace(file)
            if over.wait(every):
                return

    thread = Thread(target=beat, name="beat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def last(workspace: Path, job: str) -> int | None:
    """When it gave the last sign, microseconds UTC; None: never."""
    try:
        return int(_file(workspace, job).read_text())
    except (FileNotFoundError, ValueError):
        return None


def _file(workspace: Path, job: str) -> Path:
    return workspace / "retraining" / f"{job}.beat"
