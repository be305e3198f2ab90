"""A training from decision to outcome, as the ledger tells it: each step is one row that can be written once.

================================= ================================================================================
key                               what it says
================================= ================================================================================
``retrain/NAME/N``                training N was asked for: whose number comes next, and by which decision
``retrain/NAME/N/answered``       a person said yes or no to it
``retrain/NAME/N/leased/A``       attempt A, as this Ray job; who had attempt A-1 may not write any more
``retrain/NAME/N/submitted/A``    the cluster has that job
``retrain/NAME/N/started/A``      the one process of that job
``retrain/NAME/N/trained``        what the challenger came to on the newest rows
``retrain/NAME/N/given_up``       why a challenger backs off that stood beside the champion
``retrain/NAME/N/served/C``       the service has heard of change C of who answers
``retrain/NAME/N/ended``          what became of it
================================= ================================================================================
"""

from collections.abc import Iterator
from typing import TypeVar

from raypipe.contracts.decisions import Decision, Outcome, Training, Verdict
from raypipe.contracts.records import Record
from raypipe.errors import KeyTakenError
from raypipe.ledger import Ledger

BEGUN, ENDED = "retrain.begun", "retrain.ended"
#: A decision is made with so many past trainings, and keeps them,
_REMEMBERED = 50
#: and with all that were begun within so many microseconds, 30 days: those a budget is for.
_MONTH = 30 * 86_400_000_000
#: A training whose attempts all died is given up.
ATTEMPTS = 3

R = TypeVar("R", bound=Record)


class Begun(Record, frozen=True, kw_only=True):
    """Training ``number`` was asked for by a decision; ``as_of`` is the moment it learns up to, ``at`` when it was.

    ``onset`` is when the world changed last, as far as was known.
    """

    number: int
    decision: str
    policy: str
    version: int
    at: int
    as_of: int
    asks: bool
    onset: int | None = None

    @property
    def asked_by(self) -> str:
        """The person who asked for it; empty: a policy did."""
        return self.policy.removeprefix("by ") if self.policy.startswith("by ") else ""


class Answered(Record, frozen=True, kw_only=True):
    """What a person said to a training that needs one."""

    yes: bool
    who: str
    why: str


class Leased(Record, frozen=True, kw_only=True):
    """Attempt ``attempt`` is a Ray job of this name; why there had to be another one."""

    attempt: int
    job: str
    why: str


class Submitted(Record, frozen=True, kw_only=True):
    """The cluster has the job."""

    job: str


class Started(Record, frozen=True, kw_only=True):
    """The one process that works on the attempt."""

    process: str


class Trained(Record, frozen=True, kw_only=True):
    """What the challenger came to. ``version``: it was registered as; None: it lost, and was not."""

    attempt: int
    version: int | None
    verdict: Verdict
    seconds: float
    why: str


class Ended(Record, frozen=True, kw_only=True):
    """What became of a training: ``won``, ``lost``, ``failed`` or ``refused``."""

    outcome: Outcome
    version: int | None
    seconds: float
    why: str


class Work:
    """One training. Reading asks the ledger each time; writing twice is writing once.

    Args:
        ledger: the history.
        name: of the pipeline.
        begun: its first row.
    """

    def __init__(self, ledger: Ledger, name: str, begun: Begun) -> None:
        self._ledger, self.name, self.begun = ledger, name, begun

    @property
    def number(self) -> int:
        """Counted from 1."""
        return self.begun.number

    @property
    def reason(self) -> str:
        """Why a person asked for it; empty: a policy did."""
        asked = self._ledger.get(self.begun.decision) if self.begun.asked_by else None
        return "" if asked is None else Decision.from_json(asked.body).triggers[0].removeprefix("asks: ")

    @property
    def answer(self) -> Answered | None:
        """What a person said; None: nothing yet."""
        return self._get("answered", Answered)

    @property
    def trained(self) -> Trained | None:
        """What the challenger came to; None: it is not there yet."""
        return self._get("trained", Trained)

    @property
    def ended(self) -> Ended | None:
        """What became of it; None: it is under way."""
        return self._get("ended", Ended)

    @property
    def given_up(self) -> Ended | None:
        """Why its challenger backs off; None: it does not."""
        return self._get("given_up", Ended)

    @property
    def lease(self) -> tuple[Leased, int] | None:
        """The attempt that may work on it, and since when (microseconds UTC)."""
        found = None
        for attempt in range(1, ATTEMPTS + 1):
            entry = self._ledger.get(self.key(f"leased/{attempt}"))
            if entry is None:
                break
            found = Leased.from_json(entry.body), entry.at
        return found

    @property
    def outcome(self) -> Outcome:
        """Where it stands."""
        if (ended := self.ended) is not None:
            return ended.outcome
        return "asked" if self.begun.asks and self.answer is None else "running"

    def submitted(self, attempt: int) -> bool:
        """Whether the cluster is known to have the job of an attempt."""
        return self._ledger.get(self.key(f"submitted/{attempt}")) is not None

    def started(self, attempt: int) -> int | None:
        """When the process of an attempt began, microseconds UTC."""
        entry = self._ledger.get(self.key(f"started/{attempt}"))
        return None if entry is None else entry.at

    def key(self, step: str) -> str:
        """The ledger's key of a step."""
        return f"retrain/{self.name}/{self.number}/{step}"

    def write(self, step: str, record: Record) -> None:
        """Write a step down.

        Raises:
            KeyTakenError: somebody else did, and said something else.
            FencedError: the lease went to another attempt.
        """
        kind = f"retrain.{step.partition('/')[0]}"
        self._ledger.append(self.key(step), kind, self.name, record.to_json())

    def _get(self, step: str, kind: type[R]) -> R | None:
        entry = self._ledger.get(self.key(step))
        return None if entry is None else kind.from_json(entry.body)


def works(ledger: Ledger, name: str) -> list[Work]:
    """All trainings of a pipeline, oldest first."""
    return [Work(ledger, name, Begun.from_json(entry.body)) for entry in ledger.entries(BEGUN, name)]


def work(ledger: Ledger, name: str, number: int) -> Work | None:
    """One training of a pipeline."""
    entry = ledger.get(f"retrain/{name}/{number}")
    return None if entry is None else Work(ledger, name, Begun.from_json(entry.body))


def past(found: list[Work], at: int) -> list[Training]:
    """The newest of some trainings as a policy sees them at a moment (microseconds UTC), oldest first."""
    recent = sum(at - one.begun.at < _MONTH for one in found)
    return list(_past(found[-max(recent, _REMEMBERED) :]))


def _past(found: list[Work]) -> Iterator[Training]:
    for one in found:
        ended, trained = one.ended, one.trained
        seconds = 0.0 if ended is None else ended.seconds
        anew = None if trained is None else trained.verdict.anew
        yield Training(at=one.begun.at, seconds=seconds, outcome=one.outcome, onset=one.begun.onset, anew=anew)


def begin(ledger: Ledger, decision: Decision) -> Work | None:
    """Let a decision have the training that it asks for; None: another decision was first.

    Asked again, a decision has the training that it has.
    """
    name = decision.situation.pipeline
    begun = Begun(
        number=decision.number,
        decision=decision.key,
        policy=decision.policy,
        version=decision.situation.version,
        at=decision.situation.at,
        as_of=decision.as_of,
        asks=decision.action == "ask",
        onset=decision.onset,
    )
    try:
        ledger.append(f"retrain/{name}/{decision.number}", BEGUN, name, begun.to_json())
    except KeyTakenError:
        return None
    return Work(ledger, name, begun)
