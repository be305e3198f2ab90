"""Write the dashboards of this folder: `python -m cluster.grafana`.

A test compares the files with what this would write, and every name in them with what is really emitted.
"""

import json
from pathlib import Path
from typing import Any

from cluster.grafana.cost import COST
from cluster.grafana.drift import DRIFT
from cluster.grafana.ingest import INGEST
from cluster.grafana.layout import dashboard, pipelines, price
from cluster.grafana.queries import STAGE
from cluster.grafana.retraining import RETRAINING
from cluster.grafana.service import SERVICE

FOLDER = Path(__file__).parent / "dashboards"


def all_dashboards() -> dict[str, dict[str, Any]]:
    """Each by the name of its file."""
    stages = pipelines(f"{STAGE}_runs_total", "pipeline")
    return {
        "service": dashboard("service", "service", SERVICE, [pipelines("ray_serve_application_status", "application")]),
        "ingest": dashboard("ingest", "ingest", INGEST, [stages]),
        "drift": dashboard("drift", "drift", DRIFT, [pipelines("ray_raypipe_watch_ticks", "pipeline")]),
        "retraining": dashboard("retraining", "retraining", RETRAINING, [stages]),
        "cost": dashboard("cost", "cost", COST, [stages, price()]),
    }


if __name__ == "__main__":
    for name, content in all_dashboards().items():
        (FOLDER / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n")
