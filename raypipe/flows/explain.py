"""What a policy would do now, from what registry and ledger know. Nothing is written, nothing is done."""

from raypipe.contracts.decisions import Decision, Situation, Training
from raypipe.errors import RegistryError
from raypipe.flows.run import as_of
from raypipe.registry import Registry
from raypipe.retraining.decide import decide
from raypipe.spec import Pipeline
from raypipe.spec.retrain import Retrain

_DAY = 86_400_000_000


def explain(registry: Registry, pipeline: Pipeline, policy: Retrain, at: int) -> Decision:
    """Decide for the champion of a pipeline, without anybody watching it: schedules, ages and guards alone can speak.

    Args:
        registry: has the champion.
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
    history = [
        Training(at=version.created, seconds=0.0, outcome="won")
        for version in registry.versions(name)
        if version.created <= at
    ]
    facts = Situation(
        pipeline=name,
        version=champion.version,
        at=at,
        since=champion.lineage.as_of,
        looked=at - _DAY,
        known=None if until == at else until,
    )
    return decide(policy, facts, sorted(history, key=lambda training: training.at))
