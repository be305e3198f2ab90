"""Every way out of the command line: a sentence, an exit code, no stack trace."""

import errno
import json
import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from raypipe.cli import definition
from raypipe.cli.main import BUG, INTERRUPTED, USAGE, main
from raypipe.errors import DefinitionError, Fault, GateError, RaypipeError, RequestError, SourceError

EXAMPLE = str(Path(__file__).parents[2] / "examples/flights/pipeline.py")


@pytest.fixture
def ends_with(monkeypatch: pytest.MonkeyPatch, workspace: Path):
    """Makes ``raypipe check FILE`` raise."""
    # Other commands take `read` with them when they are imported, so they come before it is replaced.
    import_module("raypipe.cli.app")

    def plant(error: BaseException) -> None:
        def read(file: Path) -> None:
            raise error

        monkeypatch.setattr(definition, "read", read)

    return plant


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RaypipeError("port 8000 is taken", where="raypipe up", cure="Set `serve_port`"), 1),
        (SourceError("is not there", where="flights.csv"), 3),
        (GateError("check `unique` failed on [3] rows", where="table flights"), 4),
        (RequestError("is missing", where="carrier"), 1),
    ],
)
def test_a_mistake_is_a_sentence(ends_with, capsys, error: RaypipeError, code: int) -> None:
    ends_with(error)
    assert main(["check", "x.py"]) == code == error.exit_code
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"error: {error}\n")


def test_a_mistake_as_json(ends_with, capsys) -> None:
    ends_with(SourceError("is not there", where="flights.csv", cure="Put it there"))
    assert main(["check", "x.py", "--json"]) == 3
    out, err = capsys.readouterr()
    assert json.loads(out) == {
        "error": {"kind": "SourceError", "what": "is not there", "where": "flights.csv", "cure": "Put it there"}
    }
    assert err == ""


def test_every_fault_has_its_line(ends_with, capsys) -> None:
    ends_with(DefinitionError([Fault("a.py:3", "first", "Do this"), Fault("a.py:9", "second")]))
    assert main(["check", "a.py"]) == 2
    assert (
        capsys.readouterr().err
        == "error: a.py:3: first. Do this.\nerror: a.py:9: second\n\n2 faults; nothing was run.\n"
    )


def test_a_long_sentence_stays_on_one_line_of_a_log(ends_with, capsys) -> None:
    ends_with(RaypipeError("word " * 100))
    main(["check", "x.py"])
    assert capsys.readouterr().err.count("\n") == 1


def test_a_bug_is_admitted_and_its_trace_kept(ends_with, capsys, workspace: Path) -> None:
    ends_with(ZeroDivisionError("division by zero"))
    assert main(["check", "x.py"]) == BUG
    err = capsys.readouterr().err
    assert "Traceback" not in err
    assert "this is a bug in raypipe, not in your work (ZeroDivisionError: division by zero)" in err
    kept = Path(re.search(r"trace is in (\S+\.txt)\.", err)[1])
    assert kept.parent == workspace / "logs"
    assert kept.read_text().rstrip().endswith("ZeroDivisionError: division by zero")


def test_a_bug_in_another_process_is_said_by_its_last_line(ends_with, capsys) -> None:
    ends_with(RuntimeError('Traceback (most recent call last):\n  File "x.py", line 1\nKeyError: 7\n'))
    assert main(["check", "x.py"]) == BUG
    err = capsys.readouterr().err
    assert "(KeyError: 7)" in err
    assert "Traceback" not in err


def test_a_bug_whose_trace_cannot_be_kept(ends_with, capsys, workspace: Path) -> None:
    (workspace / "logs").touch()
    ends_with(ZeroDivisionError("division by zero"))
    assert main(["check", "x.py"]) == BUG
    assert "The trace could not be kept (File exists); RAYPIPE_DEBUG=1 shows it." in capsys.readouterr().err


