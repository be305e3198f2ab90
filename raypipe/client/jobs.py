"""Runs on a cluster, through the Jobs API of its dashboard."""

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Literal

import msgspec

from raypipe.client.transport import Transport, decoded
from raypipe.errors import DefinitionError, Fault, RaypipeError, ServiceError

State = Literal["PENDING", "RUNNING", "STOPPED", "SUCCEEDED", "FAILED"]
_OVER = {"STOPPED", "SUCCEEDED", "FAILED"}
_POLL_SECONDS = 1.0


class _Info(msgspec.Struct):
    status: State
    message: str | None = None


class _Submitted(msgspec.Struct):
    submission_id: str


class _Logs(msgspec.Struct):
    logs: str | None = None


class Job:
    """A run on the cluster, under way or over.

    Attributes:
        id: names it on the Ray dashboard and for ``ray job logs``.
    """

    def __init__(self, id: str, transport: Transport) -> None:
        self.id, self._transport = id, transport

    def __repr__(self) -> str:
        return f"Job({self.id!r})"

    def state(self) -> State:
        """Where it stands now."""
        return self._info().status

    def logs(self) -> str:
        """Everything it has written so far."""
        return decoded(self._transport.send("GET", f"/api/jobs/{self.id}/logs"), _Logs).logs or ""

    def wait(self, seconds: float | None = None) -> "Job":
        """Wait until it is over and has succeeded.

        Args:
            seconds: wait no longer than this; the job goes on. None: as long as it takes.

        Raises:
            RaypipeError: the run failed, with the reason that it gave.
            ServiceError: it was stopped, or is not over in time.
        """
        began = monotonic()
        while (info := self._info()).status not in _OVER:
            if seconds is not None and monotonic() - began > seconds:
                cure = f"It goes on; ask again with Job.wait, or read `ray job logs {self.id}`"
                raise ServiceError(f"is not over after {seconds:g} s", where=f"job {self.id}", cure=cure)
            sleep(_POLL_SECONDS)
        if info.status == "STOPPED":
            raise ServiceError("was stopped", where=f"job {self.id}", cure="The same run goes on where it stopped")
        if info.status == "FAILED":
            raise self._failure(info.message or "")
        return self

    def result(self) -> dict[str, Any]:
        """What ``raypipe run --json`` prints, of a run that succeeded."""
        return last_document(self.logs().encode())

    def _info(self) -> _Info:
        return decoded(self._transport.send("GET", f"/api/jobs/{self.id}"), _Info)

    def _failure(self, message: str) -> RaypipeError:
        cure = f"See `ray job logs {self.id}`"
        return told(self.logs().encode()) or RaypipeError(
            message.strip() or "failed", where=f"job {self.id}", cure=cure
        )


def last_document(text: bytes) -> dict[str, Any]:
    """The last line that is a JSON object: what a command with ``--json`` came to, after whatever else was written."""
    for line in reversed(text.splitlines()):
        if line.startswith(b"{"):
            try:
                return msgspec.json.decode(line, type=dict[str, Any])
            except msgspec.DecodeError:
                continue
    return {}


def told(text: bytes) -> RaypipeError | None:
    """The error that a command with ``--json`` ended with."""
    error = last_document(text).get("error")
    if error is None:
        return None
    if "faults" in error:
        return DefinitionError(Fault(fault["where"], fault["what"], fault["cure"]) for fault in error["faults"])
    return RaypipeError(error["what"], where=error["where"], cure=error["cure"])


def submit(transport: Transport, file: Path, options: Mapping[str, str | None], environment: Mapping[str, str]) -> Job:
    """Start ``raypipe run`` on the cluster, in this folder and with this Python, which the cluster must see too."""
    given = [part for name, content in options.items() if content is not None for part in (f"--{name}", content)]
    command = shlex.join([sys.executable, "-m", "raypipe.cli", "run", str(file.absolute()), "--json", *given])
    body = {
        "entrypoint": f"cd {shlex.quote(str(Path.cwd()))} && exec {command}",
        "runtime_env": {"env_vars": dict(environment)},
        "metadata": {"pipeline": file.name},
    }
    return Job(decoded(transport.send("POST", "/api/jobs/", body), _Submitted).submission_id, transport)
