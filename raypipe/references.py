"""Secrets by reference: a setting names where a secret stands, and only who connects looks there. Ray's token, too."""

import os
from pathlib import Path

from raypipe.errors import SettingsError

ENV, FILE = "env:", "file:"


def is_reference(value: str) -> bool:
    """True when the value says where a secret is, and is none itself."""
    return value.startswith((ENV, FILE))


def reveal(value: str) -> str:
    """What a value stands for: ``env:NAME`` a variable, ``file:/path`` a file's text; anything else is itself.

    Raises:
        SettingsError: there is no such variable or file, or it is empty.

    >>> reveal("postgresql://db.internal/raypipe")
    'postgresql://db.internal/raypipe'
    >>> reveal("env:NOBODY_HAS_SET_THIS")
    Traceback (most recent call last):
    ...
    raypipe.errors.SettingsError: env:NOBODY_HAS_SET_THIS: holds nothing. Set it ...
    """
    if value.startswith(ENV):
        found = os.environ.get(value.removeprefix(ENV), "")
    elif value.startswith(FILE):
        try:
            found = Path(value.removeprefix(FILE)).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "is no text"
            raise SettingsError(f"cannot be read: {why}", where=value, cure="Check the path and its rights") from None
    else:
        return value
    if not (found := found.strip()):
        raise SettingsError("holds nothing", where=value, cure="Set it where this process and Ray's workers run")
    return found


def ray_login() -> dict[str, str]:
    """The header by which a Ray dashboard lets us in; none where ``RAY_AUTH_MODE`` is not ``token``."""
    token = ray_token() if os.environ.get("RAY_AUTH_MODE", "").lower() == "token" else ""
    return {"Authorization": f"Bearer {token}"} if token else {}


def ray_token() -> str:
    """Ray's token, from where Ray itself takes it; empty: there is none."""
    if token := os.environ.get("RAY_AUTH_TOKEN", ""):
        return token.strip()
    try:
        return ray_token_file().read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def ray_token_file() -> Path:
    """Where Ray looks for its token when no variable holds it."""
    return Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or "~/.ray/auth_token").expanduser()
