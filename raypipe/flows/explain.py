"""What a policy would do now, from what registry and ledger know. Nothing is written, nothing is done."""

from raypipe.contracts.decisions import Decision, Situation, Training
from raypipe.errors import RegistryError
from raypipe.registry import Registry
from raypipe.retraining.decide import decide
from raypipe.spec.retrain import Retrain

_DAY = 86_400_000_000


def explain(registry: Registry, name: str, policy: Retrain, at: int) -> Decision:
    """Decide for the champion of a pipeline, without anybody watching it: schedules, ages and guards alone can speak.

    Raises:
        RegistryError: the pipeline has no champion.
    """
    champion = registry.at(name, at)
    if champion is None:
        raise RegistryError("has no champion", where=name, cure="Run `raypipe run` first")
    history = [
        Training(at=version.created, seconds=0.0, outcome="won")
        for version in registry.versions(name)
        if version.created <= at
    ]
    facts = Situation(pipeline=name, version=champion.version, at=at, since=champion.lineage.as_of, looked=at - _DAY)
    return decide(policy, facts, sorted(history, key=lambda training: training.at))
