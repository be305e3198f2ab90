"""``make chaos``: every scenario on a cluster of three nodes, its verdict, and the table of all of them.

``make chaos ONLY='node lost,disk'`` plays those whose names hold one of the words. Bounded: a scenario that takes
longer than `COMMAND_SECONDS` a command fails. One cluster at a time, on free ports of this machine.
"""

import logging
import os
import shutil
import socket
import sys
import tempfile
import time
from pathlib import Path

from raypipe.services.ray_head import QUIET

os.environ.update(QUIET)  # Ray reads it when it is imported: all of it stays on 127.0.0.1

from benchmarks.report import QUICK, Aim, Row, markdown, versions, write
from raypipe.services.config import ServicesConfig
from tests.chaos import trips
from tests.chaos.nodes import nodes
from tests.chaos.place import Place, verdict
from tests.chaos.scenarios import BROKEN, CAUGHT, SCENARIOS, Broken, Scenario
from tests.chaos.stores import stores

SHORT = ("nothing", "node lost: ingest")
#: Who plays a scenario.
OURS, ON_PURPOSE = "raypipe", "broken on purpose"


def main() -> int:
    only = os.environ.get("ONLY", "").split(",")
    every: dict[str, Scenario | Broken] = SCENARIOS | BROKEN
    chosen = {
        name: play
        for name, play in every.items()
        if any(words in name for words in only) and (not QUICK or name in SHORT)
    }
    folder = Path(tempfile.mkdtemp(prefix="chaos-", dir="/tmp"))
    data = folder / "data"
    trips.ship(data)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    serve, dashboard, mlflow, redis = _free(4)
    config = ServicesConfig(folder / "w", serve_port=serve, dashboard_port=dashboard, mlflow_port=mlflow, cpus=3)
    try:
        with stores(folder / "stores", redis) as kept, nodes(config, **kept.environment) as cluster:
            rows = [
                _played(name, play, Place(cluster, kept, folder / f"s{number}", data, f"trips{number}"))
                for number, (name, play) in enumerate(chosen.items())
            ]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    ours = [row for row in rows if row.system == OURS]
    lost, doubled, other = (sum(int(row.figures[what] or 0) for row in ours) for what in ("lost", "doubled", "other"))
    caught = [str(row.figures["notes"]).startswith(CAUGHT) for row in rows if row.system == ON_PURPOSE]
    aims = [
        Aim("lost", lost, "0", lost == 0),
        Aim("doubled", doubled, "0", doubled == 0),
        Aim("wrong, invented or broken", other, "0", other == 0),
    ]
    if caught:
        aims.append(Aim("builds broken on purpose that were caught", sum(caught), f"all {len(caught)}", all(caught)))
    notes = """`other`: wrong, invented, or broken in itself. Builds that are broken on purpose, each in one way, go
through what raypipe comes through, and show that the checker notices: only the last aim counts what became of them."""
    if len(chosen) < len(every) and not QUICK:  # some of them are no result to keep
        print(markdown("chaos", rows, aims, versions("ray"), notes))
    else:
        write("chaos", rows, aims, versions("ray"), notes)
    return 0 if all(aim.met for aim in aims) else 1


def _played(name: str, what: Scenario | Broken, place: Place) -> Row:
    place.workspace.mkdir()
    broken = what if isinstance(what, Broken) else None
    if broken is not None:
        place.nodes.become(broken.build)
    failed, began = "", time.monotonic()
    with place.closing:
        try:
            (what.play if isinstance(what, Broken) else what)(place)
        except Exception as error:  # noqa: BLE001  # one scenario must not hide the others
            failed = f"{type(error).__name__}: {error}"[:200]
        took = time.monotonic() - began
        found = verdict(place)
    if broken is not None:
        place.nodes.become("")
    place.nodes.clear()
    said = [failed or str(found)] if broken is None else [broken.judged(found), str(found), failed]
    print(f"{name}: {said} {place.notes} {took:.0f} s", file=sys.stderr, flush=True)
    return Row(
        OURS if broken is None else ON_PURPOSE,
        name.removeprefix("broken: "),
        {
            "told": found.told,
            "kept": found.kept,
            "lost": len(found.lost),
            "doubled": len(found.doubled),
            "other": len(found.wrong) + len(found.invented) + len(found.broken) + bool(failed),
            "refused": sum(place.history.errors.values()),
            "commands": place.tries,
            "seconds": round(took, 1),
            "notes": "; ".join(filter(None, [*said, *place.notes])).replace("|", "/"),
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
