"""Ray jobs under names that are given before: asked for twice, there is one."""

from collections.abc import Mapping
from typing import Literal, TypeAlias

import msgspec

from raypipe.errors import ServiceError
from raypipe.references import ray_login
from raypipe.services.http import ask

#: ``unknown``: the cluster has no such job; it never had, or it has forgotten it with everything else.
JobState: TypeAlias = Literal["unknown", "PENDING", "RUNNING", "STOPPED", "SUCCEEDED", "FAILED"]
SECONDS = 10.0


class _Info(msgspec.Struct):
    status: Literal["PENDING", "RUNNING", "STOPPED", "SUCCEEDED", "FAILED"]


def submit_once(
    dashboard: str, job: str, entrypoint: str, environment: Mapping[str, str], metadata: Mapping[str, str]
) -> None:
    """Start a job, unless there is one of this name already, whatever became of it.

    Args:
        dashboard: where the Ray dashboard is, such as ``http://127.0.0.1:8265``.
        job: its name on the cluster.
        entrypoint: the command.
        environment: its variables.
        metadata: shown on the dashboard.

    Raises:
        ServiceError: the cluster does not answer, or refuses. The job may have been started: ask by its name.
    """
    body = {
        "entrypoint": entrypoint,
        "submission_id": job,
        "runtime_env": {"env_vars": dict(environment)},
        "metadata": dict(metadata),
    }
    status, text = ask(f"{dashboard}/api/jobs/", "POST", body, seconds=SECONDS, headers=ray_login())
    # An answer that was lost, or a name that is taken: what counts is whether the job is there.
    if status != 200 and state(dashboard, job) == "unknown":
        what = f"the job was not started ({status or 'no answer'}: {' '.join(text.split())[-200:]})"
        raise ServiceError(what, where=f"job {job}", cure="`raypipe status` says what is up")


def state(dashboard: str, job: str) -> JobState:
    """Where a job stands.

    Raises:
        ServiceError: the cluster does not answer, so nobody knows.
    """
    status, text = ask(f"{dashboard}/api/jobs/{job}", seconds=SECONDS, headers=ray_login())
    if status == 404:
        return "unknown"
    try:
        if status == 200:
            return msgspec.json.decode(text, type=_Info).status
    except msgspec.MsgspecError:
        text = f"something unexpected: {text}"
    what = f"cannot be asked for ({status or 'no answer'}: {' '.join(text.split())[:200]})"
    raise ServiceError(what, where=f"job {job}", cure="`raypipe up` starts the cluster")


def stop(dashboard: str, job: str) -> None:
    """End a job that was given up; whether it hears of it does not matter."""
    ask(f"{dashboard}/api/jobs/{job}/stop", "POST", seconds=SECONDS, headers=ray_login())
