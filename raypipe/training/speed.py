"""How long a model takes to answer, in the code that a replica runs from the values of features to scores."""

from collections.abc import Callable, Iterable, Mapping
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
from raypipe.training.trainer import Matrix

T = TypeVar("T")

MANY = 1_000
#: Calls that are timed, for one row and for a thousand; where they take long, fewer, but `FEWEST`.
CALLS = {1: 300, MANY: 20}
FEWEST, SECONDS = 7, 0.1


def speed(model: OnnxModel, x: Matrix, signature: Signature) -> dict[str, float]:
    """Milliseconds from plain values to scores, for one row and for 1,000: median and 99th percentile over calls.

    One row is asked as a tuple of values, a thousand as a frame, as a replica does. It is the time on the clock. Where
    the kernel gave the core to other work amid a call, such as the next trial, it is the CPU time of that call: what
    else runs here must not decide which model is fast enough.
    """
    scorer = Scorer("model", Encoder(signature), model.predict)
    one = values(np.resize(x, (CALLS[1], x.shape[1])), signature).rows()
    many = [values(np.resize(np.roll(x, -MANY * i, axis=0), (MANY, x.shape[1])), signature) for i in range(FEWEST)]
    each = _seconds(lambda row: scorer.rows([row]), one)
    together = _seconds(scorer.frame, (many[i % FEWEST] for i in range(CALLS[MANY])))
    return _quantiles(each, 1) | _quantiles(together, MANY)


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


def _seconds(ask: Callable[[T], object], questions: Iterable[T]) -> list[float]:
    """How long each call takes; the first one, which finds cold caches, is not counted."""
    took: list[float] = []
    began = perf_counter()
    for question in questions:
        took.append(_took(partial(ask, question)))
        if len(took) > FEWEST and perf_counter() - began > SECONDS:
            break
    return took[1:]


def _took(call: Callable[[], object]) -> float:
    before, cpu, began = _interruptions(), thread_time(), perf_counter()
    call()
    wall, cpu = perf_counter() - began, thread_time() - cpu
    return cpu if _interruptions() > before else wall


def _interruptions() -> int:
    """How often the kernel has taken the core from this thread for other work."""
    return getrusage(RUSAGE_THREAD).ru_nivcsw


def _quantiles(seconds: list[float], rows: int) -> dict[str, float]:
    return {f"{name}_ms_{rows}": float(np.quantile(seconds, q)) * 1e3 for name, q in (("p50", 0.5), ("p99", 0.99))}
