"""A Ray cluster of two cores for the time of a test session, or of a benchmark."""

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import mkdtemp


@contextmanager
def two_cores() -> Iterator[None]:
    """A cluster in a folder of its own, which this process has joined; both are gone afterwards."""
    import ray

    # Ray puts sockets there, and a socket's path holds at most 107 bytes: pytest's own folders are too deep.
    folder = mkdtemp(prefix="rp-", dir="/tmp")

    def start() -> None:
        ray.init(
            address="local",
            num_cpus=2,
            include_dashboard=False,
            object_store_memory=300_000_000,
            log_to_driver=False,
            logging_level=logging.WARNING,
            _temp_dir=folder,
        )

    try:
        start()
    except Exception:  # noqa: BLE001  # Ray raises no more exact one
        # The raylet gives its agent a fixed 15 s to start, which a busy machine can miss.
        ray.shutdown()
        start()
    try:
        yield
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)
