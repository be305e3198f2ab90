"""What a policy decides on, and what it decides: plain facts in, one record out, kept in the ledger either way."""

from typing import Literal, TypeAlias

from raypipe.contracts.records import Record

#: ``nothing``: no trigger asks. ``wait``: one asks, a guard holds it. ``ask``: a person must approve. ``train``.
Action: TypeAlias = Literal["nothing", "wait", "ask", "train"]


class Situation(Record, frozen=True, kw_only=True):
    """What is known of a model now. None: nobody watches that, so no trigger can ask for it.

    Attributes:
        at: microseconds UTC.
        since: the moment up to which the model's training data goes, microseconds UTC.
        looked: when the policy was asked before; schedules since then are due.
        new_rows: labelled rows since it was trained.
        errors: whether the share of errors has risen for certain.
        regret: log loss summed over rows that a recalibration would have spared.
        estimated_rise: by how much, in parts, the estimated loss is above what it was, for certain (lower bound).
        drift_mass: the share of all importance on inputs with an open alarm.
        drifted: those inputs, and ``score`` where the predictions drift.
        breaks: what looks like broken data.
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


class Training(Record, frozen=True, kw_only=True):
    """A training of the past: when it was begun, what it took, and what became of the challenger."""

    at: int
    seconds: float
    outcome: Literal["running", "won", "lost", "failed"]


class Decision(Record, frozen=True, kw_only=True):
    """What a policy decided, and why.

    Attributes:
        policy: its name.
        triggers: every trigger with whether it asks, in words.
        guards: every guard that holds back what is asked for, in words.
        why: one sentence.
        situation: everything it was decided on, with ``history``.
        diagnosis: what is behind the drift, when somebody looked.
    """

    policy: str
    action: Action
    triggers: tuple[str, ...]
    guards: tuple[str, ...]
    why: str
    situation: Situation
    history: tuple[Training, ...]
    diagnosis: str = ""

    @property
    def key(self) -> str:
        """The same question has one answer: what it is called in the ledger."""
        return f"decision:{self.situation.pipeline}:{self.policy}:{self.situation.version}:{self.situation.at}"
