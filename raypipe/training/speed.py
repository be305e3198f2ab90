"""How long a model takes to answer, in the code that a replica runs from the values of features to scores."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from resource import RUSAGE_THREAD, getrusage
from time import perf_counter, thread_time
from typing import TypeVar

import numpy as np
import polars as pl

from raypipe.contracts.encode import Encoder
from raypipe.contracts.scorer import Scorer
from raypipe.contracts.signature import Signature
from raypipe.training.onnx_model import OnnxModel
from raypipe.training.trainer import Matrix, Scores

T = TypeVar("T")

MANY = 1_000
#: Calls with one row that are timed; where they take long, fewer, but `FEWEST`, which is how many with many rows are.
CALLS, FEWEST, SECONDS = 300, 7, 0.1


def timed_scores(model: OnnxModel, x: Matrix, signature: Signature) -> tuple[Scores, dict[str, float]]:
    """The scores of the first rows, asked a thousand at a time, and how many milliseconds that took from plain values.

    It is told for one row and for 1,000, median and 99th percentile over calls. One row is asked as a tuple of values,
    a thousand as a frame, as a replica does. It is the time on the clock. Where the kernel gave the core to other work
    amid a call, such as the next trial, it is the CPU time of that call: what else runs here must not decide which
    model is fast enough. The first call, which finds cold caches, is not counted.

    Args:
        model: as it serves.
        x: shape (rows, columns); where there are few, they are asked again.
        signature: what the columns are.
    """
    scorer = Scorer("model", Encoder(signature), model.predict)
    one = values(np.resize(x, (CALLS, x.shape[1])), signature).rows()
    each = [seconds for _, seconds in _within(_timed(partial(scorer.rows, [row])) for row in one)]
    asked = (FEWEST + 1) * MANY
    frame = values(x.take(np.arange(asked), axis=0, mode="wrap"), signature)
    many = [_timed(partial(scorer.frame, frame.slice(start, MANY))) for start in range(0, asked, MANY)]
    speeds = _quantiles(each[1:], 1) | _quantiles([seconds for _, seconds in many[1:]], MANY)
    return np.concatenate([said for (_, said), _ in many])[: len(x)], speeds


def money(speeds: Mapping[str, float], cpu_hour: float) -> dict[str, float]:
    """What a million predictions cost on one core, asked one by one, and a thousand at a time.

    Args:
        speeds: as `speed` measures them.
        cpu_hour: what an hour of a core costs.

    >>> money({"p50_ms_1": 3.6, "p50_ms_1000": 36.0}, cpu_hour=0.05)
    {'money_per_million': 0.05, 'money_per_million_1000': 0.0005}
    """
    hours = {"": speeds["p50_ms_1"] * 1e6, f"_{MANY}": speeds[f"p50_ms_{MANY}"] * 1e6 / MANY}
    return {f"money_per_million{name}": ms / 3_600_000 * cpu_hour for name, ms in hours.items()}


def values(x: Matrix, signature: Signature) -> pl.DataFrame:
    """Features that the signature encodes as ``x``, shape (rows, columns): texts and numbers, null where nothing is.

    >>> from raypipe.contracts.signature import Column
    >>> signature = Signature(columns=(Column(name="carrier", vocabulary=("UA",)), Column(name="delay")))
    >>> values(np.array([[1, 2.5], [0, np.nan]], dtype=np.float32), signature).rows()
    [('UA', 2.5), (None, None)]
    """
    columns = {}
    for column, content in zip(signature.columns, x.T, strict=True):
        if column.vocabulary is None:
            columns[column.name] = pl.Series(content, nan_to_null=True)
        else:
            texts = pl.Series([None, *column.vocabulary], dtype=pl.String)
            columns[column.name] = texts.gather(pl.Series(content.astype(np.uint32)))
    return pl.DataFrame(columns)


def _within(calls: Iterator[T]) -> Iterator[T]:
    """As many calls as there is time for."""
    began = perf_counter()
    for number, call in enumerate(calls):
        yield call
        if number >= FEWEST and perf_counter() - began > SECONDS:
            return


def _timed(call: Callable[[], T]) -> tuple[T, float]:
    before, cpu, began = _interruptions(), thread_time(), perf_counter()
    said = call()
    wall, cpu = perf_counter() - began, thread_time() - cpu
    return said, cpu if _interruptions() > before else wall


def _interruptions() -> int:
    """How often the kernel has taken the core from this thread for other work."""
    return getrusage(RUSAGE_THREAD).ru_nivcsw


def _quantiles(seconds: list[float], rows: int) -> dict[str, float]:
    return {f"{name}_ms_{rows}": float(np.quantile(seconds, q)) * 1e3 for name, q in (("p50", 0.5), ("p99", 0.99))}