def test_faulty_settings_do_not_hide_a_bug(ends_with, capsys, monkeypatch) -> None:
    monkeypatch.setenv("RAYPIPE_SERVE_PORT", "many")
    ends_with(ZeroDivisionError("division by zero"))
    assert main(["check", "x.py"]) == BUG
    kept = Path(re.search(r"trace is in (\S+\.txt)\.", capsys.readouterr().err)[1])
    kept.unlink()


def test_no_space_is_no_bug(ends_with, capsys) -> None:
    ends_with(OSError(errno.ENOSPC, "No space left on device", "/somewhere/lake"))
    assert main(["check", "x.py"]) == 1
    err = capsys.readouterr().err
    assert err == "error: /somewhere/lake: no space is left on the disk. Free some; then run the same again.\n"


@pytest.mark.parametrize(
    "said", ["parquet: underlying IO error: No space left on device (os error 28)", "database or disk is full"]
)
def test_no_space_is_no_bug_in_the_words_of_a_library_either(ends_with, capsys, said: str) -> None:
    ends_with(RuntimeError(f"Traceback of another process\n{said}"))
    assert main(["check", "x.py"]) == 1
    assert capsys.readouterr().err.startswith("error: workspace: no space is left on the disk.")


def test_an_interruption(ends_with, capsys) -> None:
    ends_with(KeyboardInterrupt())
    assert main(["check", "x.py"]) == INTERRUPTED
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "Interrupted. What is done is kept: the same command goes on from there.\n"


@pytest.mark.parametrize("error", [RaypipeError("a"), ZeroDivisionError("b")])
def test_debugging_shows_traces(ends_with, monkeypatch, error: Exception) -> None:
    monkeypatch.setenv("RAYPIPE_DEBUG", "1")
    ends_with(error)
    with pytest.raises(type(error)):
        main(["check", "x.py"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["chek"], "error: No such command 'chek'. Did you mean 'check'?\n"),
        (["check"], "error: Missing argument 'FILE'. See `raypipe check --help`.\n"),
        (["check", "a.py", "b.py"], "error: Got unexpected extra argument(s) (b.py). See `raypipe check --help`.\n"),
        (["run", "a.py", "--util", "gate"], "No such option: --util"),
        (["run", "a.py", "--until", "lunch"], "'lunch' is not one of 'ingest', 'gate', 'features', 'train'"),
        (
            ["run", EXAMPLE, "--as-of", "yesterday"],
            "--as-of: `yesterday` is not a date or time. Write it as 2013-07-03",
        ),
    ],
)
def test_a_mistyped_command(capsys, arguments: list[str], said: str) -> None:
    assert main(arguments) == USAGE
    out, err = capsys.readouterr()
    assert said in err
    assert out == ""
    assert main([*arguments, "--json"]) == USAGE
    assert json.loads(capsys.readouterr().out)["error"]["what"]


def test_another_command_alone(capsys, monkeypatch, workspace: Path) -> None:
    def greet(name: str) -> None:
        """Greet somebody."""
        print(f"Hello, {name}.")

    monkeypatch.setattr(sys, "argv", ["jobs/greet.py"])
    assert main(["Ada"], command=greet) == 0
    assert capsys.readouterr().out == "Hello, Ada.\n"
    assert main([], command=greet) == USAGE
    assert "See `python jobs/greet.py --help`" in capsys.readouterr().err


def raypipe(*arguments: str, **more: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "raypipe.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **more)


def test_exit_codes_reach_the_shell(tmp_path: Path) -> None:
    done = raypipe("check", "nowhere.py", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == "error: nowhere.py: no such pipeline file. Give the path of a .py file.\n"
    assert list(tmp_path.iterdir()) == []


def test_a_closed_pipe_is_quiet() -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "raypipe.cli", "check", EXAMPLE, "--json"]
    with os.fdopen(write, "w") as pipe:
        done = subprocess.run(command, stdout=pipe, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert done.stderr == ""


def test_a_terminal_that_lacks_the_tick() -> None:
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = raypipe("check", EXAMPLE, env=environment)
    assert done.returncode == 0, done.stderr
    assert "has no faults" in done.stdout
