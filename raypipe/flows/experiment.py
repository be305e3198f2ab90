"""How the versions beside the champion do: who got how many units, whose answers came true, what they cost."""

from dataclasses import dataclass

import polars as pl

from raypipe.contracts.arms import BUCKETS, CHALLENGER, CHAMPION, SHADOW, Arm, bucket
from raypipe.contracts.logs import opened
from raypipe.flows.measure import Measure
from raypipe.stats.sequential import Difference, Sample, difference, share_fault

#: Where nobody says what is predicted.
TRUTHS = Measure()
#: A p-value below this is an alarm; it holds over all looks together.
ALPHA = 0.05
#: How much slower than the champion's the 99th percentile of the latency may be, and how many answers may fail.
SLOWER, FAILED = 1.5, 0.01


@dataclass(frozen=True)
class Standing:
    """How one arm does.

    Attributes:
        arm: its name.
        share: of the units that it should have.
        units, predictions, labelled: how many it had, and of how many the truth is known.
        loss: the mean loss, a unit counting once, see `Measure.compared`; None: nothing is known yet.
        against: its loss minus the champion's; None: too little is known.
        p99_ms: of the latency.
        failed: the share of its rows that the champion had to answer.
        faults: what speaks against it, in words.
    """

    arm: str
    share: float
    units: int
    predictions: int
    labelled: int
    loss: float | None
    against: Difference | None
    p99_ms: float
    failed: float
    faults: tuple[str, ...]


@dataclass(frozen=True)
class Experiment:
    """All arms, and whether the units were spread as they should be: a p-value below `ALPHA` says no."""

    arms: tuple[Standing, ...]
    spread_p: float

    @property
    def uneven(self) -> bool:
        """Whether some arm had more or fewer units than by chance: then no figure says anything."""
        return self.spread_p < ALPHA

    def of(self, arm: str) -> Standing:
        """How one of them does."""
        return next(one for one in self.arms if one.arm == arm)


def experiment(
    predictions: pl.DataFrame,
    feedback: pl.DataFrame,
    arms: tuple[Arm, ...],
    salt: str,
    by: str = "",
    measure: Measure = TRUTHS,
) -> Experiment:
    """Compare the arms of a pipeline on what is in its logs.

    Args:
        predictions: since the arms were changed last, as ``contracts.logs`` has them.
        feedback: what was told about them.
        arms: beside the champion.
        salt: that units are spread with.
        by: a request field: an arm that does worse for one of its values is at fault, too.
        measure: of their answers.
    """
    types = {by: pl.String()} if by else {}
    rows = measure.beside(opened(predictions, "request", types), feedback)
    rows = rows.with_columns(measure.compared.cast(pl.Float64).alias("loss"), _own(rows, arms, salt))
    whole = [arm for arm in arms if not arm.where]
    shares = {arm.name: arm.share for arm in whole if arm.role == CHALLENGER}
    shares[CHAMPION] = 1 - sum(shares.values())
    shares |= {arm.name: arm.share for arm in arms if arm.name not in shares}
    champion = rows.filter(arm=CHAMPION)
    standings = tuple(_standing(name, share, rows, champion, by, measure.scale) for name, share in shares.items())
    segmented = any(arm.where for arm in arms)
    return Experiment(standings, 1.0 if segmented else _spread(rows, shares))


def _own(rows: pl.DataFrame, arms: tuple[Arm, ...], salt: str) -> pl.Series:
    """Whose unit each row is, whoever answered."""
    challengers = [arm for arm in arms if arm.role == CHALLENGER and not arm.where]
    places = {unit: bucket(salt, unit) for unit in rows["unit"].unique()}
    names = {
        unit: next((arm.name for arm in challengers if arm.owns(place)), CHAMPION) for unit, place in places.items()
    }
    return pl.Series("own", [names[unit] for unit in rows["unit"]], pl.String)


def _spread(rows: pl.DataFrame, shares: dict[str, float]) -> float:
    answering = {name: share for name, share in shares.items() if not name.startswith(SHADOW) and share > 1 / BUCKETS}
    units = rows.filter("answered").unique("unit")["own"].value_counts()
    counts = dict(units.iter_rows())
    total = sum(answering.values())
    return share_fault([counts.get(name, 0) for name in answering], [one / total for one in answering.values()])


def _standing(name: str, share: float, rows: pl.DataFrame, champion: pl.DataFrame, by: str, scale: float) -> Standing:
    mine = rows.filter(arm=name)
    slow, base = (float(one["latency"].quantile(0.99) or 0.0) / 1_000 for one in (mine, champion))
    own = rows.filter(pl.col("own") == name, "answered")
    failed = 1 - own.filter(arm=name).height / own.height if own.height else 0.0
    loss = _sample(mine)
    against = difference(_sample(champion), loss, scale=scale, alpha=ALPHA) if name != CHAMPION else None
    faults = []
    if against is not None and against.low > 0:
        faults.append(f"its error is larger, by at least {against.low:.4f}")
    if name != CHAMPION and base and slow > SLOWER * base:
        faults.append(f"its answers take {slow / base:.1f} times as long")
    if failed > FAILED:
        faults.append(f"{failed:.1%} of its answers failed")
    if name != CHAMPION and by:
        faults += _segments(mine, champion, by, scale)
    return Standing(
        arm=name,
        share=share,
        units=mine["unit"].n_unique(),
        predictions=mine.height,
        labelled=mine["truth"].count(),
        loss=loss.mean if loss.count else None,
        against=against,
        p99_ms=slow,
        failed=failed,
        faults=tuple(faults),
    )


def _segments(mine: pl.DataFrame, champion: pl.DataFrame, by: str, scale: float) -> list[str]:
    """Values for which the arm does worse; the more are looked at, the surer one must be."""
    values = [text for text in mine[by].unique().sort() if text is not None]
    faults = []
    for text in values:
        both = (_sample(one.filter(pl.col(by) == text)) for one in (champion, mine))
        found = difference(*both, scale=scale, alpha=ALPHA / len(values))
        if found is not None and found.low > 0:
            faults.append(f"its error is larger where {by} is {text}, by at least {found.low:.4f}")
    return faults


def _sample(rows: pl.DataFrame) -> Sample:
    """The losses, one a unit: its predictions are not independent of one another."""
    means = rows.drop_nulls("loss").group_by("unit").agg(pl.col("loss").mean())["loss"]
    count = means.len()
    variance = float(means.var() or 0.0) if count > 1 else 0.0  # type: ignore[arg-type]
    return Sample(count, float(means.mean() or 0.0) if count else 0.0, variance)  # type: ignore[arg-type]
