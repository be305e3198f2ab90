"""What one process does: `python -m tests.registry.registering HOME FOLDER TRACKING_URI [WHY]`.

Registers FOLDER/candidate.json with FOLDER/lineage.json and prints the version; with WHY, promotes it as well.
"""

import sys
from pathlib import Path

from raypipe.clock import SystemClock
from raypipe.contracts.records import Candidate, Lineage
from raypipe.ledger import Ledger
from raypipe.registry import Registry

if __name__ == "__main__":
    home, folder, uri, *why = sys.argv[1:]
    registry = Registry(Path(home) / "registry", Ledger.in_folder(Path(home), SystemClock()), uri)
    candidate = Candidate.from_json((Path(folder) / "candidate.json").read_text())
    version = registry.register(candidate, Lineage.from_json((Path(folder) / "lineage.json").read_text()))
    if why:
        registry.promote(version.name, version.version, expect=None, why=why[0])
    print(version.version, flush=True)
