"""What a policy decides on, and what it decides: plain facts in, one record out, kept in the ledger either way."""

from typing import Literal, TypeAlias

from raypipe.contracts.records import Record

#: ``nothing``: nothing asks. ``alert``: tell somebody. ``analyse``: look deeper. ``wait``: a training is asked for, a
#: guard holds it. ``ask``: a person must approve it. ``train``: a challenger. ``rollback``: to the version before.
Action: TypeAlias = Literal["nothing", "alert", "analyse", "wait", "ask", "train", "rollback"]
#: ``asked``: a person has not answered yet; ``refused``: they said no.
Outcome: TypeAlias = Literal["asked", "running", "won", "lost", "failed", "refused"]


class Verdict(Record, frozen=True, kw_only=True):
    """The mean loss that the challenger spares a row, with its lower bound, and whether it won.

    ``anew``: whether it has learned nothing older than the last change, and is better so; None: nobody can tell yet.
    """

    gain: float
    low: float
    rows: int
    won: bool
    anew: bool | None = None


class Situation(Record, frozen=True, kw_only=True):
    """What is known of a model now. None: nobody watches that, so no trigger can ask for it.

    Attributes:
        at: microseconds UTC.
        since: the moment up to which the model's training data goes, microseconds UTC.
        looked: when the policy was asked before; schedules since then are due.
        new_rows: labelled rows since it was trained.
        errors: whether the share of errors has risen for certain.
        onset: since when it has, as far as that can be told, microseconds UTC.
        error_rise: by how much, in parts, it has risen since then, for certain (lower bound).
        regret: log loss summed over rows that a recalibration would have spared.
        estimated_rise: by how much, in parts, the estimated loss is above what it was, for certain (lower bound).
        drift_mass: the share of all importance on inputs with an open alarm.
        drifted: those inputs, and ``score`` where the predictions drift.
        breaks: what looks like broken data.
        slower: the 99th percentile of the latency as a multiple of that of the version before, its lower bound.
        failed: the share of rows that were not answered, its lower bound.
        worse: whether the version before, which goes on in its shadow, is for certain better.
        promoted: when it became champion, microseconds UTC.
        earlier: the version that a rollback would give it back to.
        known: up to when anything is known; None: up to ``at``. A pipeline may pretend that it is another time.
    """

    pipeline: str
    version: int
    at: int
    since: int
    looked: int
    new_rows: int | None = None
    errors: bool | None = None
    regret: float | None = None
    estimated_rise: float | None = None
    drift_mass: float | None = None
    drifted: tuple[str, ...] = ()
    breaks: tuple[str, ...] = ()
    slower: float | None = None
    failed: float | None = None
    worse: bool | None = None
    promoted: int | None = None
    earlier: int | None = None
    known: int | None = None
    onset: int | None = None
    error_rise: float | None = None


class Training(Record, frozen=True, kw_only=True):
    """A training of the past: when it was begun, what it took, and what became of the challenger.

    ``onset`` is when the world changed last, as far as was known then; ``anew`` as `Verdict` has it.
    """

    at: int
    seconds: float
    outcome: Outcome
    onset: int | None = None
    anew: bool | None = None


class Decision(Record, frozen=True, kw_only=True):
    """What a policy decided, and why.

    Attributes:
        policy: its name.
        triggers: every trigger with whether it asks, in words.
        guards: every guard that holds back what is asked for, in words.
        why: one sentence.
        situation: everything it was decided on, with ``history``.
        alerts: what people are told of, whatever the action is, in words.
        diagnosis: what is behind the drift, when somebody looked.
        number: of the training that it asks for, counted from 1; 0: it asks for none, or in a replay.
        as_of: up to when that training learns, microseconds UTC.
        onset: when the world changed last, as far as is known: a challenger that learned nothing older stands for
            election as well.
    """

    policy: str
    action: Action
    triggers: tuple[str, ...]
    guards: tuple[str, ...]
    why: str
    situation: Situation
    history: tuple[Training, ...]
    alerts: tuple[str, ...] = ()
    diagnosis: str = ""
    number: int = 0
    as_of: int = 0
    onset: int | None = None

    @property
    def key(self) -> str:
        """The same question has one answer: what it is called in the ledger."""
        return f"decision:{self.situation.pipeline}:{self.policy}:{self.situation.version}:{self.situation.at}"
