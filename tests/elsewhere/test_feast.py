"""Feast itself takes what `raypipe export --feast` writes, and gives the values of the training set back."""

import json
from pathlib import Path

import pytest

from raypipe.features.feast import write
from tests.elsewhere.venvs import done, python_with
from tests.features.test_training_set import build, made_tables

FEAST = ("feast==0.67.0",)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_feast_gives_the_values_of_the_training_set(tmp_path: Path) -> None:
    python = python_with(*FEAST)
    tables = made_tables()
    made = build(tables, tmp_path / "sets")
    write(tables.pipeline, made, tmp_path / "feast")
    quiet = {"FEAST_USAGE": "False", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    done([python.with_name("feast"), "-c", tmp_path / "feast", "apply"], env=quiet)
    asked = [python, Path(__file__).with_name("ask_feast.py"), tmp_path / "feast", made.folder]
    found = json.loads(done(asked, env=quiet).splitlines()[-1])
    assert found["wrong"] == []
    assert found["history"] == 30 * 33
    assert found["online"] == 32
