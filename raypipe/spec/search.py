"""Where the best model is looked for: algorithms, the ranges of their parameters, and the budget."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from raypipe.spec.values import FrozenMap, place, written_at

Metric: TypeAlias = Literal["auc", "log_loss", "brier", "average_precision"]
Constant: TypeAlias = str | int | float | bool

#: Metrics of which more is better; of the others less is.
HIGHER_IS_BETTER = frozenset({"auc", "average_precision"})


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
    """An algorithm and the values or ranges of its parameters; what is not named keeps the default range."""

    algorithm: str
    params: FrozenMap[Parameter] = field(default_factory=FrozenMap)
    where: str = place()


@dataclass(frozen=True, init=False)
class Search:
    """Look for the best model.

    Args:
        models: the algorithms, all in one search.
        trials: how many are tried in all.
        metric: what is best on the tuning period.
        p99_ms: leave out models that need longer than this for one row (99th percentile, in the serving path).
        seed: the same seed tries the same parameters.
    """

    models: tuple[Model, ...]
    trials: int
    metric: Metric
    p99_ms: float | None
    seed: int
    where: str = place()

    def __init__(
        self,
        models: Sequence[Model],
        *,
        trials: int = 12,
        metric: Metric = "auc",
        p99_ms: float | None = None,
        seed: int = 0,
    ) -> None:
        fields = {"models": tuple(models), "trials": trials, "metric": metric, "p99_ms": p99_ms, "seed": seed}
        for name, content in (fields | {"where": written_at()}).items():
            object.__setattr__(self, name, content)
