"""What a search may use beside its number of trials, and what it has used so far."""

from collections.abc import Iterable
from contextlib import suppress
from math import inf
from pathlib import Path
from time import perf_counter

from raypipe.spec import Search
from raypipe.training.outcome import Outcome
from raypipe.training.trial import Plan

_FILE = "seconds"


class Budget:
    """Time and money of a search, over all its runs: one that was killed has used what it had used.

    Args:
        seconds: how long it may begin trials.
        money: how much the trials that ended may have cost.
        plan: says what an hour of a trial costs; its folder keeps the time that was used.
    """

    def __init__(self, seconds: float = inf, money: float = inf, plan: Plan | None = None) -> None:
        self._seconds, self._money, self._plan = seconds, money, plan
        self._file = None if plan is None else plan.folder / _FILE
        self._before, self._began = _read(self._file), perf_counter()

    @classmethod
    def of(cls, search: Search, plan: Plan) -> "Budget":
        """That of a search that begins now, or goes on."""
        return cls(search.seconds or inf, search.money or inf, plan)

    def spent(self, outcomes: Iterable[Outcome]) -> bool:
        """Whether no further trial may begin after these."""
        used = self._before + perf_counter() - self._began
        if self._file is not None and self._seconds < inf:
            half = self._file.with_suffix(".part")
            half.write_text(f"{used:.3f}", encoding="utf-8")
            half.replace(self._file)
        if used > self._seconds:
            return True
        return self._plan is not None and sum(map(self._plan.cost, outcomes)) >= self._money


def _read(file: Path | None) -> float:
    with suppress(OSError, ValueError):
        return float(file.read_text(encoding="utf-8")) if file is not None else 0.0
    return 0.0
