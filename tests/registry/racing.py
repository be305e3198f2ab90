"""Sixteen processes promote at once, again and again: `python -m tests.registry.racing HOME ROUNDS`.

They are forked from one process that has the imports done. Each round, all look, then all act. Prints for each round
the clients who were told that they won.
"""

import json
import multiprocessing
import sys
from multiprocessing.synchronize import Barrier
from pathlib import Path

from raypipe.clock import SystemClock
from raypipe.errors import RegistryError
from raypipe.ledger import Ledger
from raypipe.registry import Registry

CLIENTS = 16


def client(home: Path, me: int, rounds: int, together: Barrier, told: multiprocessing.SimpleQueue) -> None:
    registry = Registry(home / "registry", Ledger.in_folder(home, SystemClock()), "")
    for n in range(rounds):
        together.wait()
        champion = registry.champion("rides")
        together.wait()
        try:
            expect = champion.version if champion else None
            registry.promote("rides", 1 + n % 3, expect=expect, why="race", who=str(me))
        except RegistryError:
            continue
        told.put((n, me))


if __name__ == "__main__":
    home, rounds = Path(sys.argv[1]), int(sys.argv[2])
    context = multiprocessing.get_context("fork")
    together, told = context.Barrier(CLIENTS), context.SimpleQueue()
    processes = [context.Process(target=client, args=(home, me, rounds, together, told)) for me in range(CLIENTS)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    won: list[list[int]] = [[] for _ in range(rounds)]
    while not told.empty():
        n, me = told.get()
        won[n].append(me)
    print(json.dumps({"won": won, "exits": [process.exitcode for process in processes]}))
