"""What a policy would do now, from what the watcher saw last, the ledger and the registry. Nothing is done."""

from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from msgspec import structs

from raypipe.contracts.decisions import Action, Decision, Situation, Training
from raypipe.contracts.records import ModelVersion
from raypipe.errors import RegistryError
from raypipe.flows.run import as_of
from raypipe.flows.watching import state as kept
from raypipe.flows.watching.facts import situation
from raypipe.flows.watching.known import Known
from raypipe.ledger import Ledger
from raypipe.registry import Registry
from raypipe.retraining.decide import decide, looked_after
from raypipe.retraining.work import past, works
from raypipe.spec import Pipeline
from raypipe.spec.retrain import Retrain

_DAY = 86_400_000_000


class Explained(Decision, frozen=True, kw_only=True):
    """What would be decided.

    Attributes:
        seen: when the facts are from that only a watcher knows; None: no tick of it was over.
        watched: somebody watches the pipeline now.
    """

    seen: int | None
    watched: bool = False


def explain(
    ledger: Ledger, registry: Registry, workspace: Path, pipeline: Pipeline, policy: Retrain, at: int
) -> Explained:
    """Decide for the champion of a pipeline: on what the watcher saw last, with time and trainings as they are now.

    Args:
        ledger: has decisions and trainings.
        registry: has the champion.
        workspace: keeps what the watcher knows; it is asked where a champion has no policy, and so no decisions.
        pipeline: whose it is; where it is pinned to a moment, nothing later is known.
        policy: what decides.
        at: the moment of the decision, microseconds UTC.

    Raises:
        RegistryError: the pipeline has no champion.
    """
    name, until = pipeline.name, as_of(pipeline, None, at)
    champion = registry.at(name, at)
    if champion is None:
        raise RegistryError("has no champion", where=name, cure="Run `raypipe run` first")
    seen = _decided_on(ledger, champion, at) or _watched(workspace, champion, at)
    facts = seen or Situation(
        pipeline=name, version=champion.version, at=at, since=champion.lineage.as_of, looked=at - _DAY
    )
    now = structs.replace(facts, at=at, known=None if until == at else until)
    decision = decide(policy, now, list(_history(ledger, name, at)))
    watched = kept.watched(workspace, name)
    return Explained(**structs.asdict(decision), seen=None if seen is None else seen.at, watched=watched)


def _decided_on(ledger: Ledger, champion: ModelVersion, at: int) -> Situation | None:
    """The newest facts that a policy was asked about this champion; what a person asked for rests on none."""
    for entry in reversed(ledger.entries(subject=champion.name)):
        if entry.kind.removeprefix("decision.") in get_args(Action):
            decision = Decision.from_json(entry.body)
            facts = decision.situation
            if facts.version == champion.version and facts.at <= at and not decision.policy.startswith("by "):
                return structs.replace(facts, looked=looked_after(decision))
    return None


def _watched(workspace: Path, champion: ModelVersion, at: int) -> Situation | None:
    """The last tick of whoever watches."""
    tick = kept.read(kept.file_of(workspace, champion.name)).last.get(champion.version)
    if tick is None or tick.report.at > at:
        return None
    return situation(*Known.of(champion).learned, tick.report.at, tick.outcome, tick.report.at, tick.report)


def _history(ledger: Ledger, name: str, at: int) -> Iterator[Training]:
    """The trainings as they were then."""
    found = [work for work in works(ledger, name) if work.begun.at <= at]
    known = past(found, at)
    for work, training in zip(found[-len(known) :], known, strict=True):
        ended = ledger.get(work.key("ended"))
        later = ended is not None and ended.at > at
        yield structs.replace(training, outcome="running", seconds=0.0) if later else training
