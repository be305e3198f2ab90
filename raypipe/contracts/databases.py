"""Databases by URL: one way to name them, and one sentence for a driver that is not installed."""

from importlib.util import find_spec

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from raypipe.errors import SettingsError
from raypipe.references import reveal

POSTGRES = "postgresql+psycopg"
CONNECT_SECONDS = "5"


def database_url(value: str) -> URL:
    """The URL of a PostgreSQL database, given itself or by reference (``env:NAME``, ``file:/path``).

    Raises:
        SettingsError: it is no such URL, or the driver is not installed.

    >>> database_url("postgresql://raypipe@db/raypipe").drivername
    'postgresql+psycopg'
    """
    try:
        url = make_url(reveal(value))
    except ArgumentError:
        # What the reference holds may be a secret, so it is not shown.
        raise SettingsError("holds no database URL", where=value, cure=_CURE) from None
    if url.drivername not in ("postgresql", "postgres", POSTGRES):
        raise SettingsError(f"`{url.drivername}` is not a database that raypipe knows", where=value, cure=_CURE)
    if find_spec("psycopg") is None:
        cure = "Install it with `pip install 'raypipe[postgres]'`"
        raise SettingsError("PostgreSQL needs a driver that is not installed", where=value, cure=cure)
    url = url.set(drivername=POSTGRES)
    # A host that swallows packets would be waited for without end.
    return url if "connect_timeout" in url.query else url.update_query_dict({"connect_timeout": CONNECT_SECONDS})


_CURE = "Write it as postgresql://user@host/database; with a password, in a variable or a file: env:NAME, file:/path"
