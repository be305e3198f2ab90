"""One test on the holdout: how good, how surely, for whom, how fairly, and because of which features."""

from collections.abc import Callable

import numpy as np
import polars as pl
from fairlearn.metrics import demographic_parity_difference, equalized_odds_difference
from numpy.typing import NDArray

from raypipe.contracts.evaluation import Evaluation, Fairness, Importance, Segment
from raypipe.errors import TrainingError
from raypipe.spec.finish import Finish
from raypipe.training.intervals import binary, blocks_of, intervals
from raypipe.training.metrics import MEASURES, goodness, measure
from raypipe.training.threshold import mean_cost
from raypipe.training.trainer import Examples, Matrix, Vector

#: A column with more values than this is judged on the most frequent; a value in fewer rows tells nothing.
MOST_VALUES, FEWEST_ROWS = 30, 30
#: Rows that features are shuffled on, and how often.
SHUFFLED, SHUFFLES = 3_000, 3
ASKED_AT = "asked_at"
OTHERS = "others"

Predict = Callable[[Matrix], Vector]


def judge(
    rows: Examples, scores: Vector, frame: pl.DataFrame, predict: Predict, metric: str, threshold: float, finish: Finish
) -> Evaluation:
    """Judge scores on the holdout.

    Args:
        rows: of the holdout.
        scores: what is served for them.
        frame: the same rows with ``asked_at`` and the columns that ``finish`` names.
        predict: the model that gave the scores.
        metric: that importances are told in.
        threshold: a score of at least this counts as true.
        finish: what to judge by.

    Raises:
        TrainingError: a column that is to be judged by has one value only.
    """
    asked_at = frame[ASKED_AT].to_physical().to_numpy() if ASKED_AT in frame.columns else None
    blocks = blocks_of(asked_at, len(rows.y))
    weighed = binary(rows.y, scores)
    said = scores >= threshold
    return Evaluation(
        rows=len(rows.y),
        metrics=intervals({name: measure(name, rows.y, scores) for name in weighed}, weighed, blocks),
        segments=tuple(s for name in finish.by for s in _segments(_groups(frame, name), rows.y, scores, name)),
        fairness=tuple(_fairness(_groups(frame, name), rows.y, said, name) for name in finish.fair),
        importances=importances(rows, predict, metric, list(frame.columns)),
        cost=mean_cost(rows.y, scores, threshold, finish),
        blocks=int(blocks.max()) + 1,
    )


def importances(rows: Examples, predict: Predict, metric: str, names: list[str]) -> tuple[Importance, ...]:
    """What the metric loses when each feature is shuffled, the most important first.

    L. Breiman, "Random forests", Machine Learning 45, 2001. The same rows and the same shuffles for every model.
    """
    rng = np.random.default_rng(0)
    chosen = np.sort(rng.permutation(len(rows.y))[:SHUFFLED])
    x, y = rows.x[chosen], rows.y[chosen]
    if len(np.unique(y)) < 2:
        return ()
    whole = goodness(metric, measure(metric, y, predict(x)))
    found = []
    for column in range(x.shape[1]):
        losses = []
        for _ in range(SHUFFLES):
            shuffled = x.copy()
            shuffled[:, column] = x[rng.permutation(len(x)), column]
            losses.append(whole - goodness(metric, measure(metric, y, predict(shuffled))))
        found.append(
            Importance(feature=names[column], loss=float(np.mean(losses)), deviation=float(np.std(losses, ddof=1)))
        )
    return tuple(sorted(found, key=lambda importance: -importance.loss))


def _groups(frame: pl.DataFrame, name: str) -> pl.Series:
    """The value of each row as text; the less frequent ones together."""
    values = frame[name].cast(pl.String).fill_null("missing")
    counts = values.value_counts(name="n").sort(["n", name], descending=[True, False])
    if counts.height < 2:
        raise TrainingError(f"`{name}` is the same in all rows of the holdout", where="finish", cure="Name another")
    kept = counts.filter(pl.col("n") >= FEWEST_ROWS)[name].head(MOST_VALUES)
    return values.to_frame().select(pl.when(pl.col(name).is_in(kept.implode())).then(name).otherwise(pl.lit(OTHERS)))[
        name
    ]


def _segments(groups: pl.Series, y: Vector, scores: Vector, column: str) -> list[Segment]:
    found = []
    for value in groups.unique().sort():
        own = (groups == value).to_numpy()
        both = len(np.unique(y[own])) == 2
        metrics = {name: measure(name, y[own], scores[own]) for name in MEASURES} if both else {}
        found.append(
            Segment(
                column=column,
                value=value,
                rows=int(own.sum()),
                truth=float(y[own].mean(dtype=float)),
                answer=float(scores[own].mean(dtype=float)),
                metrics=metrics,
            )
        )
    return sorted(found, key=lambda segment: (segment.value == OTHERS, -segment.rows, segment.value))


def _fairness(groups: pl.Series, y: Vector, said: NDArray[np.bool_], column: str) -> Fairness:
    """M. Hardt et al., "Equality of opportunity in supervised learning", 2016; as fairlearn computes it."""
    # What a few rows of rare values are told is chance.
    told = ((groups != OTHERS) | ((groups == OTHERS).sum() >= FEWEST_ROWS)).to_numpy()
    truth, said, sensitive = (y[told] > 0.5).astype(int), said[told], groups.to_numpy()[told]
    measures = {
        "demographic_parity_difference": float(
            demographic_parity_difference(truth, said.astype(int), sensitive_features=sensitive)
        ),
        "equalized_odds_difference": float(
            equalized_odds_difference(truth, said.astype(int), sensitive_features=sensitive)
        ),
    }
    return Fairness(column=column, values=len(np.unique(sensitive)), measures=measures)
