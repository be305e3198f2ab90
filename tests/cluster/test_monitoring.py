"""Dashboards and alerts use names that are really emitted, and alerts do what they say."""

import json
import re
import shutil
import subprocess

import pytest

from tests.cluster.files import CLUSTER, ROOT, load, ray_source

PROMETHEUS = CLUSTER / "prometheus"
DASHBOARDS = sorted((CLUSTER / "grafana" / "dashboards").glob("*.json"))
DECLARED = re.compile(r"""\b(Counter|Gauge|Histogram)\(\s*(?:name=)?f?["']([a-z0-9_{}]+)["']""")
USED = re.compile(r"\bray_[a-z0-9_]+\b")
SUFFIXES = {"Counter": ("_total",), "Gauge": ("",), "Histogram": ("_bucket", "_sum", "_count")}


def emitted() -> set[str]:
    """Every name that Ray and raypipe give to Prometheus, with the suffix of its kind."""
    ours = "\n".join(path.read_text() for path in sorted((ROOT / "raypipe").rglob("*.py")))
    source = ray_source("serve/_private", "dashboard/modules/reporter") + ours
    return {
        f"ray_{name.replace('{protocol_name}', 'http')}{suffix}"
        for kind, name in DECLARED.findall(source)
        for suffix in SUFFIXES[kind]
    }


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
    assert len(used) > 5
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
    ours = (ROOT / "raypipe" / "serving" / "replica.py").read_text()
    carried = {name for keys in known for name in re.findall(r'"(\w+)"', keys)}
    carried |= {
        name
        for keys in re.findall(r'Counter\("\w+", "[^"]*", \(([^)]*)\)', ours)
        for name in re.findall(r'"(\w+)"', keys)
    }
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


@pytest.mark.parametrize("command", [["check", "config", "prometheus.yml"], ["test", "rules", "alerts_test.yml"]])
def test_promtool_agrees(command: list[str]) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed: it comes with the Debian package `prometheus`")
    done = subprocess.run([promtool, *command], cwd=PROMETHEUS, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
