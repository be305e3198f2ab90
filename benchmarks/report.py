"""What a benchmark saw, written for machines (JSON) and for people (Markdown)."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypeAlias

import msgspec
import psutil

RESULTS = Path(__file__).parent / "results"
#: A short run says whether the benchmark works, not what the figures are: its results are kept apart, out of git.
QUICK = os.environ.get("QUICK", "") not in ("", "0")

Figure: TypeAlias = float | int | str | None


class Row(msgspec.Struct, frozen=True):
    """What one system did in one case.

    Attributes:
        system: who, such as ``raypipe`` or ``polars``.
        case: what was done.
        figures: what was measured, by a name that ends in its unit, such as ``p99_ms``.
    """

    system: str
    case: str
    figures: Mapping[str, Figure]


class Aim(msgspec.Struct, frozen=True):
    """One aim, and what came of it.

    Attributes:
        name: what was aimed at.
        value: what was measured.
        target: what was wanted, in words.
        met: whether it was reached.
    """

    name: str
    value: Figure
    target: str
    met: bool


def versions(*packages: str) -> dict[str, str]:
    """The interpreter, the machine, and the packages that are installed here."""
    found = {
        "python": platform.python_version(),
        "machine": f"{_processor()}, {os.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB",
    }
    for package in ("raypipe", *packages):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def _processor() -> str:
    """What the processor calls itself."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.is_file() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def write(name: str, rows: Sequence[Row], aims: Sequence[Aim], used: Mapping[str, str], notes: str = "") -> Path:
    """Write ``results/NAME.json`` and ``NAME.md`` (``NAME.quick.…`` after a short run), and print the table."""
    stem = f"{name}.quick" if QUICK else name
    content = {"rows": rows, "aims": aims, "versions": dict(used), "notes": notes}
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{stem}.json"
    path.write_text(json.dumps(msgspec.to_builtins(content), indent=1) + "\n")
    text = markdown(name, rows, aims, used, notes)
    path.with_suffix(".md").write_text(text)
    print(text)
    return path


def markdown(name: str, rows: Sequence[Row], aims: Sequence[Aim], used: Mapping[str, str], notes: str = "") -> str:
    """The same as a page.

    >>> row, aim = Row("raypipe", "1 row", {"p99_ms": 1.23456}), Aim("p99", 1.23456, "at most 2 ms", True)
    >>> print(markdown("x", [row], [aim], {"python": "3.11"}))
    # x
    <BLANKLINE>
    | system | case | p99_ms |
    |---|---|---|
    | raypipe | 1 row | 1.235 |
    <BLANKLINE>
    | aim | value | target | met |
    |---|---|---|---|
    | p99 | 1.235 | at most 2 ms | yes |
    <BLANKLINE>
    python 3.11
    <BLANKLINE>
    """
    columns = list(dict.fromkeys(column for row in rows for column in row.figures))
    measured = [[row.system, row.case, *(_shown(row.figures.get(column)) for column in columns)] for row in rows]
    aimed = [[aim.name, _shown(aim.value), aim.target, "yes" if aim.met else "**no**"] for aim in aims]
    parts = [f"# {name}", _table(["system", "case", *columns], measured)]
    if aims:
        parts.append(_table(["aim", "value", "target", "met"], aimed))
    if notes:
        parts.append(notes.strip())
    parts.append(", ".join(f"{package} {number}" for package, number in used.items()))
    return "\n\n".join(parts) + "\n"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "|" + "|".join(cell if set(cell) == {"-"} else f" {cell} " for cell in line) + "|" for line in lines
    )


def _shown(figure: Figure) -> str:
    if not isinstance(figure, float):
        return "" if figure is None else str(figure)
    return f"{figure:,.4g}" if abs(figure) < 1000 else f"{figure:,.0f}"
