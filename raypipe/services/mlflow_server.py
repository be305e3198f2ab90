"""The MLflow tracking server: one process that answers, and the one that `mlflow server` waits in."""

import sysconfig
from collections.abc import Mapping
from pathlib import Path

from raypipe.services.config import ServicesConfig
from raypipe.services.processes import ProcessId, start

# Evaluation jobs for language models would start five more processes of 250 MB each.
LIGHT = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


def start_mlflow(config: ServicesConfig, environment: Mapping[str, str]) -> ProcessId:
    """Start the server. It checks the Host header itself: by default it answers only to names of this machine."""
    home = config.workspace / "mlflow"
    home.mkdir(parents=True, exist_ok=True)
    command = [
        str(Path(sysconfig.get_path("scripts")) / "mlflow"),
        "server",
        f"--backend-store-uri=sqlite:///{home / 'mlflow.db'}",
        # Clients on this machine read and write artifacts in the folder itself, not through the server.
        f"--default-artifact-root={(home / 'artifacts').as_uri()}",
        "--no-serve-artifacts",
        "--host=127.0.0.1",
        f"--port={config.mlflow_port}",
        "--workers=1",
    ]
    # It is given the database; a server's address in its environment would make it ask itself.
    own = {name: value for name, value in environment.items() if not name.startswith("MLFLOW_TRACKING_")}
    return start(command, own | LIGHT, config.logs / "mlflow.log")
