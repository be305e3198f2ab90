"""What one process does: `python -m tests.registry.registering HOME FOLDER TRACKING_URI [WHY]`.

Registers FOLDER/candidate.json with FOLDER/lineage.json and prints the version; with WHY, promotes it as well.
"""

import sys
from pathlib import Path

from raypipe.clock import SystemClock
from raypipe.contracts.records import Candidate, Lineage
from raypipe.ledger import Ledger
from raypipe.registry import Registry


def register(home: Path, folder: Path, uri: str, why: str = "") -> int:
    """Do what is said above; returns the version."""
    registry = Registry(home / "registry", Ledger.in_folder(home, SystemClock()), uri)
    candidate = Candidate.from_json((folder / "candidate.json").read_text())
    version = registry.register(candidate, Lineage.from_json((folder / "lineage.json").read_text()))
    if why:
        registry.promote(version.name, version.version, expect=None, why=why)
    return version.version


if __name__ == "__main__":
    home, folder, uri, *why = sys.argv[1:]
    print(register(Path(home), Path(folder), uri, *why), flush=True)
