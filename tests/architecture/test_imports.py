"""The import contracts hold, and they bite."""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import raypipe
from tests.architecture.source import PACKAGE, ROOT, imports, part, python_files, tree

LINTER = Path(sys.executable).with_name("lint-imports")

# Where each heavy library may be imported; everywhere else it would make light things heavy.
HOMES = {
    "lightgbm": {"training", "serving"},
    "mlflow": {"registry", "training", "services", "wiring"},
    "pyiceberg": {"lake", "wiring"},
    "ray": {
        "cli", "console", "features", "flows", "lake", "monitoring", "serving", "services", "training", "validation",
        "wiring",
    },
    "torch": {"training", "serving"},
}  # fmt: skip


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [LINTER, "--no-logo", "--no-cache"], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )


def test_contracts_hold() -> None:
    result = lint(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("planted", "code", "broken"),
    [
        ("lake/planted.py", "import raypipe.features", "Imports point down"),
        ("errors_planted.py", "", "Imports point down"),
        ("errors.py", "import raypipe.clock", "Imports point down"),
        ("lake/planted.py", "import raypipe.settings", "Only wiring and faces read settings"),
        ("flows/planted.py", "import raypipe.settings", "Only wiring and faces read settings"),
        ("features/planted.py", "from raypipe.stats import decay", "only stats knows how"),
        (
            "features/planted.py",
            "from raypipe.stats.exact import exact",
            "only stats knows how",
        ),
        ("serving/planted.py", "from raypipe.stats.ranges import kth", "only stats knows how"),
        ("spec/planted.py", "import ray.data", "run without heavy libraries"),
        ("contracts/planted.py", "import mlflow", "run without heavy libraries"),
    ],
)
def test_contracts_bite(tmp_path: Path, planted: str, code: str, broken: str) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(PACKAGE, tmp_path / "raypipe", ignore=shutil.ignore_patterns("__pycache__"))
    for room in ("lake", "features", "flows", "serving"):
        (tmp_path / "raypipe" / room).mkdir(exist_ok=True)
        (tmp_path / "raypipe" / room / "__init__.py").touch()
    with (tmp_path / "raypipe" / planted).open("a") as file:
        file.write(f"\n{code}\n")
    result = lint(tmp_path)
    assert result.returncode != 0
    assert re.search(f"{broken}.* BROKEN", result.stdout), result.stdout + result.stderr


def test_every_light_part_is_under_contract() -> None:
    light = {"clock", "client", "contracts", "errors", "failpoints", "retraining", "spec", "stats"}
    exist = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    contract = (ROOT / "pyproject.toml").read_text().partition('id = "light"')[2].partition("[[")[0]
    missing = [name for name in sorted(light & exist) if f'"raypipe.{name}"' not in contract]
    assert not missing, f"add to source_modules of the contract `light` in pyproject.toml: {missing}"


def test_heavy_libraries_stay_in_their_rooms() -> None:
    strays = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in python_files(PACKAGE)
        for line, name in imports(path)
        if part(path) not in HOMES.get(name.partition(".")[0], {part(path)})
    ]
    assert not strays


def test_features_compute_no_aggregate_of_their_own() -> None:
    """Sums, means and ranks of values are the kernel's; what is counted here are places and widths."""
    theirs = {"mean", "average", "std", "var", "median", "quantile", "percentile", "partition", "sqrt", "exp", "exp2"}
    theirs |= {"fmin", "fmax", "nansum", "nanmin", "nanmax", "nanmean", "histogram", "hypot", "logaddexp"}
    strays = [
        f"{path.relative_to(ROOT)}:{node.lineno} np.{node.attr}"
        for path in python_files(PACKAGE / "features")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "np" and node.attr in theirs
    ]
    assert not strays


def test_library_code_does_not_import_from_the_package_root() -> None:
    """Those names are for users' files; from inside they would be a ring, as the root imports the parts."""
    names = {f"raypipe.{name}" for name in raypipe.__all__} - {"raypipe.__version__"} | {"raypipe"}
    strays = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in python_files(PACKAGE)
        if path != PACKAGE / "__init__.py"
        for line, name in imports(path)
        if name in names
    ]
    assert not strays
