"""How far the last training of a pipeline has come, and what a person says to it, from the ledger alone."""

from collections.abc import Sequence

from raypipe.contracts.arms import SHADOW, Arm
from raypipe.contracts.decisions import Outcome
from raypipe.contracts.records import Record
from raypipe.errors import KeyTakenError, RegistryError
from raypipe.ledger import Ledger
from raypipe.retraining.work import Answered, Work, works


class Standing(Record, frozen=True, kw_only=True):
    """How far a training has come.

    Attributes:
        pipeline, number: which one.
        state: ``asked``, ``training``, ``trained``, ``shadow``, ``answering`` or ``ended``.
        outcome: ``asked`` or ``running``; once it has ended ``won``, ``lost``, ``failed`` or ``refused``.
        attempt: of the training, from 1; 0: none yet.
        job: the Ray job that works on it, or did.
        note: one line for people.
        under_way: it may go on within seconds.
    """

    pipeline: str
    number: int
    state: str
    outcome: Outcome
    attempt: int
    job: str
    note: str
    under_way: bool


def standing(ledger: Ledger, name: str, arms: Sequence[Arm] = ()) -> Standing | None:
    """How far the last training of a pipeline has come, from the ledger alone; None: there was none.

    Args:
        ledger: the history.
        name: of the pipeline.
        arms: who stands beside the champion now; it says whether a challenger answers already.
    """
    found = works(ledger, name)
    if not found:
        return None
    work, ended = found[-1], found[-1].ended
    if ended is not None:
        return standing_of(work, "ended", f"{ended.outcome}: {ended.why}", under_way=False)
    if work.outcome == "asked":
        return standing_of(work, "asked", f"waits for a person: `raypipe policy approve {name}`", under_way=False)
    trained = work.trained
    if trained is None:
        return standing_of(work, "training", "a challenger is being trained", under_way=True)
    arm = next((arm for arm in arms if arm.version == trained.version), None)
    if arm is None:
        return standing_of(
            work, "trained", f"version {trained.version} is next to answer: {trained.why}", under_way=False
        )
    state, does = ("shadow", "computes") if arm.role == SHADOW else ("answering", "answers")
    note = f"version {trained.version} {does} for {arm.share:.0%} beside the champion: {trained.why}"
    return standing_of(work, state, note, under_way=False)


def answer(ledger: Ledger, name: str, *, yes: bool, who: str, why: str) -> None:
    """Say yes or no to the training that a person is asked about.

    Raises:
        RegistryError: nobody is asked, or somebody else has answered.
    """
    found = works(ledger, name)
    if not found or found[-1].outcome != "asked":
        raise RegistryError("nobody is asked anything", where=name, cure="`raypipe status` says what is under way")
    try:
        found[-1].write("answered", Answered(yes=yes, who=who, why=why))
    except KeyTakenError:
        raise RegistryError("somebody else has answered just now", where=name) from None


def standing_of(work: Work, state: str, note: str, *, under_way: bool = True) -> Standing:
    """A training's standing: where it is, with the attempt that works on it."""
    lease = work.lease
    return Standing(
        pipeline=work.name,
        number=work.number,
        state=state,
        outcome=work.outcome,
        attempt=lease[0].attempt if lease else 0,
        job=lease[0].job if lease else "",
        note=note,
        under_way=under_way,
    )
