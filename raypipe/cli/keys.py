"""``raypipe keys add``, ``list`` and ``revoke``: who may ask the service."""

import re
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from raypipe.cli.output import AsJson, Output
from raypipe.clock import SystemClock, to_minute, to_second
from raypipe.errors import SettingsError

if TYPE_CHECKING:
    from raypipe.serving.access import Key, Keyring

_SPAN = re.compile(r"(\d{1,6})([mhd])")
_SECONDS = {"m": 60, "h": 3_600, "d": 86_400}


def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose key it is.", show_default=False)],
    scope: Annotated[
        list[str] | None,
        typer.Option("--scope", metavar="SCOPE", show_default=False, help="predict (the default), feedback or admin."),
    ] = None,
    rate: Annotated[
        float, typer.Option("--rate", metavar="N", help="Requests a second that each replica answers; 0: any.")
    ] = 0.0,
    ends: Annotated[
        str | None, typer.Option("--for", metavar="SPAN", show_default=False, help="It ends after this, such as 90d.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Make a key and show it: this once, for only its hash is kept.

    From the first key on the service answers to keys alone; on another address than 127.0.0.1 it does so from the
    start.
    """
    out, ring = Output(json), _ring()
    scopes: tuple[Any, ...] = tuple(scope or ["predict"])
    token = ring.add(name, scopes, rate=rate, ends=_after(ends) or 0)
    out.copyable(token)
    out.say(Text("Send it as `Authorization: Bearer …`. It cannot be shown again.", "dim"))
    out.result({"key": token, "id": token.split("_")[1], "name": name})


def list_(json: AsJson = False) -> None:
    """Show the keys, without their secrets."""
    out, now = Output(json), SystemClock().now()
    keys = _ring().all()
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for heading in ("id", "name", "scopes", "rate", "made", "ends"):
        table.add_column(heading)
    for key in keys:
        ended = "ended" if key.ends and key.ends <= now else to_minute(key.ends) if key.ends else ""
        rate = f"{key.rate:g}/s" if key.rate else ""
        table.add_row(key.id, key.name, ", ".join(key.scopes), rate, to_minute(key.created), ended)
    if not json:
        out.say(table if keys else "There are no keys.")
    out.result([_shown(key) for key in keys])


def revoke(
    id_: Annotated[str, typer.Argument(metavar="ID", help="As `raypipe keys list` shows it.", show_default=False)],
    after: Annotated[
        str | None,
        typer.Option("--after", metavar="SPAN", show_default=False, help="Let it end after this, such as 1d."),
    ] = None,
    json: AsJson = False,
) -> None:
    """End a key: within a second, or after a span, so that its owner can change to another."""
    out = Output(json)
    key = _ring().revoke(id_, at=_after(after))
    out.say(f"{key.id} ({key.name}) ends at {to_second(key.ends)}.")
    out.result(_shown(key))


def _ring() -> "Keyring":
    from raypipe.serving.access import Keyring
    from raypipe.settings import load_settings

    return Keyring(load_settings().home / "serving", SystemClock())


def _after(span: str | None) -> int | None:
    if span is None:
        return None
    found = _SPAN.fullmatch(span)
    if found is None:
        raise SettingsError(f"`{span}` is not a span of time", where="keys", cure="Write it as 30m, 12h or 90d")
    return SystemClock().now() + int(found[1]) * _SECONDS[found[2]] * 1_000_000


def _shown(key: "Key") -> dict[str, object]:
    shown = ("id", "name", "scopes", "rate", "created", "ends")
    return {name: getattr(key, name) for name in shown}
