"""The workspace opened, with the services it needs running. Importing this costs seconds: commands do it last."""

from collections.abc import Iterator
from contextlib import contextmanager

from raypipe import services
from raypipe.contracts.progress import Progress
from raypipe.flows import Platform
from raypipe.wiring import connect


@contextmanager
def opened(progress: Progress) -> Iterator[Platform]:
    """Open the workspace that the settings name; start the services that do not run yet, and leave them running.

    Raises:
        SettingsError: a setting cannot be used.
        ServiceError: a service cannot be started.
        WorkspaceError: the workspace cannot be written to.
    """
    platform = connect()
    services.up(platform.services, progress)
    try:
        yield platform
    finally:
        platform.ledger.close()
