"""Ray jobs under names that are given before: asked for twice, there is one."""

from collections.abc import Mapping
from typing import Literal, TypeAlias

import msgspec

from raypipe.errors import NoAnswerError, ServiceError
from raypipe.references import ray_login
from raypipe.services.http import ask

#: ``unknown``: the cluster has no such job; it never had, or it has forgotten it with everything else.
JobState: TypeAlias = Literal["unknown", "PENDING", "RUNNING", "STOPPED", "SUCCEEDED", "FAILED"]
SECONDS = 10.0
#: From this status on, the service has failed and not the question.
_FAILED = 500


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
        what = f"the job was not started ({_said(status, text)})"
        raise ServiceError(what, where=f"job {job}", cure="`raypipe status` says what is up")


def state(dashboard: str, job: str) -> JobState:
    """Where a job stands.

    Raises:
        NoAnswerError: the cluster does not answer, or only that it cannot now: nobody knows.
        ServiceError: it refuses to say.
    """
    status, text = ask(f"{dashboard}/api/jobs/{job}", seconds=SECONDS, headers=ray_login())
    if status == 404:
        return "unknown"
    try:
        if status == 200:
            return msgspec.json.decode(text, type=_Info).status
    except msgspec.MsgspecError:
        text = f"something unexpected: {text}"
    if status == 0:
        cure = "It is busy or down: `raypipe status` says which, and the same command goes on from here"
        raise NoAnswerError(f"the dashboard at {dashboard} gives no answer", where=f"job {job}", cure=cure)
    what = f"cannot be asked for ({_said(status, text)})"
    kind = NoAnswerError if status >= _FAILED else ServiceError
    raise kind(what, where=f"job {job}", cure="`raypipe status` says what is up")


def _said(status: int, text: str) -> str:
    """An answer in one line, which has its end, where the reason mostly is.

    >>> _said(500, "a long   way down")
    '500: a long way down'
    >>> _said(0, "")
    'no answer'
    """
    return ": ".join(filter(None, (str(status) if status else "no answer", " ".join(text.split())[-200:])))


def stop(dashboard: str, job: str) -> None:
    """End a job that was given up; whether it hears of it does not matter."""
    ask(f"{dashboard}/api/jobs/{job}/stop", "POST", seconds=SECONDS, headers=ray_login())
