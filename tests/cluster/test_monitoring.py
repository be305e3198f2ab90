"""Dashboards and alerts use names that are really emitted, and alerts do what they say."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from cluster.grafana.__main__ import all_dashboards
from raypipe.clock import ManualClock
from raypipe.flows.meter import IngestMeter
from raypipe.flows.watching.gauges import GAUGES
from tests.cluster.files import CLUSTER, ROOT, load, ray_source

PROMETHEUS = CLUSTER / "prometheus"
DASHBOARDS = sorted((CLUSTER / "grafana" / "dashboards").glob("*.json"))
DECLARED = re.compile(r"""\b(Counter|Gauge|Histogram)\(\s*(?:name=)?f?["']([a-z0-9_{}]+)["']""")
USED = re.compile(r"\bray(?:pipe)?_[a-z0-9_]+\b(?!=)")
SUFFIXES = {"Counter": ("_total",), "Gauge": ("",), "Histogram": ("_bucket", "_sum", "_count")}
PROMTOOL = shutil.which("promtool", path=str(Path(sys.executable).parent)) or shutil.which("promtool")
needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="promtool is not installed: it comes with the Debian package `prometheus`"
)


def promtool(*arguments: object) -> None:
    """Have Prometheus' own tool agree."""
    command = [str(PROMTOOL), *map(str, arguments)]
    done = subprocess.run(command, cwd=PROMETHEUS, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def own_source() -> str:
    return "\n".join(path.read_text() for path in sorted((ROOT / "raypipe").rglob("*.py")))


def emitted() -> set[str]:
    """Every name that Ray and raypipe give to Prometheus, with the suffix of its kind."""
    source = ray_source("serve/_private", "dashboard/modules/reporter") + own_source()
    # An ingestion that keeps going has an exporter of its own, without Ray's prefix.
    following = {sample.name for metric in IngestMeter(ManualClock(0)).registry.collect() for sample in metric.samples}
    following |= {f"{metric.name}_total" for metric in IngestMeter(ManualClock(0)).registry.collect()}
    following |= {metric.name for metric in IngestMeter(ManualClock(0)).registry.collect()}
    return (
        {f"ray_{name}" for name in GAUGES}
        | following
        | {
            f"ray_{name.replace('{protocol_name}', 'http')}{suffix}"
            for kind, name in DECLARED.findall(source)
            for suffix in SUFFIXES[kind]
        }
    )


def expressions(dashboard: dict) -> list[str]:
    found = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    return found + [item["query"]["query"] for item in dashboard["templating"]["list"] if item["type"] == "query"]


def rules() -> list[dict]:
    return [rule for group in load("prometheus/alerts.yml")["groups"] for rule in group["rules"]]


def labels(expression: str) -> set[str]:
    """Names of labels that are matched or grouped by, without those that Prometheus or a file of ours sets."""
    matched = re.findall(r"[{,]\s*(\w+)\s*(?:=~|!~|!=|=)", expression)
    grouped = [name.strip() for group in re.findall(r"by \(([^)]*)\)", expression) for name in group.split(",")]
    return {*matched, *grouped} - {"le", "instance", "job"}


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.name)
def test_dashboards_use_names_that_are_emitted(path) -> None:
    dashboard = json.loads(path.read_text())
    used = {name for expression in expressions(dashboard) for name in USED.findall(expression)}
    assert len(used) >= 5
    assert not used - emitted()


def test_alerts_use_names_that_are_emitted() -> None:
    used = {name for rule in rules() for name in USED.findall(rule["expr"])}
    assert len(used) > 5
    assert not used - emitted()


def test_a_name_that_nothing_emits_is_noticed() -> None:
    assert {"ray_raypipe_unseen_total", "ray_serve_num_http_requests_total", "ray_node_mem_used"} <= emitted()
    # A counter is only there with its suffix, and a histogram in its parts.
    assert not {"ray_raypipe_unseen", "ray_serve_num_http_requests", "ray_serve_http_request_latency_ms"} & emitted()


def test_labels_are_those_that_the_metrics_carry() -> None:
    known = re.findall(r"tag_keys=\(([^)]*)\)", ray_source("serve/_private"))
    carried = {name for keys in known for name in re.findall(r'"(\w+)"', keys)}
    carried |= {
        name
        for keys in re.findall(r'(?:Counter|Gauge)\(\s*"\w+",\s*"[^"]*",\s*[(\[]([^)\]]*)[)\]]', own_source())
        for name in re.findall(r'"(\w+)"', keys)
    }
    carried |= {name for _, names in GAUGES.values() for name in names}
    used = [expression for path in DASHBOARDS for expression in expressions(json.loads(path.read_text()))]
    for expression in used + [rule["expr"] for rule in rules()]:
        assert labels(expression) <= carried | {"application", "deployment"}, expression


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.name)
def test_panels_do_not_overlap_and_say_what_they_show(path) -> None:
    panels = json.loads(path.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for box in (panel["gridPos"] for panel in panels)
        for x in range(box["x"], box["x"] + box["w"])
        for y in range(box["y"], box["y"] + box["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert all(x < 24 for x, _ in cells)
    assert all(panel["description"] for panel in panels if panel["type"] != "row")


def test_every_alert_has_a_severity_a_sentence_and_a_test() -> None:
    tested = {
        case["alertname"]
        for test in load("prometheus/alerts_test.yml")["tests"]
        for case in test["alert_rule_test"]
        if case["exp_alerts"]
    }
    assert {rule["alert"] for rule in rules()} == tested
    assert all(rule["labels"]["severity"] in ("critical", "warning") for rule in rules())
    assert all(rule["annotations"]["summary"] for rule in rules())


@needs_promtool
@pytest.mark.parametrize("command", [["check", "config", "prometheus.yml"], ["test", "rules", "alerts_test.yml"]])
def test_promtool_agrees(command: list[str]) -> None:
    promtool(*command)


def test_dashboards_are_what_their_program_writes() -> None:
    assert {path.stem: json.loads(path.read_text()) for path in DASHBOARDS} == all_dashboards()


@needs_promtool
def test_queries_can_be_read_by_prometheus(tmp_path) -> None:
    found = [expression for path in DASHBOARDS for expression in expressions(json.loads(path.read_text()))]
    queries = [query for query in found if not query.startswith("label_values")]
    rules = [{"record": f"r{place}", "expr": _filled(query)} for place, query in enumerate(queries)]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "g", "rules": rules}]}))
    promtool("check", "rules", tmp_path / "rules.yml")


def _filled(query: str) -> str:
    """With what Grafana puts in place of its variables."""
    for name, value in (("$__rate_interval", "1m"), ("$__range", "1h"), ("$cpu_hour", "0.05"), ("$pipeline", ".+")):
        query = query.replace(name, value)
    return query
