"""What one of several processes does to a ledger: `python -m tests.ledger.appending FOLDER NAME ROWS`."""

import json
import sys
from pathlib import Path

from raypipe.clock import SystemClock
from raypipe.ledger import Ledger

if __name__ == "__main__":
    folder, name, rows = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    # All start at once: the one who waits for a line from its parent is as ready as can be.
    print("ready", flush=True)
    sys.stdin.readline()
    ledger = Ledger.in_folder(folder, SystemClock())
    for n in range(rows):
        ledger.append(f"{name}/{n}", "test.own", name, json.dumps({"n": n}))
        ledger.append(f"shared/{n}", "test.shared", "all", json.dumps({"n": n}))
    ledger.close()
