"""From a decision to its outcome: one idempotent step at a time, whoever drives, however often, killed wherever.

The ledger is the outbox. A lease names the Ray job before it is submitted, so it is submitted once; a job that died,
was forgotten, or hangs is followed by another attempt, and what the one before still wants to write is refused.
"""

import os
import shlex
import sys

from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from raypipe.contracts.decisions import Decision
from raypipe.contracts.progress import Silent
from raypipe.errors import NoAnswerError
from raypipe.failpoints import failpoint
from raypipe.flows import beat, released, rollout
from raypipe.flows.decide import begin_training
from raypipe.flows.platform import Platform
from raypipe.flows.swap import swap_where_served
from raypipe.registry import Registry
from raypipe.retraining.standing import Standing, standing_of
from raypipe.retraining.work import ATTEMPTS, Ended, Leased, Submitted, Work, works
from raypipe.services import jobs
from raypipe.spec import Pipeline

#: A process that gave no sign for so long (microseconds) has died or hangs: its lease goes to another attempt.
LEASE = 60_000_000
#: A job has so long from its lease until its process gives the first sign.
START = 180_000_000
#: Who waits for a training hears nothing from the cluster for so long (seconds) before giving up, and asks so often.
PATIENCE, AGAIN = 60.0, 1.0


def drive(platform: Platform, pipeline: Pipeline) -> Standing | None:
    """Do what is to be done next for the last decision of a pipeline; None: nothing is under way.

    Raises:
        RaypipeError: something did not answer. Nothing is lost: call again.
    """
    _roll_back(platform, pipeline.name)
    found = _begun(platform, pipeline.name)
    released.judge(platform, pipeline, found[-1] if found and found[-1].ended is None else None)
    if not found or found[-1].ended is not None:
        rollout.end_probation(platform, pipeline)
        return None
    work = found[-1]
    if work.outcome == "asked":
        note = f"waits for a person: `raypipe policy approve {pipeline.name}`"
        return standing_of(work, "asked", note, under_way=False)
    answer = work.answer
    if answer is not None and not answer.yes:
        return _end(work, Ended(outcome="refused", version=None, seconds=0.0, why=f"{answer.who}: {answer.why}"))
    if work.trained is None:
        return _train(platform, work)
    return _take_over(platform, pipeline, work)


def drive_on(platform: Platform, pipeline: Pipeline) -> Standing | None:
    """`drive`, for who waits until a training is over: a cluster that is too busy to answer is asked again.

    Raises:
        NoAnswerError: it gave no answer for `PATIENCE` seconds.
        RaypipeError: something else went wrong.
    """
    again = Retrying(
        retry=retry_if_exception_type(NoAnswerError),
        stop=stop_after_delay(PATIENCE),
        wait=wait_fixed(AGAIN),
        reraise=True,
    )
    try:
        return again(drive, platform, pipeline)
    except NoAnswerError as error:
        what = f"{error.what}, asked for {PATIENCE:g} s"
        raise NoAnswerError(what, where=error.where, cure=error.cure) from None


def _begun(platform: Platform, name: str) -> list[Work]:
    """All trainings; one whose decider was killed before it had begun is begun now."""
    found = works(platform.ledger, name)
    for entry in (
        *platform.ledger.entries("decision.train", name)[-1:],
        *platform.ledger.entries("decision.ask", name)[-1:],
    ):
        decision = Decision.from_json(entry.body)
        if decision.number == len(found) + 1:
            begin_training(platform, decision)
            return works(platform.ledger, name)
    return found


def _train(platform: Platform, work: Work) -> Standing:
    dashboard = platform.services.dashboard_url
    lease = work.lease
    if lease is None:
        _lease(work, 1, "the training was asked for")
        failpoint("retrain.after_lease")
        lease = work.lease
    assert lease is not None  # noqa: S101  # it was written
    leased, since = lease
    if not work.submitted(leased.attempt):
        jobs.submit_once(dashboard, leased.job, *_job(platform, work, leased.attempt))
        failpoint("retrain.after_submit")
        work.write(f"submitted/{leased.attempt}", Submitted(job=leased.job))
        failpoint("retrain.after_submitted")
        return standing_of(work, "training", f"submitted as {leased.job}")
    state = jobs.state(dashboard, leased.job)
    if work.trained is not None or work.ended is not None:
        return standing_of(work, "training", "trained")
    if state in ("PENDING", "RUNNING"):
        sign = beat.last(platform.workspace, leased.job)
        if platform.clock.now() - max(since, sign or 0) <= (START if sign is None else LEASE):
            return standing_of(work, "training", "a challenger is being trained")
        why = "gave no sign of life"
    else:
        why = "was forgotten by the cluster" if state == "unknown" else f"ended as {state.lower()} without a result"
    return _again(platform, work, leased, why)


