"""Another cluster, reached through its Ray Jobs API alone: a folder goes there, a job works, its words come back."""

import json
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from raypipe.errors import ServiceError

if TYPE_CHECKING:
    from ray.job_submission import JobStatus, JobSubmissionClient

POLL_SECONDS, JOB_SECONDS = 0.5, 600.0
#: How many lines are told of a job that gave no reason.
LINES = 3


def run_there(dashboard: str, folder: Path, arguments: list[str], name: str, region: str) -> dict[str, object]:
    """Send a folder to a cluster and give one of raypipe's commands there, in that folder.

    Args:
        dashboard: the URL of its Ray dashboard; where it asks for a token, Ray reads it from ``RAY_AUTH_TOKEN``.
        folder: becomes the command's working folder there.
        arguments: of ``raypipe``; ``--json`` is added.
        name: what the dashboard there shows.
        region: what to call the cluster in errors.

    Returns:
        What the command printed as JSON.

    Raises:
        ServiceError: the cluster does not answer, or the command failed; with the reason that it gave.
    """
    from ray.job_submission import JobStatus, JobSubmissionClient

    command = f"python -m raypipe.cli {shlex.join([*arguments, '--json'])}"
    try:
        client = JobSubmissionClient(dashboard)
        job = client.submit_job(
            entrypoint=command,
            submission_id=f"{name.replace(' ', '-')}-{uuid4().hex[:8]}",
            runtime_env={"working_dir": str(folder)},
            metadata={"job_name": name},
        )
        with _stopped_if_lost(client, job):
            status = _ended(client, job, region)
        log = client.get_job_logs(job)
    except (ConnectionError, RuntimeError, OSError) as error:
        reason = str(error).strip().partition("\n")[0]
        cure = "Is the region's dashboard URL in `regions` right, and reachable?"
        raise ServiceError(f"does not answer: {reason}", where=f"{region} ({dashboard})", cure=cure) from None
    said = _last_document(log)
    if status == JobStatus.SUCCEEDED and "error" not in said:
        return said
    told, last = said.get("error"), " / ".join(log.strip().splitlines()[-LINES:])
    reason = f"{told.get('where')}: {told.get('what')}" if isinstance(told, dict) else f"the job {status}: {last}"
    raise ServiceError(reason, where=region, cure=f"Its log: `ray job logs --address {dashboard} {job}`")


@contextmanager
def _stopped_if_lost(client: "JobSubmissionClient", job: str) -> Iterator[None]:
    """A job that is given up must not go on: whoever is asked to undo what it did would come before it."""
    try:
        yield
    except BaseException:
        with suppress(ConnectionError, RuntimeError, OSError):
            client.stop_job(job)
        raise


def _ended(client: "JobSubmissionClient", job: str, region: str) -> "JobStatus":
    end = time.monotonic() + JOB_SECONDS
    while not (status := client.get_job_status(job)).is_terminal():
        if time.monotonic() > end:
            raise ServiceError(f"did not finish within {JOB_SECONDS:.0f} s", where=f"{region}: job {job}")
        time.sleep(POLL_SECONDS)
    return status


def _last_document(text: str) -> dict[str, object]:
    """The last JSON object among a job's words.

    >>> _last_document("starting" + chr(10) + '{"a": 1}')
    {'a': 1}
    """
    lines = text.splitlines()
    for first in range(len(lines) - 1, -1, -1):
        if lines[first].startswith("{"):
            try:
                found = json.loads("\n".join(lines[first:]))
            except ValueError:
                continue
            return found if isinstance(found, dict) else {}
    return {}
