"""The last reports of a pipeline's gates as one HTML page that needs no other file and runs nothing."""

import json
from collections.abc import Sequence
from html import escape

from raypipe.clock import iso, to_second
from raypipe.contracts.records import CheckResult
from raypipe.flows.judgements import Finding, Judgement

WIDTH, HEIGHT, BAR = 420, 90, 12
STYLE = """:root{color-scheme:light dark;--line:#8884;--bad:#c5372c;--warn:#b7791f;--good:#2f855a;--soft:#8881}
body{font:15px/1.5 system-ui,sans-serif;max-width:64em;margin:2em auto;padding:0 1em}
h1{font-size:1.5em}h2{font-size:1.2em;margin-top:2em}h3{font-size:1em;margin:0 0 .3em}
b.pill{border-radius:1em;padding:.1em .7em;color:#fff;font-size:.8em}
.stopped{background:var(--bad)}.bypassed{background:var(--warn)}.passed{background:var(--good)}
section{border:1px solid var(--line);border-radius:.5em;padding:1em;margin:1em 0}
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.2em .6em;border-bottom:1px solid var(--line)}
td.n{text-align:right;white-space:nowrap}td.m{width:7em}.cause{border-left:3px solid var(--warn);padding-left:.7em}
pre,.rows{background:var(--soft);padding:.6em;overflow-x:auto;font-size:.85em}small{color:#777}
svg text{font:11px system-ui,sans-serif;fill:#777}rect.bad{fill:var(--bad)}rect.warn{fill:var(--warn)}
line.axis{stroke:#8888}line.allowed{stroke:var(--warn);stroke-dasharray:4 3}"""
GATES = {"ingest": "Before publishing", "training": "Before training", "promotion": "Before promotion"}


def page(judgements: Sequence[Judgement]) -> str:
    """The page; every text of the data is shown as text."""
    name = escape(judgements[0].report.pipeline)
    parts = "".join(_gate(judgement) for judgement in judgements)
    head = f"<!doctype html><html lang=en><meta charset=utf-8><title>Gates of {name}</title><style>{STYLE}</style>"
    return f"{head}<h1>Gates of {name}</h1>{parts}</html>\n"


def _gate(judged: Judgement) -> str:
    report = judged.report
    why = f" ({escape(report.bypassed)})" if report.bypassed else ""
    about = f"; of {escape(report.about[:12])}" if report.about else ""
    head = (
        f"<h2>{GATES.get(report.stage, escape(report.stage))} <b class='pill {judged.outcome}'>{judged.outcome}{why}"
        f"</b></h2><p>{len(report.results)} checks at {to_second(judged.at)}, "
        f"as of {to_second(report.as_of)}{about}</p>"
    )
    findings = "".join(_section(finding) for finding in judged.findings)
    tolerated = "".join(_section(finding) for finding in judged.tolerated)
    if tolerated:
        tolerated = (
            f"<details><summary>{len(judged.tolerated)} passed with rows that fail</summary>{tolerated}</details>"
        )
    rows = "".join(_row(result) for result in report.results)
    table = "<table><tr><th>table<th>check<th>action<th>verdict<th colspan=2>rows that fail</tr>"
    return (
        f"{head}{findings}{tolerated}<details{'' if findings else ' open'}><summary>Every check</summary>"
        f"{table}{rows}</table></details>"
    )


def _row(result: CheckResult) -> str:
    verdict = "passed" if result.passed else "warned" if result.action == "warn" else "failed"
    mark = f"<svg width=100 height=10>{_mark(result)}</svg>"
    cells = (result.table, result.check, result.action, verdict)
    shown = "".join(f"<td>{escape(cell)}" for cell in cells)
    return f"<tr>{shown}<td class=n>{_percent(result.share)}<td class=m>{mark}</tr>"


def _mark(result: CheckResult) -> str:
    kind = "warn" if result.passed else "bad"
    bar = f"<rect class={kind} width={100 * result.share:.1f} height=10 />" if result.failed else ""
    at = 100 * result.allowed
    return bar + (f"<line class=allowed x1={at:.1f} x2={at:.1f} y1=0 y2=10 />" if 0 < at < 100 else "")


def _section(finding: Finding) -> str:
    result = finding.result
    cause = f"<p class=cause>Likely cause: {escape(result.cause)}</p>" if result.cause else ""
    return (
        f"<section><h3>{escape(result.table)}: {escape(result.check)}</h3><p>{escape(result.detail)}<br>"
        f"<small>{result.action}, declared at {escape(result.where)}, since {to_second(finding.since)}</small></p>"
        f"{cause}{_plot(finding)}{_examples(result.sample)}</section>"
    )


def _plot(finding: Finding) -> str:
    """The share of rows that failed, report by report; dashed: how many may."""
    top = max(*finding.shares, finding.result.allowed if finding.result.allowed < 1 else 0, 1e-9) * 1.1
    kind = "warn" if finding.result.passed else "bad"
    bars = "".join(
        f'<rect class={kind} x="{50 + (BAR + 2) * place}" y="{HEIGHT - 20 - 60 * share / top:.1f}" width="{BAR}"'
        f' height="{60 * share / top:.1f}"><title>{to_second(at)}: {_percent(share)}</title></rect>'
        for place, (share, at) in enumerate(zip(finding.shares, finding.times, strict=True))
    )
    allowed = HEIGHT - 20 - 60 * finding.result.allowed / top
    shown = 0 < finding.result.allowed < 1
    line = f"<line class=allowed x1=50 x2=470 y1={allowed:.1f} y2={allowed:.1f} />" if shown else ""
    ends = dict.fromkeys((0, len(finding.times) - 1)) if len(finding.times) > 5 else (0,)  # else they would overlap
    days = "".join(f"<text x={50 + (BAR + 2) * at} y=84>{iso(finding.times[at])[:10]}</text>" for at in ends)
    axis = (
        f"<line class=axis x1=50 x2=470 y1={HEIGHT - 20} y2={HEIGHT - 20} /><text x=0 y=20>{_percent(top / 1.1)}</text>"
    )
    return (
        f"<svg width={WIDTH + 60} height={HEIGHT}>{axis}{bars}{line}{days}</svg>"
        f"<br><small>share of rows that failed, in the last reports ({len(finding.shares)})</small>"
    )


def _percent(share: float) -> str:
    return f"{100 * share:.3g}%"


def _examples(sample: Sequence[str]) -> str:
    if not sample:
        return ""
    rows = [json.loads(row) for row in sample]
    head = "".join(f"<th>{escape(str(name))}" for name in rows[0])
    body = "".join("<tr>" + "".join(f"<td>{escape(str(value))}" for value in row.values()) + "</tr>" for row in rows)
    return f"<div class=rows><table><tr>{head}</tr>{body}</table></div>"
