"""How a model did on rows that nothing was learned or chosen from."""

from raypipe.contracts.records import Record


class Interval(Record, frozen=True, kw_only=True):
    """A measure with the interval that holds it with a probability of 95 %."""

    value: float
    low: float
    high: float


class Segment(Record, frozen=True, kw_only=True):
    """One value of a column: how many rows have it, what is true of them, and how well they are answered.

    ``truth`` is the mean label, ``answer`` the mean answer of the model. ``metrics`` lacks what it
    does not have enough rows for.
    """

    column: str
    value: str
    rows: int
    truth: float
    answer: float
    metrics: dict[str, float]


class Fairness(Record, frozen=True, kw_only=True):
    """How differently a column's values are treated; every measure is 0 when they are treated alike."""

    column: str
    values: int
    measures: dict[str, float]


class Importance(Record, frozen=True, kw_only=True):
    """How much the metric loses when a feature is shuffled over the rows: mean and deviation over some shuffles."""

    feature: str
    loss: float
    deviation: float


class Evaluation(Record, frozen=True, kw_only=True):
    """One test on the holdout.

    Attributes:
        rows: of the holdout.
        metrics: by name, each with its interval.
        segments, fairness: as the pipeline asked for.
        importances: the most important feature first.
        cost: the mean cost of a row at the threshold; None where the model decides nothing.
        blocks: how many blocks of rows were drawn for the intervals: days, where rows have a time.
    """

    rows: int
    metrics: dict[str, Interval]
    segments: tuple[Segment, ...]
    fairness: tuple[Fairness, ...]
    importances: tuple[Importance, ...]
    cost: float | None
    blocks: int
