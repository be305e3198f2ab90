"""How many pipelines one machine serves at once, what one more of them costs, and how nodes share a batch."""

from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import psutil

from benchmarks.report import QUICK, Row
from benchmarks.scale import rides
from benchmarks.scale.command import Home, timed
from benchmarks.scale.past import Past
from raypipe.services.processes import tree

SERVED = (1,) if QUICK else (1, 4, 10)
#: Memory that is left to the others on this machine.
SPARE = 3 * 2**30
QUESTION = {"ride": "r1", "zone": "a", "asked_at": "2013-07-01T09:00:00Z"}


def measure() -> Iterator[Row]:
    """Pipelines put into service one after the other, as `raypipe deploy` does it."""
    with TemporaryDirectory(prefix="raypipe-scale-") as folder:
        home, made = Home(Path(folder) / "ws"), Path(folder) / "made"
        past = Past(home.workspace, made)
        names = [f"rides_{number:03}" for number in range(SERVED[-1])]
        for name in names:
            past.promoted(name, 1)
        past.close()
        try:
            home.call("up")
            idle, there = _memory(home), 0
            for many in SERVED:
                files = [str(rides.definition(made, name)) for name in names[there:many]]
                took = [timed(partial(home.call, "deploy", file))[1] for file in files]
                if not all(_answers(home, name) for name in names[:many]):
                    raise RuntimeError(f"not all of {many} pipelines answer")
                there, now = many, _memory(home)
                figures = {
                    "status_s": home.seconds("status"),
                    "deploy_one_s": sum(took) / len(took),
                    "memory_mb": now / 2**20,
                    "mb_each": (now - idle) / many / 2**20,
                }
                yield Row("raypipe", f"{many} served", figures)
                if psutil.virtual_memory().available < SPARE:
                    break
        finally:
            home.call("down")


def _answers(home: Home, name: str) -> bool:
    """Whether a pipeline gives the very probability that its model stands for."""
    url = f"http://127.0.0.1:{home.settings['RAYPIPE_SERVE_PORT']}/{name}/predict"
    answer = httpx.post(url, json=QUESTION, timeout=30)
    return answer.status_code == 200 and 0 < answer.json()["probability"] < 1


def _memory(home: Home) -> int:
    """Bytes that the services of a workspace hold; what processes share counts once."""
    found = 0
    for process in tree((), str(home.workspace)):
        with suppress(psutil.Error):  # ended meanwhile
            found += process.memory_full_info().pss
    return found
