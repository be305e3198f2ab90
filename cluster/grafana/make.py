"""Write the dashboards of this folder: one line a panel here, some forty lines of JSON each for Grafana.

    python cluster/grafana/make.py

A test compares the files with what this would write, and every name in them with what is really emitted.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).parent / "dashboards"
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
PIPELINE = 'pipeline=~"$pipeline"'
# A stage is counted by a process that ends with it, and each process has a series of its own: first the sum.
SINCE = "[$__range:1m]"


class Panel(NamedTuple):
    """One box: what it shows, in which unit, and its queries with what each line is called."""

    title: str
    about: str
    unit: str
    queries: dict[str, str]
    kind: str = "timeseries"


Rows = dict[str, list[Panel]]


def per_second(name: str, *by: str, where: str = PIPELINE) -> str:
    """How fast a counter grows."""
    return f"sum by ({', '.join(by)}) (rate({name}{{{where}}}[$__rate_interval]))"


def grown(name: str, *by: str, where: str = PIPELINE) -> str:
    """How much a counter of ended processes has grown within what the dashboard shows."""
    return f"increase(sum by ({', '.join(by)}) ({name}{{{where}}}){SINCE})"


def quantile(q: float, name: str, by: str, where: str) -> str:
    """A quantile of a histogram."""
    return f"histogram_quantile({q}, sum by ({by}, le) (rate({name}_bucket{{{where}}}[$__rate_interval])))"


APPLICATION = 'application=~"$pipeline"'
HTTP = "ray_serve_num_http_requests_total"
ASKED = f"sum by (application) (rate({HTTP}{{{APPLICATION}}}[$__rate_interval]))"
FAILED = HTTP + "{" + APPLICATION + ', status_code=~"5.."}'
FRONT = APPLICATION + ', route!~"/-/.*"'
HEALTHY = f"sum by (application, deployment) (ray_serve_deployment_replica_healthy{{{APPLICATION}}})"
STAGE = "ray_raypipe_stage"

SERVICE: Rows = {
    "Service": [
        Panel(
            "Requests",
            "Answers a second, by status",
            "reqps",
            {"{{application}} {{status_code}}": per_second(HTTP, "application", "status_code", where=APPLICATION)},
        ),
        Panel(
            "Server errors",
            "Share of answers with status 5xx",
            "percentunit",
            {"{{application}}": f"sum by (application) (rate({FAILED}[$__rate_interval])) / {ASKED}"},
        ),
        Panel(
            "Latency",
            "From the front door and back",
            "ms",
            {
                f"{{{{application}}}} p{int(q * 100)}": quantile(
                    q, "ray_serve_http_request_latency_ms", "application", FRONT
                )
                for q in (0.5, 0.95, 0.99)
            },
        ),
    ],
    "Model": [
        Panel(
            "Predictions",
            "Rows a second, by version and arm",
            "rowsps",
            {
                "{{pipeline}}/{{version}} {{arm}}": per_second(
                    "ray_raypipe_predictions_total", "pipeline", "version", "arm"
                )
            },
        ),
        Panel(
            "Champion",
            "The version that answers",
            "none",
            {"{{pipeline}}": f"max by (pipeline) (ray_raypipe_version{{{PIPELINE}}})"},
            "stat",
        ),
        Panel(
            "Time in a micro-batch",
            "Seconds of features and of the model, of one",
            "s",
            {
                "{{pipeline}} {{part}}": per_second("ray_raypipe_compute_seconds_total", "pipeline", "part")
                + " / on (pipeline) group_left "
                + per_second("ray_raypipe_batches_total", "pipeline")
            },
        ),
        Panel(
            "Unseen categories",
            "Values a second that training never saw, by field",
            "short",
            {"{{pipeline}} {{field}}": per_second("ray_raypipe_unseen_total", "pipeline", "field")},
        ),
        Panel(
            "Refused requests",
            "Requests a second that raypipe answers with an error, by status",
            "reqps",
            {"{{pipeline}} {{status}}": per_second("ray_raypipe_refused_total", "pipeline", "status")},
        ),
        Panel(
            "Not logged",
            "Answered predictions a second that could not be written down",
            "short",
            {"{{pipeline}}": per_second("ray_raypipe_unlogged_total", "pipeline")},
        ),
        Panel(
            "Replicas",
            "Healthy replicas",
            "short",
            {"{{application}}/{{deployment}}": HEALTHY},
        ),
        Panel(
            "Time in a replica",
            "Without the front door",
            "ms",
            {
                "{{application}} p99": quantile(
                    0.99, "ray_serve_deployment_processing_latency_ms", "application", APPLICATION
                )
            },
        ),
        Panel(
            "Application status",
            "6 runs, 5 is being deployed, 2 is unhealthy, 1 has failed",
            "short",
            {"{{application}}": f"max by (application) (ray_serve_application_status{{{APPLICATION}}})"},
            "stat",
        ),
    ],
    "Cluster": [
        Panel("CPU", "By node", "percent", {"{{instance}}": "ray_node_cpu_utilization"}),
        Panel(
            "Memory", "Share in use, by node", "percentunit", {"{{instance}}": "ray_node_mem_used / ray_node_mem_total"}
        ),
        Panel("Disk", "By node", "percent", {"{{instance}}": "ray_node_disk_utilization_percentage"}),
    ],
}

INGEST: Rows = {
    "Runs": [
        Panel(
            "New rows",
            "That ingestion brought in, within what is shown",
            "short",
            {
                "{{pipeline}} {{what}}": grown(
                    f"{STAGE}_rows_total", "pipeline", "what", where=PIPELINE + ', stage="ingest"'
                )
            },
            "stat",
        ),
        Panel(
            "Checks",
            "Of the gate, passed and failed, and rows set aside",
            "short",
            {
                "{{pipeline}} {{what}}": grown(
                    f"{STAGE}_rows_total", "pipeline", "what", where=PIPELINE + ', stage="gate"'
                )
            },
            "stat",
        ),
        Panel(
            "Stages",
            "Of ingestion, gate and features, by how they ended",
            "short",
            {
                "{{pipeline}} {{stage}} {{outcome}}": "sum by (pipeline, stage, outcome) ("
                f'{STAGE}_runs_total{{{PIPELINE}, stage=~"ingest|gate|features|materialize|follow"}})'
            },
        ),
    ],
    "Live": [
        Panel(
            "Rows a second", "Of the last batch, by source", "rowsps", {"{{source}}": "raypipe_ingest_rows_per_second"}
        ),
        Panel(
            "Behind",
            "Messages that wait, by source and partition",
            "short",
            {"{{source}} {{partition}}": "raypipe_ingest_lag"},
        ),
        Panel(
            "Watermark",
            "Seconds since the event time up to which all rows are in",
            "s",
            {"{{source}}": "time() - max by (source) (raypipe_ingest_watermark_seconds)"},
        ),
        Panel(
            "Messages",
            "Read, a second",
            "short",
            {"{{source}}": "sum by (source) (rate(raypipe_ingest_messages_total[$__rate_interval]))"},
        ),
        Panel(
            "Set aside",
            "Messages a second that are no rows",
            "short",
            {"{{source}}": "sum by (source) (rate(raypipe_ingest_quarantined_total[$__rate_interval]))"},
        ),
        Panel(
            "Late",
            "Rows a second that came late",
            "rowsps",
            {"{{source}}": "sum by (source) (rate(raypipe_ingest_late_total[$__rate_interval]))"},
        ),
    ],
}

HOURS = "sum(ray_node_cpu_count) / 3600"
COST: Rows = {
    "The cluster": [
        Panel(
            "An hour",
            "CPUs that are there, at the price of one",
            "currencyUSD",
            {"now": "sum(ray_node_cpu_count) * $cpu_hour"},
            "stat",
        ),
        Panel(
            "A million predictions",
            "CPUs that are there by predictions made",
            "currencyUSD",
            {"now": f"{HOURS} * $cpu_hour * 1000000 / sum(rate(ray_raypipe_predictions_total[$__rate_interval]))"},
            "stat",
        ),
        Panel(
            "In use",
            "CPU that works, of all that is paid for",
            "percentunit",
            {"share": "sum(ray_node_cpu_utilization * ray_node_cpu_count) / sum(ray_node_cpu_count) / 100"},
        ),
    ],
    "The work": [
        Panel(
            "A stage",
            "Its seconds, within what is shown, at the price of the CPUs that are there",
            "currencyUSD",
            {
                "{{pipeline}} {{stage}}": grown(f"{STAGE}_seconds_total", "pipeline", "stage")
                + f" * on () group_left () ({HOURS}) * $cpu_hour"
            },
            "stat",
        ),
        Panel(
            "Computing of a million predictions",
            "Seconds of one CPU for features and model, at its price",
            "currencyUSD",
            {
                "{{pipeline}}": per_second("ray_raypipe_compute_seconds_total", "pipeline")
                + " / "
                + per_second("ray_raypipe_predictions_total", "pipeline")
                + " * 1000000 / 3600 * $cpu_hour"
            },
        ),
        Panel(
            "Rows in a micro-batch",
            "More rows, cheaper rows",
            "short",
            {
                "{{pipeline}}": per_second("ray_raypipe_predictions_total", "pipeline")
                + " / "
                + per_second("ray_raypipe_batches_total", "pipeline")
            },
        ),
    ],
}


RETRAINING: Rows = {
    "What answers": [
        Panel(
            "Champion",
            "The version that answers; a step is a promotion or a way back",
            "none",
            {"{{pipeline}}": f"max by (pipeline) (ray_raypipe_version{{{PIPELINE}}})"},
        ),
        Panel(
            "Versions",
            "Share of the rows that each version and arm scores",
            "percentunit",
            {
                "{{pipeline}}/{{version}} {{arm}}": per_second(
                    "ray_raypipe_predictions_total", "pipeline", "version", "arm"
                )
                + " / on (pipeline) group_left "
                + per_second("ray_raypipe_predictions_total", "pipeline")
            },
        ),
        Panel(
            "Promotions and deploys",
            "Within what is shown",
            "short",
            {
                "{{pipeline}} {{stage}}": grown(
                    f"{STAGE}_runs_total",
                    "pipeline",
                    "stage",
                    where=PIPELINE + ', stage=~"register|deploy", outcome="done"',
                )
            },
            "stat",
        ),
    ],
    "What it took": [
        Panel(
            "Runs",
            "Stages so far, by how they ended",
            "short",
            {
                "{{pipeline}} {{stage}} {{outcome}}": "sum by (pipeline, stage, outcome) ("
                f'{STAGE}_runs_total{{{PIPELINE}, stage=~"features|train|register|deploy|retrain"}})'
            },
        ),
        Panel(
            "Time",
            "Of the stages, within what is shown",
            "s",
            {"{{pipeline}} {{stage}}": grown(f"{STAGE}_seconds_total", "pipeline", "stage")},
            "stat",
        ),
        Panel(
            "Rows and trials",
            "Of training sets and searches, within what is shown",
            "short",
            {
                "{{pipeline}} {{what}}": grown(
                    f"{STAGE}_rows_total", "pipeline", "what", where=PIPELINE + ', stage=~"features|train"'
                )
            },
            "stat",
        ),
    ],
}


DRIFT: Rows = {
    "What moves": [
        Panel(
            "Deviation",
            "Of each column, as a multiple of what raises an alarm; the ten that deviate most",
            "short",
            {"{{pipeline}}/{{version}} {{column}}": f"topk(10, ray_raypipe_drift_excess{{{PIPELINE}}})"},
        ),
        Panel(
            "Distance",
            "How far a column has moved, as a share of its rows; the ten that moved most",
            "percentunit",
            {"{{pipeline}}/{{version}} {{column}}": f"topk(10, ray_raypipe_drift_distance{{{PIPELINE}}})"},
        ),
        Panel(
            "Open alarms",
            "Columns whose alarm is open",
            "short",
            {"{{pipeline}}/{{version}}": f"sum by (pipeline, version) (ray_raypipe_drift_alarm{{{PIPELINE}}})"},
            "stat",
        ),
        Panel(
            "Importance that drifts",
            "Share of all importance on inputs with an open alarm",
            "percentunit",
            {"{{pipeline}}/{{version}}": f"ray_raypipe_drift_mass{{{PIPELINE}}}"},
        ),
        Panel(
            "Broken data",
            "What looks like broken data, not like a world that moved",
            "short",
            {"{{pipeline}}/{{version}}": f"ray_raypipe_data_breaks{{{PIPELINE}}}"},
        ),
        Panel(
            "Alarms not told",
            "That no receiver took yet",
            "short",
            {"{{pipeline}}": f"ray_raypipe_watch_untold{{{PIPELINE}}}"},
            "stat",
        ),
    ],
    "What it costs": [
        Panel(
            "Log loss",
            "Of the newest predictions: by their labels, and as estimated before those come",
            "none",
            {
                "{{pipeline}}/{{version}} {{arm}}": f'ray_raypipe_log_loss{{{PIPELINE}, segment=""}}',
                "{{pipeline}}/{{version}} estimated": f"ray_raypipe_log_loss_estimated{{{PIPELINE}}}",
            },
        ),
        Panel(
            "Wrong answers",
            "Share of the answers that came out wrong",
            "percentunit",
            {"{{pipeline}}/{{version}} {{arm}}": f'ray_raypipe_error_rate{{{PIPELINE}, segment=""}}'},
        ),
        Panel(
            "Known by now",
            "Share of the newest predictions with a label",
            "percentunit",
            {"{{pipeline}}/{{version}} {{arm}}": f'ray_raypipe_labelled_share{{{PIPELINE}, segment=""}}'},
        ),
    ],
}


def dashboard(name: str, title: str, rows: Rows, extra: list[dict[str, Any]]) -> dict[str, Any]:
    """What Grafana imports."""
    return {
        "uid": f"raypipe-{name}",
        "title": f"raypipe: {title}",
        "tags": ["raypipe"],
        "schemaVersion": 41,
        "version": 1,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "utc",
        "templating": {"list": [_datasource(), *extra]},
        "panels": list(_placed(rows)),
    }


def _placed(rows: Rows) -> Iterator[dict[str, Any]]:
    number, y = 1, 0
    for heading, panels in rows.items():
        yield _row(number, heading, y)
        number, y = number + 1, y + 1
        for place, panel in enumerate(panels):
            yield _box(number, panel, 8 * (place % 3), y + 8 * (place // 3))
            number += 1
        y += 8 * -(-len(panels) // 3)


def _row(number: int, title: str, y: int) -> dict[str, Any]:
    place = {"h": 1, "w": 24, "x": 0, "y": y}
    return {"id": number, "type": "row", "title": title, "collapsed": False, "gridPos": place, "panels": []}


def _box(number: int, panel: Panel, x: int, y: int) -> dict[str, Any]:
    options: dict[str, Any] = {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    if panel.kind == "stat":
        options = {"reduceOptions": {"calcs": ["lastNotNull"]}, "textMode": "value_and_name", "colorMode": "value"}
    targets = [
        {"refId": chr(ord("A") + place), "datasource": SOURCE, "expr": query, "legendFormat": called}
        for place, (called, query) in enumerate(panel.queries.items())
    ]
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": SOURCE,
        "gridPos": {"h": 8, "w": 8, "x": x, "y": y},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": options,
        "targets": targets,
    }


def _datasource() -> dict[str, Any]:
    return {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"}


def _pipelines(metric: str, label: str) -> dict[str, Any]:
    return {
        "name": "pipeline",
        "type": "query",
        "label": "Pipeline",
        "datasource": SOURCE,
        "query": {"query": f"label_values({metric}, {label})", "refId": "pipeline"},
        "includeAll": True,
        "multi": True,
        "allValue": ".+",
        "refresh": 2,
        "current": {"text": "All", "value": "$__all"},
    }


def _price() -> dict[str, Any]:
    price = "0.05"
    return {
        "name": "cpu_hour",
        "type": "textbox",
        "label": "Price of a CPU hour",
        "query": price,
        "current": {"text": price, "value": price},
    }


def all_dashboards() -> dict[str, dict[str, Any]]:
    """Each by the name of its file."""
    stages = _pipelines(f"{STAGE}_runs_total", "pipeline")
    return {
        "service": dashboard(
            "service", "service", SERVICE, [_pipelines("ray_serve_application_status", "application")]
        ),
        "ingest": dashboard("ingest", "ingest", INGEST, [stages]),
        "drift": dashboard("drift", "drift", DRIFT, [_pipelines("ray_raypipe_watch_ticks", "pipeline")]),
        "retraining": dashboard("retraining", "retraining", RETRAINING, [stages]),
        "cost": dashboard("cost", "cost", COST, [stages, _price()]),
    }


if __name__ == "__main__":
    for name, content in all_dashboards().items():
        (FOLDER / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n")
