"""What was started for a workspace, kept in its folder; and the lock that lets one command at a time change it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from filelock import FileLock, Timeout

from raypipe.errors import ServiceError
from raypipe.services.config import ServicesConfig
from raypipe.services.processes import ProcessId

PATIENCE = 120.0


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was started.

    Attributes:
        mlflow: the MLflow server's first process.
        ray: the Ray head's first process.
        address: where drivers join the Ray cluster.
        others: every process there was when all was up: those that cannot be recognised otherwise once their parent
            is gone.
    """

    mlflow: ProcessId | None = None
    ray: ProcessId | None = None
    address: str = ""
    others: tuple[ProcessId, ...] = ()

    @property
    def known(self) -> tuple[ProcessId, ...]:
        """Every process that is named."""
        return tuple(process for process in (self.mlflow, self.ray) if process) + self.others


def load(config: ServicesConfig) -> Record:
    """What was started last, dead or alive. A file that cannot be read counts as none: processes carry a mark too."""
    try:
        return msgspec.json.decode(_file(config).read_bytes(), type=Record)
    except (FileNotFoundError, msgspec.MsgspecError):
        return Record()


def save(config: ServicesConfig, record: Record) -> None:
    """Write down what was started, whole or not at all."""
    file = _file(config)
    draft = file.with_suffix(".new")
    draft.write_bytes(msgspec.json.format(msgspec.json.encode(record)))
    draft.replace(file)


def forget(config: ServicesConfig) -> None:
    """Nothing runs any more."""
    _file(config).unlink(missing_ok=True)


@contextmanager
def locked(config: ServicesConfig, patience: float = PATIENCE) -> Iterator[None]:
    """Let nobody else start or stop this workspace's services meanwhile.

    Raises:
        ServiceError: somebody else does, and has not finished within ``patience`` seconds.
    """
    config.run.mkdir(parents=True, exist_ok=True)
    try:
        held = FileLock(config.run / "services.lock", timeout=patience, poll_interval=0.1).acquire()
    except Timeout:
        what = "another command is starting or stopping the services"
        raise ServiceError(what, where=str(config.workspace), cure="Try again when it is done") from None
    with held:
        yield


def changing(config: ServicesConfig) -> bool:
    """Whether some command starts or stops the services right now."""
    try:
        FileLock(config.run / "services.lock", timeout=0).acquire().lock.release()
    except Timeout:
        return True
    return False


def _file(config: ServicesConfig) -> Path:
    return config.run / "services.json"
