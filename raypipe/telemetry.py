"""Nothing phones home. Libraries read these when they are imported, so they are set before any of them is."""

import os

OFF = {
    "DO_NOT_TRACK": "true",  # MLflow takes no other value for yes
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "ORT_DISABLE_TELEMETRY": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}


def turn_off() -> None:
    """Turn the telemetry of every dependency off in this process and those it starts; what is set already stays."""
    for name, value in OFF.items():
        os.environ.setdefault(name, value)
