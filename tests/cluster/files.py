"""Where the cluster's files lie, and what the installed Ray really reads and emits."""

import re
from functools import cache
from pathlib import Path

import ray
import yaml

ROOT = Path(__file__).parents[2]
CLUSTER = ROOT / "cluster"
RAY = Path(ray.__file__).parent


def load(name: str) -> dict:
    """A YAML file below cluster/ with one document."""
    return yaml.safe_load((CLUSTER / name).read_text())


def documents(text: str) -> list[dict]:
    """All documents of a YAML text."""
    return [document for document in yaml.safe_load_all(text) if document]


@cache
def ray_source(*folders: str) -> str:
    """The Python source of parts of the installed Ray."""
    return "\n".join(
        path.read_text(errors="replace") for folder in folders for path in sorted((RAY / folder).rglob("*.py"))
    )


@cache
def _core() -> bytes:
    return (RAY / "_raylet.so").read_bytes()


def unknown_variables(names: set[str]) -> set[str]:
    """Variables of Ray that nothing in the installed Ray reads, in Python or in its compiled core."""
    source = ray_source("_common", "_private", "serve", "data", "train", "dashboard", "util")
    return {
        name
        for name in names
        if not re.search(rf"[\"']{name}[\"']", source)
        # The core keeps names of its own settings (RAY_lower_case) without the prefix.
        and not (name.startswith("RAY_AUTH_") and b"\0" + name.encode() + b"\0" in _core())
        and not (name.startswith("RAY_") and name[4:].islower() and name[4:].encode() in _core())
    }
