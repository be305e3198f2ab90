"""How a challenger that won on the newest rows takes over: in the shadow, for some, for all; or backs off."""

from dataclasses import dataclass

import polars as pl

from raypipe.contracts.arms import CHALLENGER, SHADOW, Arm
from raypipe.contracts.decisions import Outcome
from raypipe.contracts.logs import FEEDBACK, PREDICTIONS, LogKind
from raypipe.contracts.progress import Silent
from raypipe.contracts.records import ModelVersion
from raypipe.errors import ServingError
from raypipe.failpoints import failpoint
from raypipe.flows.collect import logged
from raypipe.flows.experiment import Experiment, experiment, judged_by
from raypipe.flows.measure import Measure
from raypipe.flows.platform import Platform
from raypipe.flows.swap import served, swap_where_served
from raypipe.registry.releases import Arms
from raypipe.retraining.work import Ended, Submitted, Trained, Work
from raypipe.spec import Pipeline, micros
from raypipe.spec.retrain import Rollout

WHO = "the retraining policy"
#: Microseconds after which a change of who answers is everywhere.
SETTLED = 10_000_000
#: Columns that no arm is judged by: the features are most of a log.
_UNUSED = ("digest", "generation", "watermark", "features")


@dataclass(frozen=True)
class Step:
    """Where a rollout is: what it does now, in words, and what became of it when it is over."""

    state: str
    note: str
    outcome: Outcome | None = None


def advance(platform: Platform, pipeline: Pipeline, work: Work, trained: Trained) -> Step:
    """Bring a challenger one step further, if what is known of it allows.

    Raises:
        RegistryError: somebody else changed who answers just now: look again.
        ServingError: the service does not answer.
    """
    assert trained.version is not None  # noqa: S101  # its caller has looked
    rollout = pipeline.retrain.rollout if pipeline.retrain is not None else None
    champion = platform.registry.champion(pipeline.name)
    if (given_up := work.given_up) is not None:
        return _rest(platform, work, champion, given_up)
    if champion is None or champion.version not in (work.begun.version, trained.version):
        return Step("answering", "somebody else has changed the champion meanwhile", "lost")
    if rollout is None or champion.version == trained.version or not served(platform, pipeline.name):
        return _promote(platform, pipeline, work, trained)
    arms = platform.registry.arms(pipeline.name)
    mine = next((arm for arm in arms.arms if arm.version == trained.version), None)
    steps = _steps(rollout)
    if mine is None:
        return _give(platform, work, trained, champion, arms, *steps[0])
    _tell(platform, work, champion, arms)
    return _look(platform, pipeline, work, trained, champion, arms, mine, steps)


def _look(
    platform: Platform,
    pipeline: Pipeline,
    work: Work,
    trained: Trained,
    champion: ModelVersion,
    arms: Arms,
    mine: Arm,
    steps: list[tuple[str, float]],
) -> Step:
    """Judge what the challenger did in this step."""
    rollout = pipeline.retrain.rollout if pipeline.retrain is not None else None
    assert rollout is not None  # noqa: S101  # its caller has looked
    found = compare(platform, work.name, arms)
    seen = found.of(mine.name)
    state = "shadow" if mine.role == SHADOW else "answering"
    late = platform.clock.now() - arms.changed > micros(rollout.patience)
    if found.uneven:
        # Whoever answers more or fewer than it should answers others: no figure of it says anything.
        uneven = f"the units are not spread as they should be (p = {found.spread_p:.2g})"
        return _give_up(platform, work, trained, champion, uneven) if late else Step(state, f"{mine.name}: {uneven}")
    if seen.faults:
        return _give_up(platform, work, trained, champion, "; ".join(seen.faults))
    if seen.predictions < rollout.least:
        few = f"{seen.predictions:,} of {rollout.least:,} predictions"
        if late:
            return _give_up(platform, work, trained, champion, f"only {few} came")
        return Step(state, f"{mine.name}: {few} at {mine.share:.0%}")
    further = [step for step in steps if _after(step, mine)]
    if further:
        return _give(platform, work, trained, champion, arms, *further[0])
    return _promote(platform, pipeline, work, trained)


def compare(platform: Platform, name: str, arms: Arms) -> Experiment:
    """How all arms do since they were changed last."""
    since = arms.changed + SETTLED
    predictions, feedback = (_log(platform, kind, name, since) for kind in (PREDICTIONS, FEEDBACK))
    champion = platform.registry.champion(name)
    return experiment(predictions, feedback, arms.arms, arms.salt, judged_by(champion), Measure.of(champion))


def worse(platform: Platform, name: str) -> bool | None:
    """Whether the version before, in the champion's shadow, is for certain better; None: it is not there."""
    arms, earlier = platform.registry.arms(name), platform.registry.earlier(name)
    arm = next((arm for arm in arms.arms if arm.role == SHADOW and arm.version == earlier), None)
    if arm is None:
        return None
    against = compare(platform, name, arms).of(arm.name).against
    return against is not None and against.high < 0


