"""Facts become a decision, and the decision a row of the ledger, whatever it is; a training that it asks for begins."""

from msgspec import structs

from raypipe.clock import to_second
from raypipe.contracts.decisions import Decision, Situation
from raypipe.errors import KeyTakenError, RegistryError, SettingsError
from raypipe.failpoints import failpoint
from raypipe.flows.platform import Platform
from raypipe.flows.rollout import worse
from raypipe.flows.run import as_of as moment
from raypipe.registry import Registry
from raypipe.retraining.decide import changed_at, decide, on_probation
from raypipe.retraining.work import begin, past, works
from raypipe.spec import Pipeline


def decide_now(
    platform: Platform, pipeline: Pipeline, situation: Situation, diagnosis: str = "", as_of: int | None = None
) -> Decision:
    """Decide by the pipeline's policy, and write it down. Asked again for the same moment, it is the same decision.

    Args:
        platform: the workspace.
        pipeline: has a policy.
        situation: what is known; ``at`` is the end of the tick, so that whoever asks again asks the same.
        diagnosis: what is behind the drift, for the record.
        as_of: up to when a training learns; None: what the pipeline says, else ``situation.at``.

    Raises:
        SettingsError: the pipeline has no policy.
        LedgerError: it cannot be written down.
    """
    policy, ledger = pipeline.retrain, platform.ledger
    if policy is None:
        raise SettingsError(
            "has no `retrain`", where=pipeline.name, cure="Give it a policy, such as `retrain.hybrid()`"
        )
    found = works(ledger, pipeline.name)
    until = moment(pipeline, as_of, situation.at)
    facts = structs.replace(_with_reign(platform.registry, situation), known=None if until == situation.at else until)
    if on_probation(policy, facts):
        facts = structs.replace(facts, worse=worse(platform, pipeline.name))
    decision = structs.replace(decide(policy, facts, past(found, facts.at)), diagnosis=diagnosis)
    if decision.action in ("train", "ask"):
        decision = structs.replace(decision, number=len(found) + 1, as_of=until)
    decision = _write_down(platform, decision)
    failpoint("decide.after_decision")
    if decision.number:
        begin_training(platform, decision)
        failpoint("decide.after_begun")
    return decision


def ask_for(platform: Platform, name: str, why: str, who: str, as_of: int) -> Decision:
    """A training because a person says so: no guard holds it back but that one is under way.

    Raises:
        RegistryError: there is no champion to challenge, a training is under way, or nothing is known at ``as_of`` that
            was not known when the champion was trained.
    """
    found = works(platform.ledger, name)
    champion = platform.registry.get(name, "champion")
    if found and found[-1].ended is None:
        what = f"training {found[-1].number} is under way"
        raise RegistryError(
            what, where=name, cure=f"`raypipe status` says how far it is; `raypipe retrain {name}` follows"
        )
    if as_of <= champion.lineage.as_of:
        known, learned = to_second(as_of), to_second(champion.lineage.as_of)
        what = f"nothing is known at {known} that was not known when version {champion.version} was trained"
        raise RegistryError(what, where=name, cure=f"Give `--as-of`, a moment after {learned}")
    at = platform.clock.now()
    facts = Situation(pipeline=name, version=champion.version, at=at, since=champion.lineage.as_of, looked=at)
    decision = Decision(
        policy=f"by {who}",
        action="train",
        triggers=(f"asks: {why}",),
        guards=(),
        why=f"Train a challenger: {why}.",
        situation=facts,
        history=(history := tuple(past(found, at))),
        number=len(found) + 1,
        as_of=as_of,
        onset=changed_at(facts, history),
    )
    _write_down(platform, decision)
    failpoint("decide.after_asked")
    begin_training(platform, decision)
    return decision


def begin_training(platform: Platform, decision: Decision) -> None:
    """Let a decision have the training that it asks for, once, whoever was killed before it had."""
    if begin(platform.ledger, decision) is None:
        # Two decisions asked for the same training at once: this one is answered by the other's.
        name = decision.situation.pipeline
        platform.ledger.append(f"overtaken:{decision.key}", "decision.overtaken", name)


def _write_down(platform: Platform, decision: Decision) -> Decision:
    """Write a decision; if there is one of the same moment, that one counts."""
    name, key = decision.situation.pipeline, decision.key
    there = platform.ledger.get(key)
    if there is None:
        try:
            there = platform.ledger.append(key, f"decision.{decision.action}", name, decision.to_json())
        except KeyTakenError:
            there = platform.ledger.get(key)
    return decision if there is None else Decision.from_json(there.body)


def _with_reign(registry: Registry, situation: Situation) -> Situation:
    """The facts, with since when the champion is champion, and who was before."""
    reign = [(entry.at, change) for entry, change in registry.history(situation.pipeline)]
    if not reign or reign[-1][1].rollback or reign[-1][1].version != situation.version:
        return situation  # who was given the place back is not given it away
    return structs.replace(situation, promoted=reign[-1][0], earlier=registry.earlier(situation.pipeline))
