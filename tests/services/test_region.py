"""Another cluster whose Jobs API stops answering, or whose job takes too long or ends without a word."""

from pathlib import Path

import pytest
import ray.job_submission
from ray.job_submission import JobStatus

from raypipe.errors import ServiceError
from raypipe.services import region
from raypipe.services.region import run_there


class Client:
    """Of a cluster whose job never ends."""

    stopped: list[str]
    lost = False
    status, log = JobStatus.RUNNING, ""

    def __init__(self, dashboard: str) -> None:
        Client.stopped = []

    def submit_job(self, *, submission_id: str, **_: object) -> str:
        return submission_id

    def get_job_status(self, job: str) -> JobStatus:
        if self.lost:
            raise ConnectionError("refused")
        return self.status

    def get_job_logs(self, job: str) -> str:
        return self.log

    def stop_job(self, job: str) -> bool:
        self.stopped.append(job)
        return True


@pytest.mark.parametrize(("lost", "said"), [(True, "does not answer: refused"), (False, "did not finish within 0 s")])
def test_a_job_that_is_given_up_is_stopped(
    lost: bool, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray.job_submission, "JobSubmissionClient", Client)
    monkeypatch.setattr(Client, "lost", lost)
    monkeypatch.setattr(region, "JOB_SECONDS", 0.0)
    monkeypatch.setattr(region, "POLL_SECONDS", 0.0)
    with pytest.raises(ServiceError, match=said):
        run_there("http://127.0.0.1:8265", tmp_path, ["receive", "."], "raypipe: receive", "eu")
    assert len(Client.stopped) == 1


@pytest.mark.parametrize(
    ("log", "said"),
    [
        ("one\ntwo\nthree\nfour\n", "eu: the job FAILED: two / three / four"),
        ('two\n{"error": {"where": "rides", "what": "is damaged"}}\n', "eu: rides: is damaged"),
    ],
)
def test_why_a_job_failed_is_told(log: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray.job_submission, "JobSubmissionClient", Client)
    monkeypatch.setattr(Client, "status", JobStatus.FAILED)
    monkeypatch.setattr(Client, "log", log)
    with pytest.raises(ServiceError, match=said):
        run_there("http://127.0.0.1:8265", tmp_path, ["receive", "."], "raypipe: receive", "eu")
    assert Client.stopped == []
