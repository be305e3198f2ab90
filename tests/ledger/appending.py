"""Several processes open a new ledger at the same moment and append: `python -m tests.ledger.appending FOLDER N ROWS`.

They are forked from one process that has the imports done.
"""

import json
import multiprocessing
import sys
from multiprocessing.synchronize import Barrier
from pathlib import Path

from raypipe.clock import SystemClock
from raypipe.ledger import Ledger


def append(folder: Path, me: int, rows: int, together: Barrier) -> None:
    together.wait()
    ledger = Ledger.in_folder(folder, SystemClock())
    for n in range(rows):
        ledger.append(f"{me}/{n}", "test.own", str(me), json.dumps({"n": n}))
        ledger.append(f"shared/{n}", "test.shared", "all", json.dumps({"n": n}))
    ledger.close()


if __name__ == "__main__":
    folder, count, rows = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    context = multiprocessing.get_context("fork")
    together = context.Barrier(count)
    processes = [context.Process(target=append, args=(folder, me, rows, together)) for me in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    sys.exit(max(abs(process.exitcode or 0) for process in processes))
