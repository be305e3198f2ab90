"""Help that fits a narrow terminal, with examples for every command."""

import re

import pytest
from typer.main import get_command

from raypipe.cli.app import app
from raypipe.cli.main import main

COMMANDS = sorted(get_command(app()).commands)


def shown(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


def test_alone_it_helps(capsys: pytest.CaptureFixture[str]) -> None:
    alone = shown([], capsys)
    assert alone.split() == shown(["--help"], capsys).split()
    for command in COMMANDS:
        assert re.search(rf"│ {command} ", alone)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_shows_how_it_is_used(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = shown([command, "--help"], capsys)
    assert f"Usage: raypipe {command} " in text
    examples = text.partition("Examples:")[2].splitlines()
    assert any(re.match(rf" +.*raypipe {command}\b", line) for line in examples)
    assert max(map(len, text.splitlines())) <= 80
    # Every command that says anything can say it to programs.
    assert "--json " in text


def test_the_commands_are_the_ones_promised() -> None:
    assert {"check", "run", "up", "down", "status", "predict", "models", "ingest", "deploy"} <= set(COMMANDS)


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    from raypipe import __version__

    assert shown(["--version"], capsys) == f"raypipe {__version__}\n"
