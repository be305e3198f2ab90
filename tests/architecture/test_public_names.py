"""The names a pipeline file may use are written down; a change of them is a decision, and stands in the changelog."""

import inspect
from pathlib import Path

import pytest

import raypipe

SNAPSHOT = Path(__file__).with_name("public_names.txt")


def test_public_names_are_the_ones_written_down() -> None:
    written = SNAPSHOT.read_text(encoding="utf-8").split()
    assert sorted(raypipe.__all__) == written, f"if this is meant, change {SNAPSHOT.name} and CHANGELOG.md with it"


def test_public_names_exist_once() -> None:
    assert len(set(raypipe.__all__)) == len(raypipe.__all__)
    assert not [name for name in raypipe.__all__ if not hasattr(raypipe, name)]


@pytest.mark.parametrize("name", sorted(raypipe.__all__))
def test_public_names_are_documented(name: str) -> None:
    value = getattr(raypipe, name)
    if inspect.isclass(value) or inspect.isroutine(value) or inspect.ismodule(value):
        assert inspect.getdoc(value), f"raypipe.{name} has no docstring"
