"""One test on the holdout: how good, how surely, for whom, how fairly, and because of which features."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl
from fairlearn.metrics import MetricFrame, demographic_parity_difference, equalized_odds_difference
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, mean_absolute_error

from raypipe.contracts.evaluation import Evaluation, Fairness, Importance, Segment
from raypipe.contracts.target import BINARY, Target
from raypipe.errors import TrainingError
from raypipe.spec.finish import Finish
from raypipe.training.data import ASKED_AT
from raypipe.training.intervals import binary, blocks_of, intervals, others
from raypipe.training.metrics import goodness, measure, quality
from raypipe.training.threshold import mean_class_cost, mean_cost
from raypipe.training.trainer import Examples, Matrix, Scores, Vector

#: A column with more values than this is judged on the most frequent; a value in fewer rows tells nothing.
MOST_VALUES, FEWEST_ROWS = 30, 30
#: Rows that features are shuffled on, and how often.
SHUFFLED, SHUFFLES = 3_000, 3
OTHERS = "others"

Predict = Callable[[Matrix], Scores]


@dataclass(frozen=True)
class Judged:
    """What is judged.

    Attributes:
        rows: of the holdout.
        scores: what is served for them.
        predict: the model that gave the scores.
        metric: that importances are told in.
        target: what is predicted.
        threshold: of truths: a score of at least this counts as true.
        costs: of classes: what each answer costs, by truth and then by answer.
    """

    rows: Examples
    scores: Scores
    predict: Predict
    metric: str
    target: Target = BINARY
    threshold: float = 0.5
    costs: tuple[tuple[float, ...], ...] = ()

    def quality(self, own: NDArray[np.bool_]) -> dict[str, float]:
        """Every measure on some of the rows; none where they cannot tell."""
        y = self.rows.y[own]
        if len(y) < 2 or len(np.unique(y)) < 2:
            return {}
        return quality(y, self.scores[own], self.target, self.metric)


def judge(judged: Judged, frame: pl.DataFrame, finish: Finish) -> Evaluation:
    """Judge scores on the holdout.

    Args:
        judged: rows and scores.
        frame: the same rows with ``asked_at`` and the columns that ``finish`` names.
        finish: what to judge by.

    Raises:
        TrainingError: a column that is to be judged by has one value only.
    """
    y, scores, target = judged.rows.y, judged.scores, judged.target
    timed = ASKED_AT in frame.columns and not frame[ASKED_AT].has_nulls()
    asked_at = frame[ASKED_AT].to_physical().to_numpy() if timed else None
    blocks = blocks_of(asked_at, len(y))
    weighed = binary(y, scores) if target.task == "binary" else others(y, scores, target)
    values = {name: measure(name, y, scores, target) for name in weighed}
    return Evaluation(
        rows=len(y),
        metrics=intervals(values, weighed, blocks),
        segments=tuple(s for name in finish.by for s in _segments(_groups(frame, name), judged, name)),
        fairness=tuple(_fairness(_groups(frame, name), judged, name) for name in finish.fair),
        importances=importances(judged, list(frame.columns)),
        cost=_cost(judged, finish),
        blocks=int(blocks.max()) + 1,
    )


def _cost(judged: Judged, finish: Finish) -> float | None:
    if judged.target.numeric:
        return None
    if judged.target.classes:
        return mean_class_cost(judged.rows.y, judged.scores, judged.costs)
    return mean_cost(judged.rows.y, judged.scores, judged.threshold, finish)


def importances(judged: Judged, names: list[str]) -> tuple[Importance, ...]:
    """What the metric loses when each feature is shuffled, the most important first.

    L. Breiman, "Random forests", Machine Learning 45, 2001. The same rows and the same shuffles for every model.
    """
    rng = np.random.default_rng(0)
    chosen = np.sort(rng.permutation(len(judged.rows.y))[:SHUFFLED])
    x, y, metric = judged.rows.x[chosen], judged.rows.y[chosen], judged.metric
    if len(np.unique(y)) < 2:
        return ()

    def value(x: Matrix) -> float:
        return goodness(metric, measure(metric, y, judged.predict(x), judged.target))

    whole, found = value(x), []
    for column in range(x.shape[1]):
        losses = []
        for _ in range(SHUFFLES):
            shuffled = x.copy()
            shuffled[:, column] = x[rng.permutation(len(x)), column]
            losses.append(whole - value(shuffled))
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


def _segments(groups: pl.Series, judged: Judged, column: str) -> list[Segment]:
    y, scores, found = judged.rows.y, judged.scores, []
    if judged.target.classes:
        # Of classes there is no mean: how often the answer is right stands for it.
        y, scores = np.ones(len(y), dtype=np.float32), (scores.argmax(axis=1) == y).astype(np.float32)
    for value in groups.unique().sort():
        own = (groups == value).to_numpy()
        found.append(
            Segment(
                column=column,
                value=value,
                rows=int(own.sum()),
                truth=float(y[own].mean(dtype=float)),
                answer=float(scores[own].mean(dtype=float)),
                metrics=judged.quality(own),
            )
        )
    return sorted(found, key=lambda segment: (segment.value == OTHERS, -segment.rows, segment.value))


def _fairness(groups: pl.Series, judged: Judged, column: str) -> Fairness:
    """M. Hardt et al., "Equality of opportunity in supervised learning", 2016; as fairlearn computes it.

    Of truths it is about what is decided, of classes about how often that is right, of numbers about how far off they
    are, and to which side: each the largest difference between two values of the column.
    """
    # What a few rows of rare values are told is chance.
    told = ((groups != OTHERS) | ((groups == OTHERS).sum() >= FEWEST_ROWS)).to_numpy()
    y, scores, sensitive = judged.rows.y[told], judged.scores[told], groups.to_numpy()[told]
    if judged.target.task == "binary":
        truth, said = (y > 0.5).astype(int), (scores >= judged.threshold).astype(int)
        measures = {
            "demographic_parity_difference": demographic_parity_difference(truth, said, sensitive_features=sensitive),
            "equalized_odds_difference": equalized_odds_difference(truth, said, sensitive_features=sensitive),
        }
    elif judged.target.classes:
        measures = {"accuracy_difference": _difference(accuracy_score, y, scores.argmax(axis=1), sensitive)}
    else:
        measures = {
            "mae_difference": _difference(mean_absolute_error, y, scores, sensitive),
            "bias_difference": _difference(lambda truth, said: float(np.mean(said - truth)), y, scores, sensitive),
        }
    known = {name: float(value) for name, value in measures.items()}
    return Fairness(column=column, values=len(np.unique(sensitive)), measures=known)


def _difference(metric: Callable[..., float], y: Vector, said: Matrix, sensitive: NDArray[np.str_]) -> float:
    return float(MetricFrame(metrics=metric, y_true=y, y_pred=said, sensitive_features=sensitive).difference())
