"""``raypipe audit``: is the history what it was, and signing that it is."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from raypipe.cli.kept import kept
from raypipe.cli.output import AsJson, Output
from raypipe.cli.parity import Last, Log, parity
from raypipe.clock import SystemClock, to_second
from raypipe.errors import SettingsError
from raypipe.words import amount


class What(StrEnum):
    """What to do."""

    LEDGER = "ledger"
    CHECKPOINT = "checkpoint"
    KEYS = "keys"
    PARITY = "parity"


def audit(
    what: Annotated[What, typer.Argument(metavar="WHAT", help="Verify, sign, or make keys; or replay requests.")],
    pipeline: Annotated[
        str | None,
        typer.Argument(metavar="[FILE|NAME]", help="For `parity`: a pipeline file, or its name.", show_default=False),
    ] = None,
    checkpoints: Annotated[
        Path | None,
        typer.Option("--checkpoints", metavar="FILE", show_default=False, help="A copy that was kept elsewhere."),
    ] = None,
    folder: Annotated[
        Path, typer.Option("--folder", metavar="DIR", help="Where new keys are put.", show_default=False)
    ] = Path(),
    log: Log = None,
    last: Last = 10_000,
    json: AsJson = False,
) -> None:
    """Verify the ledger: its chain of hashes, and every checkpoint that was signed. Exit code 1: it was tampered with.

    `checkpoint` verifies too, and signs what is there now; let a machine that nobody else writes to do so every hour.
    `keys` makes the pair of keys: settings `audit_key` (signs) and `audit_public_key` (verifies) refer to them.

    `parity` replays logged requests of a pipeline through the way that training takes. As known then, each feature must
    be what serving used; one that is not is named with key, time and both values, and the exit code is 1. Of many, five
    of each feature are shown, and `--json` has all. How many would differ by what is known now
    shows how much came late.
    """
    if what is What.PARITY:
        parity(pipeline, log, last, json=json)
        return
    from raypipe.ledger import checkpoint

    out = Output(json)
    if what is What.KEYS:
        private, public = checkpoint.make_keys(folder)
        out.say(f'audit_key = "file:{private.absolute()}"', f'audit_public_key = "file:{public.absolute()}"')
        out.result({"audit_key": f"file:{private.absolute()}", "audit_public_key": f"file:{public.absolute()}"})
        return
    with kept() as found:
        settings = found.settings
        file = checkpoints or Path(settings.audit_folder or settings.home / "audit") / checkpoint.NAME
        if what is What.CHECKPOINT:
            if not settings.audit_key:
                raise _unset("audit_key")
            made = checkpoint.sign(found.ledger, file, settings.audit_key, SystemClock().now())
            out.say(Text(f"Rows 1 to {made.seq:,} are signed ({made.hash[:16]}…), in {file}", "green"))
            out.result(made)
            return
        if not settings.audit_public_key:
            rows = amount(found.ledger.verify(), "row")
            raise _unset("audit_public_key", f", so no signature was verified; the chain of hashes over {rows} holds")
        seen = checkpoint.audit(found.ledger, file, settings.audit_public_key)
    unsigned = seen.rows - seen.signed
    until = "nothing was signed yet" if seen.signed_at is None else f"signed up to row {seen.signed:,}"
    out.say(Text(f"The ledger is what was written: {seen.rows:,} rows, {until}.", "green"))
    if seen.signed_at is not None:
        out.say(Text(f"{amount(seen.checkpoints, 'checkpoint')}, the last at {to_second(seen.signed_at)}.", "dim"))
    if unsigned:
        more = "row is" if unsigned == 1 else "rows are"
        out.say(Text(f"{unsigned:,} {more} covered by no signature: `raypipe audit checkpoint` signs.", "yellow"))
    out.result(seen)


def _unset(setting: str, more: str = "") -> SettingsError:
    cure = "Make keys with `raypipe audit keys`, and set it to file:/path"
    return SettingsError(f"is not set{more}", where=f"setting `{setting}`", cure=cure)
