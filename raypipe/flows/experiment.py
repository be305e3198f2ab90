"""How the versions beside the champion do: who got how many units, whose answers came true, what they cost."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from raypipe.contracts import bundle
from raypipe.contracts.arms import CHALLENGER, CHAMPION, Arm
from raypipe.contracts.logs import opened
from raypipe.contracts.records import ModelVersion
from raypipe.flows.arms import comparable, spread, with_owner
from raypipe.flows.measure import Measure
from raypipe.stats.sequential import Difference, Sample, difference, share_fault

#: Where nobody says what is predicted.
TRUTHS = Measure()
#: A p-value below this is an alarm; it holds over all looks together.
ALPHA = 0.05
#: How much slower than the champion's the 99th percentile of the latency may be, and how many answers may fail.
SLOWER, FAILED = 1.5, 0.01
#: So many requests it takes to know a 99th percentile, beyond which so large a share lies.
_TIMED, _TAIL = 100, 0.01


@dataclass(frozen=True)
class Standing:
    """How one arm does.

    Attributes:
        arm: its name.
        share: of the units that it should have.
        units, predictions, labelled: how many it had, and of how many the truth is known.
        loss: the mean loss, a unit counting once, see `Measure.compared`; None: nothing is known yet.
        against: its loss minus the champion's, on rows that chance gave to one of the two; None: too little is known.
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
    by: Sequence[str] = (),
    measure: Measure = TRUTHS,
) -> Experiment:
    """Compare the arms of a pipeline on what is in its logs; see `raypipe.flows.arms.comparable` for on which rows.

    Args:
        predictions: since the arms were changed last, as ``contracts.logs`` has them.
        feedback: what was told about them.
        arms: beside the champion.
        salt: that units are spread with.
        by: request fields: an arm that does worse for one of their values is at fault, too.
        measure: of their answers.
    """
    fields = dict.fromkeys([*by, *(name for arm in arms for name, _ in arm.where)], pl.String())
    rows = measure.beside(opened(predictions, "request", fields), feedback)
    rows = with_owner(rows.with_columns(measure.compared.cast(pl.Float64).alias("loss")), arms, salt)
    whole = sum(arm.share for arm in arms if arm.role == CHALLENGER and not arm.where)
    champion = rows.filter(arm=CHAMPION)
    standings = [_standing(CHAMPION, 1 - whole, champion)]
    for arm in arms:
        # What it answered in place of others is not its own by chance.
        theirs = champion.filter(comparable(arm, arms), own=CHAMPION)
        standings.append(_beside(arm, rows, comparable(arm, arms), theirs, by, measure.scale))
    return Experiment(tuple(standings), spread(rows, arms))


def judged_by(version: ModelVersion | None) -> tuple[str, ...]:
    """The request fields by whose values the answers of a pipeline are judged, as its definition says.

    Raises:
        RegistryError: a file of the bundle is damaged.
    """
    if version is None:
        return ()
    pipeline = bundle.pipeline(Path(version.folder))
    return tuple(field for field in pipeline.finish.by if field in pipeline.request.fields)


def _standing(
    name: str,
    share: float,
    rows: pl.DataFrame,
    against: Difference | None = None,
    failed: float = 0.0,
    faults: Sequence[str] = (),
) -> Standing:
    loss = _sample(rows)
    return Standing(
        arm=name,
        share=share,
        units=rows["unit"].n_unique(),
        predictions=rows.height,
        labelled=rows["truth"].count(),
        loss=loss.mean if loss.count else None,
        against=against,
        p99_ms=_p99(rows["latency"]) / 1_000,
        failed=failed,
        faults=tuple(faults),
    )


def _beside(
    arm: Arm, rows: pl.DataFrame, among: pl.Expr, champion: pl.DataFrame, by: Sequence[str], scale: float
) -> Standing:
    """An arm, and what speaks against it: each by a test that holds however often one looks."""
    mine, own = rows.filter(arm=arm.name), rows.filter(pl.col("own") == arm.name, "answered")
    compared, failed = mine.filter(among), own.filter(pl.col("arm") != arm.name)
    against = difference(_sample(champion), _sample(compared), scale=scale, alpha=ALPHA)
    faults = []
    if against is not None and against.low > 0:
        faults.append(f"its error is larger, by at least {against.low:.4f}")
    faults += _slower(compared, champion)
    if _more(failed["request_id"].n_unique(), own["request_id"].n_unique(), FAILED):
        faults.append(f"{failed.height / own.height:.1%} of its answers failed")
    for field in by:
        faults += _segments(compared, champion, field, scale, ALPHA / len(by))
    return _standing(arm.name, arm.share, mine, against, failed.height / own.height if own.height else 0.0, faults)


def _slower(mine: pl.DataFrame, champion: pl.DataFrame) -> Iterator[str]:
    """Whether too many of its requests take longer than those of the champion may."""
    times, others = (one.group_by("request_id").agg(pl.col("latency").max())["latency"] for one in (mine, champion))
    base = _p99(others)
    if others.len() >= _TIMED and base and _more(int((times > SLOWER * base).sum()), times.len(), _TAIL):
        yield f"its answers take {_p99(times) / base:.1f} times as long"


def _segments(mine: pl.DataFrame, champion: pl.DataFrame, field: str, scale: float, alpha: float) -> Iterator[str]:
    """Values for which the arm does worse; the more are looked at, the surer one must be."""
    values = [text for text in mine[field].unique().sort() if text is not None]
    for text in values:
        both = (_sample(one.filter(pl.col(field) == text)) for one in (champion, mine))
        found = difference(*both, scale=scale, alpha=alpha / len(values))
        if found is not None and found.low > 0:
            yield f"its error is larger where {field} is {text}, by at least {found.low:.4f}"


def _more(count: int, of: int, share: float) -> bool:
    """Whether more than this share is for certain."""
    return count > share * of and share_fault([count, of - count], [share, 1 - share]) < ALPHA


def _p99(latency: pl.Series) -> float:
    return float(latency.quantile(0.99) or 0.0)


def _sample(rows: pl.DataFrame) -> Sample:
    """The losses, one a unit: its predictions are not independent of one another."""
    means = rows.drop_nulls("loss").group_by("unit").agg(pl.col("loss").mean())["loss"]
    count = means.len()
    variance = float(means.var() or 0.0) if count > 1 else 0.0  # type: ignore[arg-type]
    return Sample(count, float(means.mean() or 0.0) if count else 0.0, variance)  # type: ignore[arg-type]
