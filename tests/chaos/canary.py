"""Where a secret was told that should not have been: the canary stands in every password of the stores."""

import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path

from raypipe.ledger import Entry
from tests.chaos.nodes import Nodes
from tests.cluster.servers import CANARY

#: What Ray's state API and Serve tell anybody who may ask the dashboard.
ASKED = (
    *(f"/api/v0/{kind}?detail=true&limit=10000" for kind in ("tasks", "actors", "workers", "runtime_envs", "objects")),
    "/api/jobs/",
    "/api/serve/applications/",
)


def told(nodes: Nodes, workspace: Path) -> Iterator[str]:
    """Each file of the workspace, of Ray and of MLflow, and each answer of the state API, that holds the canary."""
    for folder in (workspace, nodes.config.workspace, nodes.config.ray_temp):
        for file in folder.rglob("*"):
            if file.is_file() and not file.is_symlink() and CANARY.encode() in file.read_bytes():
                yield f"a secret is in {file}"
    for path in ASKED:
        with urllib.request.urlopen(f"{nodes.config.dashboard_url}{path}", timeout=60) as answer:
            if CANARY.encode() in answer.read():
                yield f"a secret is told by {path}"


def in_rows(rows: Iterable[Entry]) -> Iterator[str]:
    """Each row of the ledger that holds the canary: in PostgreSQL it is in no file of the workspace."""
    for row in rows:
        if CANARY in f"{row.key} {row.subject} {row.body}":
            yield f"a secret is in row {row.seq} of the ledger"
