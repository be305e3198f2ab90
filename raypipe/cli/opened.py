"""The workspace opened on its running cluster. Importing this costs seconds: commands do it last."""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

from raypipe import services
from raypipe.contracts.progress import Progress
from raypipe.flows import Platform
from raypipe.observe import about, span
from raypipe.wiring import connect


@contextmanager
def opened(progress: Progress, name: str, fence: str = "") -> Iterator[Platform]:
    """Open the workspace that the settings name, and join its cluster; what does not run yet is started, and stays.

    A cluster that the settings name as others' own is joined only.

    Args:
        progress: is told what is being started.
        name: what the Ray dashboard shows as this job's name.
        fence: the ledger takes nothing from this platform once it has a row with this key.

    Raises:
        SettingsError: a setting cannot be used.
        ServiceError: a service cannot be started, or the cluster cannot be joined.
        WorkspaceError: the workspace cannot be written to.
    """
    platform = connect(fence=fence)
    run_id = uuid4().hex[:16]
    try:
        with about(run_id=run_id), span(name, run_id=run_id):
            if platform.services.ray_address:
                services.join(platform.services, name, run_id)
            else:
                services.connect(services.up(platform.services, progress), name, run_id)
            yield platform
    finally:
        platform.ledger.close()
