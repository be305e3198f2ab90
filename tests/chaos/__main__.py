"""``make chaos``: every scenario on a cluster of three nodes, its verdict, and the table of all of them.

``make chaos ONLY='node lost'`` plays those whose names hold the words. Bounded: a scenario that takes longer than
`COMMAND_SECONDS` a command fails. One cluster at a time, on free ports of this machine.
"""

import os
import shutil
import socket
import sys
import tempfile
from pathlib import Path

from raypipe.services.ray_head import QUIET

os.environ.update(QUIET)  # Ray reads it when it is imported: all of it stays on 127.0.0.1

from benchmarks.report import QUICK, Aim, Row, versions, write
from raypipe.services.config import ServicesConfig
from tests.chaos import trips
from tests.chaos.nodes import Nodes, nodes
from tests.chaos.scenarios import SCENARIOS, Place, Scenario, seconds, verdict

SHORT = ("nothing", "node lost: ingest")


def main() -> int:
    only = os.environ.get("ONLY", "")
    chosen = {name: play for name, play in SCENARIOS.items() if only in name and (not QUICK or name in SHORT)}
    folder = Path(tempfile.mkdtemp(prefix="chaos-", dir="/tmp"))
    data = folder / "data"
    trips.ship(data)
    serve, dashboard, mlflow = _free(3)
    config = ServicesConfig(folder / "w", serve_port=serve, dashboard_port=dashboard, mlflow_port=mlflow, cpus=3)
    try:
        with nodes(config) as cluster:
            rows = [
                _played(name, play, cluster, folder / f"s{place}", data)
                for place, (name, play) in enumerate(chosen.items())
            ]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    lost, doubled, other = (sum(int(row.figures[what] or 0) for row in rows) for what in ("lost", "doubled", "other"))
    aims = [
        Aim("lost", lost, "0", lost == 0),
        Aim("doubled", doubled, "0", doubled == 0),
        Aim("wrong, invented or broken", other, "0", other == 0),
    ]
    notes = """`other`: wrong, invented, or broken in itself. That the checker notices, builds that are broken on
purpose show: tests/chaos/test_chaos.py."""
    write("chaos", rows, aims, versions("ray"), notes)
    return 0 if all(aim.met for aim in aims) else 1


def _played(name: str, play: Scenario, cluster: Nodes, workspace: Path, data: Path) -> Row:
    workspace.mkdir()
    place = Place(cluster, workspace, data)
    failed = ""
    try:
        took = seconds(lambda: play(place))
    except Exception as error:  # noqa: BLE001  # one scenario must not hide the others
        failed, took = f"{type(error).__name__}: {error}"[:200], -1.0
    found = verdict(place)
    other = len(found.wrong) + len(found.invented) + len(found.broken) + bool(failed)
    print(f"{name}: {found} {failed} {place.notes}", file=sys.stderr, flush=True)
    return Row(
        "raypipe",
        name,
        {
            "told": found.told,
            "kept": found.kept,
            "lost": len(found.lost),
            "doubled": len(found.doubled),
            "other": other,
            "refused": sum(place.history.errors.values()),
            "commands": place.tries,
            "seconds": round(took, 1),
            "notes": "; ".join(filter(None, [failed or str(found), *place.notes])).replace("|", "/"),
        },
    )


def _free(count: int) -> list[int]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


if __name__ == "__main__":
    sys.exit(main())
