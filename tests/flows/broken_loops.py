"""Loops that are broken on purpose, each in one way that the rounds of `make bench-kills` must see."""

from collections.abc import Callable

from benchmarks.kills import deaths
from raypipe.flows import retrain
from raypipe.flows.watching import actor
from raypipe.ledger import Ledger


def two_jobs_for_each_decision() -> None:
    """It takes each first job for lost, and begins a second one while the first one works."""
    state = retrain.jobs.state
    retrain.jobs.state = lambda url, job: "unknown" if job.endswith("-1") else state(url, job)


def one_job_under_two_names() -> None:
    """It submits a second job that nobody has a lease for."""
    submit = retrain.jobs.submit_once

    def twice(url, job, *about):
        submit(url, job, *about)
        submit(url, f"{job.rpartition('-')[0]}-9", *about)

    retrain.jobs.submit_once = twice


def no_fence() -> None:
    """Who was replaced while it slept may still write."""
    Ledger.fenced = lambda self, _: self


def tells_no_alarm() -> None:
    """It takes every alarm for told."""
    actor.tell = lambda *_: True


def nobody_dies() -> None:
    """The round is broken, not the loop: whoever comes to its window says that it dies, and goes on."""
    deaths.failpoints._act = lambda *_: None


BREAKS: dict[str, Callable[[], None]] = {
    one.__name__: one
    for one in (two_jobs_for_each_decision, one_job_under_two_names, no_fence, tells_no_alarm, nobody_dies)
}
