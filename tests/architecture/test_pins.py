"""constraints.txt pins everything that an install brings, and the package declares what it imports."""

import re
import sys
import tomllib
from functools import cache
from importlib import metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.architecture.source import PACKAGE, ROOT, imports, python_files

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@cache
def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    wanted = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(pin.name): str(pin.specifier) for pin in wanted}


def installed_for_raypipe() -> set[str]:
    """Every distribution that `make setup` needs on this interpreter, by walking what is installed."""
    extras = re.search(r"^EXTRAS := (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert extras
    declared = [
        *PROJECT["dependencies"],
        *(line for key in extras[1].split(",") for line in PROJECT["optional-dependencies"][key]),
    ]
    todo = [(Requirement(line), "") for line in declared]
    seen: set[tuple[str, str]] = set()
    while todo:
        requirement, extra = todo.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        for wanted in {"", *requirement.extras} - {done for known, done in seen if known == name}:
            seen.add((name, wanted))
            todo += [(Requirement(line), wanted) for line in metadata.requires(name) or []]
    return {name for name, _ in seen}


def test_every_version_is_pinned_exactly() -> None:
    assert not [name for name, version in pins().items() if not re.fullmatch(r"==[^,*]+", version)]
    assert pins()["torch"] == "==2.13.0"
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    assert {canonicalize_name(Requirement(line).name) for line in build} <= pins().keys()


def test_every_extra_is_pinned() -> None:
    """Also those that `make setup` leaves out."""
    for key, lines in PROJECT["optional-dependencies"].items():
        for wanted in map(Requirement, lines):
            pin = pins().get(canonicalize_name(wanted.name), "")
            assert wanted.specifier.contains(pin.removeprefix("==")), f"{key}: {wanted}, pinned {pin or 'not at all'}"


def test_constraints_name_versions_only() -> None:
    assert not re.search(r"://|file:|^-|@|\+", (ROOT / "constraints.txt").read_text(), re.MULTILINE)


def test_what_is_installed_is_what_is_pinned() -> None:
    wrong = {}
    for name in installed_for_raypipe():
        installed = Version(metadata.version(name)).public
        if pins().get(name) != f"=={installed}":
            wrong[name] = f"installed {installed}, pinned {pins().get(name, 'not at all')}"
    assert not wrong


def test_what_is_imported_is_declared() -> None:
    """An import that only works because another package happens to bring the library breaks on its next release."""
    declared = {canonicalize_name(Requirement(line).name) for line in PROJECT["dependencies"]}
    optional = {
        canonicalize_name(Requirement(line).name)
        for key in ("alerts", "avro", "delta", "kafka", "kinesis", "postgres", "pubsub", "redis")
        for line in PROJECT["optional-dependencies"][key]
    }
    providers = metadata.packages_distributions()
    undeclared = {
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in python_files(PACKAGE)
        for line, name in imports(path)
        if (top := name.partition(".")[0]) not in sys.stdlib_module_names | {"raypipe"}
        and not {canonicalize_name(found) for found in providers.get(top, [])} & (declared | optional)
    }
    assert not undeclared
