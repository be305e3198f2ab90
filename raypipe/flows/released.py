"""What a person has released, judged by the policy where it says so: it backs off, or it takes over."""

import logging

from raypipe.contracts.arms import CHALLENGER
from raypipe.contracts.progress import Silent
from raypipe.contracts.records import ModelVersion
from raypipe.errors import GateError
from raypipe.failpoints import failpoint
from raypipe.flows import rollout
from raypipe.flows.experiment import Standing
from raypipe.flows.platform import Platform
from raypipe.flows.swap import served, swap_where_served
from raypipe.registry.releases import Arms
from raypipe.retraining.work import Work
from raypipe.spec import Pipeline

logger = logging.getLogger(__name__)


def judge(platform: Platform, pipeline: Pipeline, work: Work | None) -> None:
    """Do what speaks for or against the versions that people let answer, one change at a time.

    Args:
        platform: an open workspace.
        pipeline: whose policy it is.
        work: the training that is under way, whose challenger is judged by `rollout.advance`.

    Raises:
        RegistryError: somebody else changed who answers just now: look again.
        ServingError: the service does not answer.
    """
    policy = pipeline.retrain.rollout if pipeline.retrain is not None else None
    champion = platform.registry.champion(pipeline.name)
    if policy is None or not policy.released or champion is None or not served(platform, pipeline.name):
        return
    arms = platform.registry.arms(pipeline.name)
    _tell(platform, champion, arms)
    own = None if work is None or work.trained is None else work.trained.version
    challengers = [arm for arm in arms.arms if arm.role == CHALLENGER and arm.version != own]
    if not challengers:
        return
    found = rollout.compare(platform, pipeline.name, arms)
    if found.uneven:
        return
    for arm in challengers:
        seen = found.of(arm.name)
        if seen.faults:
            why = f"version {arm.version} backs off: {'; '.join(seen.faults)}"
            arms = platform.registry.release(
                pipeline.name, arm.version, role=arm.role, share=0.0, where=dict(arm.where), why=why, who=rollout.WHO,
                expect=arms.changes,
            )  # fmt: skip
            failpoint("released.after_back_off")
            _tell(platform, champion, arms)
            return
        # A version that answers for one segment has shown nothing about the others.
        if not arm.where and seen.predictions >= policy.least and _better(seen):
            _promote(platform, pipeline, champion, arm.version, seen)
            return


def _better(seen: Standing) -> bool:
    return seen.against is not None and seen.against.high < 0


def _promote(platform: Platform, pipeline: Pipeline, champion: ModelVersion, version: int, seen: Standing) -> None:
    assert seen.against is not None  # noqa: S101  # it is better
    why = f"its error is smaller than that of version {champion.version}, by at least {-seen.against.high:.4f}"
    try:
        rollout.take_over(platform, pipeline, version, before=champion.version, why=why, who=rollout.WHO)
    except GateError as error:
        # A person may let it answer for some; what keeps it from being champion keeps the policy, too.
        logger.warning("version %d would take over: %s", version, error)


def _tell(platform: Platform, champion: ModelVersion, arms: Arms) -> None:
    """Let the replicas know who answers, once for each change, whoever was killed before they did."""
    if not arms.changes:
        return
    key = f"released.served/{champion.name}/{champion.version}/{arms.changes}"
    if platform.ledger.get(key) is None:
        swap_where_served(platform, champion, Silent())
        failpoint("released.after_served")
        platform.ledger.append(key, "released.served", champion.name)
