"""What can be changed while a pipeline answers: how many replicas, how much is computed at once, waits, is kept.

One small file beside the pointer. Serve is told of the replicas; each replica looks for the rest every few seconds.
"""

from pathlib import Path

import msgspec

from raypipe.contracts.records import Record
from raypipe.errors import ServingError, SettingsError, WorkspaceError
from raypipe.serving.pointer import drafted

#: Where Serve finds what decides on the number of replicas.
POLICY = "raypipe.serving.scaling:wanted"


class Tuning(Record, frozen=True, kw_only=True):
    """How a pipeline is served.

    Attributes:
        replicas: processes that answer; the fewest, when `most` is more.
        most: as many replicas as there may be when more is asked; 0: always as many as `replicas`.
        target: requests under way that one replica should have, where their number may change.
        batch: rows that are computed at once.
        queue: rows that may wait in one replica, and requests that may be under way; one more is refused with 503.
        cache: answers that each version keeps in each replica, to give them again; 0: none.
    """

    replicas: int = 1
    most: int = 0
    target: float = 32.0
    batch: int = 128
    queue: int = 8_192
    cache: int = 0

    def checked(self) -> "Tuning":
        """Itself, if it can be.

        Raises:
            SettingsError: a number is out of range.
        """
        bounds = {"replicas": 1, "most": 0, "batch": 1, "queue": 1, "cache": 0}
        for name, least in bounds.items():
            if getattr(self, name) < least:
                raise SettingsError(f"must be at least {least}", where=name)
        if self.most and self.most < self.replicas:
            what = f"must not be below the fewest, which are {self.replicas}"
            raise SettingsError(what, where="most", cure="0 ends the scaling")
        if not 0 < self.target < float("inf"):
            raise SettingsError("must be more than 0", where="target")
        return self

    @property
    def scaled(self) -> dict[str, object]:
        """The same in the words of Serve's configuration of a deployment."""
        if not self.most:
            return {"num_replicas": self.replicas}
        return {
            "autoscaling_config": {
                "min_replicas": self.replicas,
                "max_replicas": self.most,
                "initial_replicas": self.replicas,
                "target_ongoing_requests": self.target,
                "look_back_period_s": 15.0,
                "upscale_delay_s": 5.0,
                "downscale_delay_s": 120.0,
                "policy": {"policy_function": POLICY},
            }
        }


class Tuned:
    """The tuning of a pipeline, kept in a folder that all replicas see.

    Args:
        folder: that the pointer is in.
        name: of the pipeline.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.path = folder / f"{name}.tuning.json"

    def read(self) -> Tuning | None:
        """The tuning; None when nobody ever changed it.

        Raises:
            ServingError: the file is not what `write` writes.
        """
        try:
            return Tuning.from_json(self.path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError) as error:
            cure = "Remove it, then `raypipe scale`"
            raise ServingError(f"cannot be read: {error}", where=str(self.path), cure=cure) from None

    def write(self, tuning: Tuning) -> None:
        """Keep a tuning, in one step that survives a crash.

        Raises:
            WorkspaceError: the folder cannot be written to.
        """
        try:
            drafted(self.path, tuning.to_json().encode()).replace(self.path)
        except OSError as error:
            raise WorkspaceError(f"cannot be written: {error.strerror}", where=str(self.path)) from None
