"""Put the trials of a run into the README.

raypipe run examples/flights/pipeline.py --json | python -m examples.flights.readme
"""

import json
import re
import sys
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"
COLUMNS = {"AUC": "auc", "log loss": "log_loss", "calibration": "ece"}


def table(run: dict[str, list[dict[str, object]]]) -> str:
    """The trials as Markdown, best first: quality on the tuning period, speed of one row in the serving path."""
    lines = [
        "| trial | algorithm | AUC | log loss | calibration | p99 of one row, ms | fit, s |",
        "|--:|---|--:|--:|--:|--:|--:|",
    ]
    for trial in sorted(run["trials"], key=lambda trial: -_metric(trial, "auc")):
        quality = " | ".join(f"{_metric(trial, name):.4f}" for name in COLUMNS.values())
        speed = f"{_metric(trial, 'p99_ms_1'):.2f} | {trial['seconds']:.1f}"
        lines.append(f"| {trial['number']} | {trial['algorithm']} | {quality} | {speed} |")
    return "\n".join(lines)


def _metric(trial: dict[str, object], name: str) -> float:
    metrics = trial["metrics"]
    return float(metrics[name]) if isinstance(metrics, dict) and name in metrics else float("nan")


def main() -> None:
    """Read a run from standard input and write its trials between the two marks of the README."""
    run = json.load(sys.stdin)
    metrics = run["model"]["metrics"]
    judged = (
        f"{run['model']['algorithm']} wins. On June, which no trial has seen: AUC {metrics['auc']:.3f} "
        f"(95 % interval {metrics['auc_low']:.3f} to {metrics['auc_high']:.3f}), log loss {metrics['log_loss']:.3f}."
    )
    text = f"<!-- trials -->\n{table(run)}\n\n{judged}\n<!-- end of trials -->"
    marked = re.compile(r"<!-- trials -->.*<!-- end of trials -->", re.DOTALL)
    README.write_text(marked.sub(lambda _: text, README.read_text()))


if __name__ == "__main__":
    main()
