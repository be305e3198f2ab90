"""What the workspace has kept, read without starting anything."""

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from raypipe.errors import RegistryError, SettingsError, WorkspaceError, did_you_mean

if TYPE_CHECKING:
    from raypipe.ledger import Ledger
    from raypipe.registry import Registry
    from raypipe.settings import Settings

Name = Annotated[str, typer.Argument(metavar="NAME", help="The pipeline's name, such as flights.", show_default=False)]
VersionName = Annotated[
    str,
    typer.Argument(
        metavar="NAME/VERSION", help="A model's version, such as flights/3 or flights/champion.", show_default=False
    ),
]
Last = Annotated[
    int | None,
    typer.Option("--last", metavar="N", min=1, show_default=False, help="Show so many rows, the newest. JSON has all."),
]


@dataclass(frozen=True)
class Kept:
    """The history of a workspace, and its models."""

    ledger: "Ledger"
    registry: "Registry"
    settings: "Settings"


@contextmanager
def kept(*, writes: bool = False) -> Iterator[Kept]:
    """Open the history and the models of the workspace that the settings name.

    Args:
        writes: the models are to be changed, so MLflow's copy of them is to follow.

    Raises:
        WorkspaceError: there is no such workspace yet; looking makes none.
    """
    from raypipe.settings import load_settings
    from raypipe.wiring import open_ledger, open_registry, require_workspace

    settings = load_settings()
    require_workspace(settings)
    ledger = open_ledger(settings)
    try:
        yield Kept(ledger, open_registry(settings, ledger, mirror=writes), settings)
    finally:
        ledger.close()


def is_there() -> bool:
    """Whether the settings name a workspace that is there."""
    from raypipe.settings import load_settings
    from raypipe.wiring import require_workspace

    try:
        require_workspace(load_settings())
    except WorkspaceError:
        return False
    return True


def require_known(registry: "Registry", name: str) -> None:
    """Do nothing when there is a model of this name.

    Raises:
        RegistryError: there is none; names the nearest.
    """
    if name not in (names := registry.names()):
        cure = did_you_mean(name, names) or "Make one with `raypipe run FILE`"
        raise RegistryError("no model of this name is registered", where=name, cure=cure)


def split(text: str) -> tuple[str, str]:
    """The model and the version that a person means; the champion when they name none.

    >>> split("flights/3"), split("flights@champion"), split("flights")
    (('flights', '3'), ('flights', 'champion'), ('flights', 'champion'))

    Raises:
        RegistryError: it names no model.
    """
    name, _, version = text.replace("@", "/", 1).partition("/")
    if not name:
        raise RegistryError("names no model", where=f"`{text}`", cure="Write it as flights/3 or flights/champion")
    return name, version or "champion"


def older(left: int) -> list[Text]:
    """What to say below a table that shows the newest rows alone."""
    return [Text(f"{left:,} older: --last N shows more, --json all", "dim")] if left > 0 else []


def person() -> str:
    """Who is asking, by the name of their account: a variable of the environment could say anything."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"


def because(why: str) -> str:
    """A reason for the record.

    Raises:
        SettingsError: it is empty.
    """
    if not why.strip():
        raise SettingsError("gives no reason", where="--why", cure='Write one: --why "better on JFK"')
    return why.strip()
