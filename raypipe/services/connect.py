"""Join a running Ray cluster as a driver."""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from raypipe.errors import ServiceError
from raypipe.services.config import Running
from raypipe.services.ray_head import QUIET, tuned

NAMESPACE = "raypipe"


def connect(running: Running, name: str = "raypipe", run_id: str = "") -> None:
    """Make this process a driver of the cluster; nothing happens when it is one already.

    Args:
        running: what ``up`` returned.
        name: what the dashboard shows as the name of this driver's job.
        run_id: as log lines and traces have it, for the job's metadata.

    Raises:
        ServiceError: the cluster cannot be joined.
    """
    host, _, port = running.address.rpartition(":")
    try:
        # Ray itself would try for 40 seconds.
        socket.create_connection((host, int(port)), timeout=1.0).close()
    except (OSError, ValueError):
        what = "the Ray cluster does not answer"
        raise ServiceError(what, where=running.address, cure="Start it with `raypipe up`") from None
    # Read when Ray is imported, and by its libraries in the driver.
    os.environ.update(
        QUIET | {key: value for key, value in tuned(os.cpu_count() or 2).items() if key not in os.environ}
    )

    import ray
    from ray._private import ray_constants

    if ray.is_initialized():
        return
    # Ray may have been imported before the environment said so, see ray_head.LOOPBACK.
    ray_constants.ENABLE_RAY_CLUSTER = False
    with explained(running.address, cure="`raypipe down`, then `raypipe up`"):
        drive(running.address, name, run_id)


def drive(address: str, name: str, run_id: str) -> None:
    """Make this process a driver of a cluster, unless it is one.

    Args:
        address: as Ray writes it.
        name: of this driver's job.
        run_id: for the job's metadata.
    """
    import ray
    from ray._private import worker
    from ray.job_config import JobConfig

    # Ray prints what it says of workers that died among our own lines, and no option keeps it from that; whoever waits
    # for such a worker says what is to be said.
    worker._worker_logs_enabled = False
    if not ray.is_initialized():
        ray.init(
            address=address,
            namespace=NAMESPACE,
            job_config=JobConfig(metadata={"job_name": name, "run_id": run_id}),
            log_to_driver=False,
            logging_level=logging.WARNING,
        )


@contextmanager
def explained(address: str, cure: str) -> Iterator[None]:
    """Say in one sentence why the cluster at an address cannot be joined.

    Raises:
        ServiceError: Ray refused in the block.
    """
    from ray.exceptions import AuthenticationError

    try:
        yield
    except (AuthenticationError, ConnectionError, RuntimeError, TimeoutError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ServiceError(f"the Ray cluster cannot be joined: {reason}", where=address, cure=cure) from None
