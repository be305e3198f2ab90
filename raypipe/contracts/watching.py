"""What watching a model finds: the reports that a policy decides on and that people read."""

from raypipe.contracts.records import Record


class ColumnDrift(Record, frozen=True, kw_only=True):
    """What the newest windows say of one column.

    Attributes:
        column: of the model's inputs, or ``score``.
        stream: what moved: its ``values``, the share that is ``missing``, or that was never seen (``unseen``).
        ticks: over how many ticks the move shows most; it began about as long ago.
        excess: the deviation as a multiple of what is an alarm; above 1 it is significant.
        distance: how far: the largest gap between cumulative shares, of a category between shares, or of gaps.
        material: whether it is large enough to matter, as well as certain.
        importance: by how much the score depends on the column, as a share of all that can raise an alarm.
        psi: population stability index, over the same window.
        jensen_shannon: distance in base 2.
        wasserstein: in standard deviations of the reference; 0 for a category.
        median_before: of the reference; None for a category.
        median_after: of the window.
        open_for: ticks since the alarm was raised; 0: raised now; None: no alarm is open.
        clock: whether it follows from the moment of asking alone: that it moves is no news, and raises no alarm.
    """

    column: str
    stream: str
    ticks: int
    excess: float
    distance: float
    material: bool
    importance: float
    psi: float
    jensen_shannon: float
    wasserstein: float
    median_before: float | None
    median_after: float | None
    open_for: int | None
    clock: bool = False


class DriftReport(Record, frozen=True, kw_only=True):
    """One tick of one model.

    Attributes:
        pipeline: its name.
        version: of the model whose reference it is compared with.
        at: when the tick was closed, microseconds UTC.
        tick: its number.
        rows: how many predictions it holds.
        columns: every column, the one that moved most first.
        breaks: what looks like broken data rather than a changed world, in words.
        budget: how many ticks pass between two false alarms, on average.
        calibrated: how the threshold was found: ``seasonal, N days`` or ``even``.
        onset: when the oldest move that an open alarm shows began, microseconds UTC: the end of the tick before it; the
            beginning of this tick where no alarm is open.
    """

    pipeline: str
    version: int
    at: int
    tick: int
    rows: int
    columns: tuple[ColumnDrift, ...]
    breaks: tuple[str, ...]
    budget: float
    calibrated: str
    onset: int = 0

    @property
    def alarms(self) -> tuple[ColumnDrift, ...]:
        """The columns with an open alarm."""
        return tuple(column for column in self.columns if column.open_for is not None)

    @property
    def raised(self) -> tuple[ColumnDrift, ...]:
        """Those whose alarm was raised in this tick."""
        return tuple(column for column in self.columns if column.open_for == 0)

    @property
    def mass(self) -> float:
        """How much of all importance lies on inputs with an open alarm, 0 to 1."""
        return sum(column.importance for column in self.alarms)


class Cohort(Record, frozen=True, kw_only=True):
    """Predictions of one span of time, and what became of them.

    Attributes:
        start: of the span, microseconds UTC; by when the prediction was made, not when the label came.
        predictions: how many there were.
        labelled: how many of them have a label by now.
        mature: whether labels enough are in for the figures to stand.
        loss: the mean loss of those with a label (see `raypipe.contracts.judged`), with its interval.
        error: the share of errors.
        estimated: the mean loss of all of them: what the scores lead to expect, corrected by the labels there are.
    """

    start: int
    predictions: int
    labelled: int
    mature: bool
    loss: tuple[float, float, float]
    error: tuple[float, float, float]
    estimated: tuple[float, float, float]


class PerformanceReport(Record, frozen=True, kw_only=True):
    """How good a model turned out to be, as far as is known now.

    Attributes:
        at: microseconds UTC.
        cohorts: the newest, in order of time.
        reference: loss and share of errors when the model was judged; None in bundles of old: of the other figures
            only ``new_labels`` is known then.
        alarm: whether the share of errors has risen for certain; over after 28 normal spans in a row.
        onset: since when, microseconds UTC, as far as that can be told: the likeliest moment; None: it has not.
        error_rise: by how much, in parts, the share of errors since then is for certain above what it was, else 0.
        detects: how many labels it takes, on average, until a rise is seen to a quarter above all that the share may
            have been when judged (upper bound); they are looked at when their span has matured.
        error_rates: the share of errors until then, what it was judged on included, and since.
        regret: log loss, summed over rows since the model went live, that a mere recalibration of its scores by the
            labels known at the time would have spared.
        new_labels: rows that it answered, and whose labels were taken into account, each once; without reference
            those whose labels have settled.
        unmatched: labels that belong to no prediction.
    """

    at: int
    cohorts: tuple[Cohort, ...]
    reference: tuple[float, float] | None
    alarm: bool
    detects: float
    regret: float
    new_labels: int
    unmatched: int
    onset: int | None = None
    error_rise: float = 0.0
    error_rates: tuple[float, float] = (0.0, 0.0)
