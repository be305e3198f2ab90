"""Where the best model is looked for: algorithms, the ranges of their parameters, and the budget."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, TypeAlias

from raypipe.spec.values import FrozenMap, changed, place, written_at

#: The name of a metric, or ``module:function`` of a gain of one's own: it takes labels and scores, and more is better.
Metric: TypeAlias = str
Constant: TypeAlias = str | int | float | bool

#: What models of a task can be chosen by.
TASK_METRICS: Mapping[str, tuple[str, ...]] = {
    "binary": ("auc", "log_loss", "brier", "average_precision"),
    "multiclass": ("log_loss", "accuracy", "auc"),
    "regression": ("rmse", "mae", "r2"),
    "quantile": ("pinball", "mae"),
    "count": ("poisson_deviance", "rmse", "mae"),
}
#: What they are chosen by where nothing is said.
USUAL_METRIC: Mapping[str, str] = {
    "binary": "auc",
    "multiclass": "auc",
    "regression": "rmse",
    "quantile": "pinball",
    "count": "poisson_deviance",
}
#: Metrics of which more is better; of the others less is.
HIGHER_IS_BETTER = frozenset({"auc", "average_precision", "accuracy", "r2"})


def more_is_better(metric: str) -> bool:
    """True for metrics of which more is better: some of ours, and all that users bring.

    >>> more_is_better("auc"), more_is_better("rmse"), more_is_better("shop.gains:profit")
    (True, False, True)
    """
    return metric in HIGHER_IS_BETTER or ":" in metric


@dataclass(frozen=True)
class Range:
    """A parameter to search: between low and high, both included."""

    low: float
    high: float
    log: bool = False
    whole: bool = False
    where: str = place()


@dataclass(frozen=True)
class Choice:
    """A parameter to search: one of these."""

    options: tuple[Constant, ...]
    where: str = place()


Parameter: TypeAlias = Constant | Range | Choice


def integer(low: int, high: int, *, log: bool = False) -> Range:
    """A whole number between low and high, both included."""
    return Range(low, high, log, whole=True)


def uniform(low: float, high: float) -> Range:
    """A real number between low and high."""
    return Range(low, high)


def log(low: float, high: float) -> Range:
    """A real number between low and high, drawn evenly on a logarithmic scale."""
    return Range(low, high, log=True)


def choice(*options: Constant) -> Choice:
    """One of these values."""
    return Choice(options)


@dataclass(frozen=True)
class Model:
    """An algorithm and the values or ranges of its parameters; what is not named keeps the default range.

    ``cpus`` and ``gpus`` are what one trial holds while it runs; of a trial with several workers, each of them.
    """

    algorithm: str
    params: FrozenMap[Parameter] = field(default_factory=FrozenMap)
    cpus: float = 0.5
    gpus: float = 0.0
    where: str = place()

    def on(self, *, cpus: float = 0.5, gpus: float = 0.0) -> "Model":
        """The same, holding so many cores and GPUs of the cluster for each trial, or parts of them.

        >>> Model("network").on(gpus=0.5).gpus
        0.5
        """
        return replace(self, cpus=cpus, gpus=gpus)

    @property
    def spreads(self) -> bool:
        """Whether each trial is worked on by several workers."""
        workers = self.params.get("workers", 1)
        return isinstance(workers, int) and workers > 1


@dataclass(frozen=True, init=False)
class Search:
    """Look for the best model.

    Args:
        models: the algorithms, all in one search.
        trials: how many are tried in all.
        metric: what is best on the tuning period: one of `TASK_METRICS`, or ``module:function`` of your own. None: the
            usual one of the task (`USUAL_METRIC`), which the pipeline fills in; of true or false until then.
        p99_ms: leave out models that need longer than this for one row (99th percentile, in the serving path).
        seed: the same seed tries the same parameters.
        seconds: begin no more trials after so long; those under way end as they would. None: no limit. How many trials
            that is depends on the machine, so two such searches may find different models.
        money: begin no more trials when those that ended have cost this much: each what it held, for as long as it ran.
        cpu_hour: what an hour of one core costs, in the unit of ``money``.
        gpu_hour: what an hour of one GPU costs.
        trial_seconds: a trial that takes longer is ended and counts as failed.
        warm_start: try also what was best in earlier searches for the same label with the same models, such as last
            week's.
        class_weights: how much a row of each class counts in learning, such as ``{"true": 3.0}``; ``balanced``: all
            rows of a class together count as those of any other. None: every row counts the same.
        ensemble: try a mean of trials too: of those on the front, that no other beats in quality and speed at once, and
            of the best, also of each algorithm.
        by: a feature of categories: when the best model is known, fit one on the rows of each value too. Those that are
            better on their rows for certain answer them in its place; one version holds them all.
    """

    models: tuple[Model, ...]
    trials: int
    metric: Metric
    p99_ms: float | None
    seed: int
    class_weights: FrozenMap[float] | str | None = None
    seconds: float | None = None
    money: float | None = None
    cpu_hour: float = 0.0
    gpu_hour: float = 0.0
    trial_seconds: float = 3_600.0
    warm_start: bool = False
    ensemble: bool = False
    by: str = ""
    where: str = place()
    _says_metric: ClassVar[bool] = True

    def __init__(
        self,
        models: Sequence[Model],
        *,
        trials: int = 12,
        metric: Metric | None = None,
        p99_ms: float | None = None,
        seed: int = 0,
        class_weights: Mapping[str, float] | str | None = None,
        seconds: float | None = None,
        money: float | None = None,
        cpu_hour: float = 0.0,
        gpu_hour: float = 0.0,
        trial_seconds: float = 3_600.0,
        warm_start: bool = False,
        ensemble: bool = False,
        by: str = "",
    ) -> None:
        weights = class_weights if class_weights is None or isinstance(class_weights, str) else FrozenMap(class_weights)
        fields: dict[str, object] = {
            "models": tuple(models),
            "trials": trials,
            "metric": USUAL_METRIC["binary"] if metric is None else metric,
            "_says_metric": metric is not None,
            "p99_ms": p99_ms,
            "seed": seed,
        }
        fields |= {"class_weights": weights, "trial_seconds": trial_seconds, "warm_start": warm_start}
        fields |= {"seconds": seconds, "money": money, "cpu_hour": cpu_hour, "gpu_hour": gpu_hour}
        fields |= {"ensemble": ensemble, "by": by}
        for name, content in (fields | {"where": written_at()}).items():
            object.__setattr__(self, name, content)

    def of_task(self, task: str) -> "Search":
        """The same search, by the usual metric of the task where none was named.

        >>> Search([]).of_task("regression").metric, Search([], metric="mae").of_task("regression").metric
        ('rmse', 'mae')
        """
        if self._says_metric or task not in USUAL_METRIC:
            return self
        return changed(self, metric=USUAL_METRIC[task])