def _again(platform: Platform, work: Work, leased: Leased, why: str) -> Standing:
    if leased.attempt >= ATTEMPTS:
        what = f"all {ATTEMPTS} attempts died, the last one {why}; see `ray job logs {leased.job}`"
        # Whatever its attempts computed, the time that they held the cluster counts against the budget.
        first = platform.ledger.get(work.key("leased/1"))
        spent = 0.0 if first is None else (platform.clock.now() - first.at) / 1e6
        return _end(work, Ended(outcome="failed", version=None, seconds=spent, why=what))
    _lease(work, leased.attempt + 1, f"attempt {leased.attempt} {why}")
    failpoint("retrain.after_next_lease")
    jobs.stop(platform.services.dashboard_url, leased.job)
    return _train(platform, work)


def _lease(work: Work, attempt: int, why: str) -> None:
    leased = Leased(attempt=attempt, job=job_name(work.name, work.number, attempt), why=why)
    work.write(f"leased/{attempt}", leased)


def job_name(name: str, number: int, attempt: int) -> str:
    """What the Ray job of an attempt is called."""
    return f"{name}-retrain-{number}-{attempt}"


def _job(platform: Platform, work: Work, attempt: int) -> tuple[str, dict[str, str], dict[str, str]]:
    """Command, environment and metadata of an attempt's job: the same whoever submits it."""
    command = [sys.executable, "-m", "raypipe.cli", "retrain", work.name, "--attempt", f"{work.number}/{attempt}"]
    environment = {name: value for name, value in os.environ.items() if name.startswith("RAYPIPE_")}
    environment.pop("RAYPIPE_FAILPOINT", None)
    environment |= {"RAYPIPE_WORKSPACE": str(platform.workspace)}
    about = {"pipeline": work.name, "training": str(work.number), "attempt": str(attempt), "why": work.begun.policy}
    return f"exec {shlex.join(command)}", environment, about


def _take_over(platform: Platform, pipeline: Pipeline, work: Work) -> Standing:
    trained = work.trained
    assert trained is not None  # noqa: S101  # its caller has looked
    if trained.version is None:
        return _end(work, Ended(outcome="lost", version=None, seconds=trained.seconds, why=trained.why))
    step = rollout.advance(platform, pipeline, work, trained)
    if step.outcome is None:
        return standing_of(work, step.state, step.note, under_way=False)
    return _end(work, Ended(outcome=step.outcome, version=trained.version, seconds=trained.seconds, why=step.note))


def _roll_back(platform: Platform, name: str) -> None:
    """Do what the last decision to roll back says, if it has not been done."""
    for entry in platform.ledger.entries("decision.rollback", name)[-1:]:
        if platform.ledger.get(f"done:{entry.key}") is not None:
            return
        decision, registry = Decision.from_json(entry.body), platform.registry
        _give_back(registry, name, decision)
        failpoint("retrain.after_rollback")
        champion = registry.get(name, "champion")
        swap_where_served(platform, champion, Silent())
        platform.ledger.append(f"done:{entry.key}", "decision.done", name)


def _give_back(registry: Registry, name: str, decision: Decision) -> None:
    champion = registry.champion(name)
    # Done before whoever did it could say so, or somebody was quicker: either way there is nothing left to do.
    if champion is not None and champion.version == decision.situation.version:
        registry.rollback(name, decision.why, who=rollout.WHO, expect=champion.version)


def _end(work: Work, ended: Ended) -> Standing:
    failpoint("retrain.before_end")
    work.write("ended", ended)
    failpoint("retrain.after_end")
    return standing_of(work, "ended", f"{ended.outcome}: {ended.why}", under_way=False)
