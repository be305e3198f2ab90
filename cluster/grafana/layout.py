"""From panels to what Grafana imports: some forty lines of JSON each, three boxes beside each other."""

from collections.abc import Iterator
from typing import Any

from cluster.grafana.queries import Panel, Rows

SOURCE = {"type": "prometheus", "uid": "${datasource}"}


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


def pipelines(metric: str, label: str) -> dict[str, Any]:
    """The choice of a pipeline, out of the values of a label."""
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


def price() -> dict[str, Any]:
    """What an hour of a CPU costs, to be typed in."""
    usd = "0.05"
    return {
        "name": "cpu_hour",
        "type": "textbox",
        "label": "Price of a CPU hour",
        "query": usd,
        "current": {"text": usd, "value": usd},
    }