def end_probation(platform: Platform, pipeline: Pipeline) -> None:
    """Let the version before rest when the new champion has proved itself."""
    policy, registry = pipeline.retrain, platform.registry
    if policy is None or not policy.compares:
        return
    arms, earlier = registry.arms(pipeline.name), registry.earlier(pipeline.name)
    arm = next((a for a in arms.arms if a.role == SHADOW and a.version == earlier), None)
    history = registry.history(pipeline.name)
    if arm is None or not history or platform.clock.now() - history[-1][0].at < micros(policy.probation):
        return
    registry.release(
        pipeline.name, arm.version, role=SHADOW, share=0.0, where={}, why="the champion has proved itself", who=WHO,
        expect=arms.changes,
    )  # fmt: skip
    swap_where_served(platform, registry.get(pipeline.name, "champion"), Silent())


def _steps(rollout: Rollout) -> list[tuple[str, float]]:
    shadow = [(SHADOW, rollout.shadow)] if rollout.shadow else []
    return [*shadow, *((CHALLENGER, share) for share in rollout.shares)] or [(SHADOW, 1.0)]


def _after(step: tuple[str, float], mine: Arm) -> bool:
    role, share = step
    return role == CHALLENGER and (mine.role == SHADOW or round(share, 4) > round(mine.share, 4))


def _give(
    platform: Platform, work: Work, trained: Trained, champion: ModelVersion, arms: Arms, role: str, share: float
) -> Step:
    assert trained.version is not None  # noqa: S101  # its caller has looked
    why = _because(work, trained)
    now = platform.registry.release(
        work.name, trained.version, role=role, share=share, where={}, why=why, who=WHO, expect=arms.changes
    )
    failpoint("rollout.after_release")
    _tell(platform, work, champion, now)
    state = "shadow" if role == SHADOW else "answering"
    return Step(state, f"version {trained.version} {'computes' if role == SHADOW else 'answers'} for {share:.0%}")


def _tell(platform: Platform, work: Work, champion: ModelVersion, arms: Arms) -> None:
    """Let the replicas know who answers, once for each change, whoever was killed before they did."""
    step = f"served/{arms.changes}"
    if platform.ledger.get(work.key(step)) is None:
        swap_where_served(platform, champion, Silent())
        failpoint("rollout.after_served")
        work.write(step, Submitted(job=f"{champion.name}/{champion.version}"))


def _give_up(platform: Platform, work: Work, trained: Trained, champion: ModelVersion, why: str) -> Step:
    said = f"version {trained.version} backs off: {why}"
    given_up = Ended(outcome="lost", version=trained.version, seconds=trained.seconds, why=said)
    work.write("given_up", given_up)
    failpoint("rollout.after_given_up")
    return _rest(platform, work, champion, work.given_up or given_up)


def _rest(platform: Platform, work: Work, champion: ModelVersion | None, given_up: Ended) -> Step:
    """Take a challenger that backs off out of service."""
    arms = platform.registry.arms(work.name)
    mine = next((arm for arm in arms.arms if arm.version == given_up.version), None)
    if mine is not None:
        arms = platform.registry.release(
            work.name, mine.version, role=mine.role, share=0.0, where={}, why=given_up.why, who=WHO, expect=arms.changes
        )
        failpoint("rollout.after_back_off")
    if champion is not None:
        _tell(platform, work, champion, arms)
    return Step("answering", given_up.why, given_up.outcome)


def _promote(platform: Platform, pipeline: Pipeline, work: Work, trained: Trained) -> Step:
    """Make the challenger champion and let it answer; a service that refuses it gets the one before back."""
    assert trained.version is not None  # noqa: S101  # its caller has looked
    refused = take_over(
        platform, pipeline, trained.version, before=work.begun.version, why=_because(work, trained),
        who=work.begun.asked_by or WHO,
    )  # fmt: skip
    if refused:
        return Step("answering", refused, "failed")
    return Step("answering", f"version {trained.version} is champion: {trained.why}", "won")


def take_over(platform: Platform, pipeline: Pipeline, version: int, *, before: int | None, why: str, who: str) -> str:
    """Make a version champion and let it answer, the one before in its shadow where the policy compares the two.

    Returns:
        Why the service refuses it, and the one before goes on; empty: it answers.

    Raises:
        RegistryError: somebody else changed the champion just now.
        GateError: its gate before promotion is closed.
    """
    name, registry, policy = pipeline.name, platform.registry, pipeline.retrain
    compared = before is not None and policy is not None and policy.compares and served(platform, name)
    champion = registry.promote(name, version, expect=before, why=why, who=who)
    failpoint("rollout.after_promotion")
    if before is not None and compared:
        arms = registry.arms(name)
        if all(arm.version != before for arm in arms.arms):
            registry.release(
                name, before, role=SHADOW, share=1.0, where={}, why=f"the version before {champion.version}", who=WHO,
                expect=arms.changes,
            )  # fmt: skip
    try:
        swap_where_served(platform, champion, Silent())
    except ServingError as error:
        registry.rollback(name, f"refused by the service: {error.what}", who=WHO, expect=version)
        return f"refused by the service: {error.what}"
    failpoint("rollout.after_swap")
    return ""


def _because(work: Work, trained: Trained) -> str:
    """Why a challenger gets somewhere, for the record."""
    asked = f", asked for because {work.reason}" if work.reason else ""
    return f"training {work.number}{asked}: {trained.why}"


def _log(platform: Platform, kind: LogKind, name: str, since: int) -> pl.DataFrame:
    rows = logged(platform.lake, platform.workspace, platform.clock, kind, name, since=since, until=None)
    return rows.drop([one for one in _UNUSED if one in kind.columns]).collect()
