"""``raypipe check``: every fault at once, in no time."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from raypipe.cli.main import main
from raypipe.spec import fingerprint, load

EXAMPLE = Path(__file__).parents[2] / "examples/flights/pipeline.py"
HEAVY = {"lightgbm", "mlflow", "onnxruntime", "pyiceberg", "ray", "sklearn", "sqlalchemy", "torch"}


def test_a_good_definition(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(EXAMPLE)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out == f"✓ {EXAMPLE} has no faults\n  flights: 26 features from 5 sources, 12 trials\n"


def test_a_good_definition_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(EXAMPLE), "--json"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    found, pipeline = json.loads(out), load(EXAMPLE)
    assert (found["pipeline"], found["definition"]) == ("flights", fingerprint(pipeline))
    assert tuple(found["features"]) == pipeline.feature_names


def planted(folder: Path) -> tuple[Path, dict[str, int]]:
    """The example with three faults, and the line of each."""
    text = EXAMPLE.read_text()
    for right, wrong in {
        'origin_delay_1h=agg.mean("dep_delay"': 'origin_delay_1h=agg.mean("dep_dely"',
        'request("carrier"': 'request("dep_time", "carrier"',
        "precip=agg.last(": "carrier=agg.last(",
    }.items():
        assert text.count(right) == 1
        text = text.replace(right, wrong)
    file = folder / "pipeline.py"
    file.write_text(text)
    words = {"unknown column": "dep_dely", "the future": 'request("dep_time"', "name twice": "carrier=agg.last("}
    lines = text.splitlines()
    return file, {fault: next(n for n, line in enumerate(lines, 1) if word in line) for fault, word in words.items()}


def test_three_faults_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, _ = planted(tmp_path)
    assert main(["check", str(file)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    told = [line for line in err.splitlines() if line.startswith("error: pipeline.py:")]
    assert any("`dep_dely`" in line and "Did you mean `dep_delay`?" in line for line in told)
    assert any("`dep_time`" in line and "news from the future" in line for line in told)
    assert any("`carrier` is used twice, first at pipeline.py:" in line for line in told)
    assert "3 faults; nothing was run." in err


def test_each_fault_has_its_line_and_its_cure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, lines = planted(tmp_path)
    assert main(["check", str(file), "--json"]) == 2
    faults = json.loads(capsys.readouterr().out)["error"]["faults"]
    assert all(fault["cure"] for fault in faults)
    told = {int(fault["where"].removeprefix("pipeline.py:")) for fault in faults}
    assert set(lines.values()) <= told


PROBE = """
import resource, sys
from raypipe.cli.main import main
code = main(sys.argv[1:])
used = resource.getrusage(resource.RUSAGE_SELF)
sys.stderr.write(f"{used.ru_utime + used.ru_stime} {sorted(set(sys.argv) | set(sys.modules))}")
sys.exit(code)
"""


def probe(*arguments: str) -> tuple[float, set[str]]:
    """CPU seconds of the whole process, and the modules it has loaded."""
    command = [sys.executable, "-c", PROBE, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    seconds, _, modules = done.stderr.partition(" ")
    return float(seconds), set(eval(modules))


RULER = (
    "import polars, resource, sys; used = resource.getrusage(0); sys.stderr.write(str(used.ru_utime + used.ru_stime))"
)


def ruler() -> float:
    """CPU seconds of an interpreter that imports Polars and nothing else: what this machine is worth at this hour."""
    return float(subprocess.run([sys.executable, "-c", RULER], capture_output=True, text=True, check=True).stderr)


@pytest.mark.alone
@pytest.mark.parametrize(("arguments", "seconds"), [(("check", str(EXAMPLE)), 0.5), (("--help",), 0.3)])
def test_it_is_quick(arguments: tuple[str, ...], seconds: float) -> None:
    # CPU time, best of ten: what is asked is the cost of our code, not how busy the machine is. The aims hold where
    # Polars takes 0.2 s to import; machines differ by more than twice, so that a faster one has to keep a shorter aim.
    aim = seconds / 0.2 * min(ruler() for _ in range(10))
    assert min(probe(*arguments)[0] for _ in range(10)) < aim


def test_it_loads_nothing_heavy() -> None:
    assert not probe("check", str(EXAMPLE))[1] & HEAVY


def test_files_that_are_not_here_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = EXAMPLE.read_text()
    for right, wrong in {
        'csv(f"{DATA}/airlines.csv")': 'csv("nowhere/airlines.csv")',
        'csv(f"{DATA}/airports.csv")': 'csv("package://no_such_package/airports.csv")',
        'csv(f"{DATA}/planes.csv")': f'csv("{tmp_path}/planes-*.csv")',
        'csv(f"{DATA}/weather.csv")': 'csv("s3://bucket/weather.csv")',
    }.items():
        assert text.count(right) == 1
        text = text.replace(right, wrong)
    file = tmp_path / "pipeline.py"
    file.write_text(text)
    assert main(["check", str(file)]) == 0
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("! ")]
    assert [line.partition("): ")[2] for line in sorted(told)] == [
        "no file matches",
        "no such file or folder",
        "package `no_such_package` is not installed",
    ]
    (tmp_path / "planes-1.csv").touch()
    assert main(["check", str(file), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["absent"]) == 2
