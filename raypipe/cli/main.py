"""The way in, and every way out: an error is a sentence and an exit code, never a stack trace."""

import errno
import os
import re
import shutil
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import gettempdir

import typer
from typer.main import get_command

from raypipe import telemetry
from raypipe.cli.output import MAX_WIDTH, console, tell_error
from raypipe.errors import RaypipeError, SettingsError, WorkspaceError

USAGE, BUG, INTERRUPTED = 2, 70, 130
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT}
#: How libraries and databases say so, in errors of their own.
_IS_FULL = re.compile(r"No space left on device|Disk quota exceeded|disk is full|os error (28|122)\b")


def main(arguments: Sequence[str] | None = None, command: Callable[..., None] | None = None) -> int:
    """Run the command line and return its exit code.

    0 is success, 2 a faulty definition, setting or command, 3 a source that cannot be read, 4 a closed gate, 1 any
    other failure that raypipe explains, 70 a bug in raypipe, 130 an interruption.

    Args:
        arguments: what follows the program's name; None: those of this process.
        command: serve this one command alone, as the entry point of a Ray job.
    """
    telemetry.turn_off()
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a tick must not break a terminal that lacks it
    # Typer's help reads it; very wide windows would tear options and their help apart.
    os.environ.setdefault("TERMINAL_WIDTH", str(min(MAX_WIDTH, shutil.get_terminal_size().columns)))
    json = "--json" in arguments
    try:
        return _run(arguments, command)
    except RaypipeError as error:
        if _debugging():
            raise
        tell_error(error, json=json)
        return error.exit_code
    except typer.TyperException as error:
        tell_error(_usage(error), json=json)
        return error.exit_code
    except Exception as error:  # the last line of defence: whatever is left is a bug of ours
        if _debugging():
            raise
        if full := _no_space(error):
            tell_error(full, json=json)
            return full.exit_code
        tell_error(_bug(error), json=json)
        return BUG


def _run(arguments: Sequence[str], command: Callable[..., None] | None) -> int:
    if command is None:
        from raypipe.cli.app import app as program_of

        app, program = program_of(next(iter(arguments), "")), "raypipe"
    else:
        if "--help" not in arguments:
            _require_workspace()
        app = typer.Typer(add_completion=False, rich_markup_mode="rich")
        app.command()(command)
        program = f"python {sys.argv[0]}"
    code = get_command(app).main(list(arguments), prog_name=program, standalone_mode=False)
    if code == INTERRUPTED:
        console(stderr=True).print("Interrupted. What is done is kept: the same command goes on from there.")
    return code if isinstance(code, int) else 0


def _require_workspace() -> None:
    """A job's working folder is a copy of the code that Ray throws away: a workspace in it would be lost."""
    from raypipe.settings import load_settings

    if not load_settings().workspace.is_absolute():
        cure = "`raypipe up` sets it; on another cluster, submit with it in the `env_vars` of the runtime environment"
        raise SettingsError("is not an absolute path", where="RAYPIPE_WORKSPACE", cure=cure)


def _usage(error: typer.TyperException) -> RaypipeError:
    context = getattr(error, "ctx", None)
    path = "raypipe" if context is None else context.command_path
    what, _, suggestion = error.format_message().replace("Value error, ", "").partition(" Did you mean ")
    cure = f"Did you mean {suggestion}" if suggestion else f"See `{path} --help`"
    return RaypipeError(what.rstrip("."), cure=cure)


def _no_space(error: BaseException) -> WorkspaceError | None:
    """A full disk, whoever met it: a library says it in its own words, another process in a trace that is text."""
    of_ours = isinstance(error, OSError) and error.errno in _NO_SPACE
    if not of_ours and not _IS_FULL.search(str(error)):
        return None
    where = str((error.filename if isinstance(error, OSError) else None) or "workspace")
    return WorkspaceError("no space is left on the disk", where=where, cure="Free some; then run the same again")


def _bug(error: Exception) -> RaypipeError:
    # Errors of other processes carry their trace as text; its last line is the one that says something.
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = lines[-1] if len(lines) > 1 else ": ".join([type(error).__name__, *lines])
    what = said if len(said) <= 200 else f"{said[:200]}…"
    try:
        kept = f"The full trace is in {_keep_trace(error)}"
    except OSError as fault:
        kept = f"The trace could not be kept ({fault.strerror}); RAYPIPE_DEBUG=1 shows it"
    return RaypipeError(f"this is a bug in raypipe, not in your work ({what})", cure=kept)


def _keep_trace(error: Exception) -> Path:
    from raypipe.clock import SystemClock, iso
    from raypipe.settings import load_settings

    try:
        folder = load_settings().home / "logs"
    except SettingsError:
        folder = Path(gettempdir())
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"bug-{iso(SystemClock().now()).replace(':', '')}.txt"
    file.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    return file


def _debugging() -> bool:
    from raypipe.settings import debugging

    return debugging()
