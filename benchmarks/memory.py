"""What a piece of work leaves behind in memory when it is done over and over."""

import gc
import time
from collections.abc import Callable

import psutil


def leaves(work: Callable[[int], object], times: int, before: int = 200) -> tuple[float, int]:
    """Milliseconds each time, and the kilobytes that this process holds more than when it was warm.

    What it holds now, not the most that it ever held: below an earlier peak that stays as it is whatever leaks. Memory
    that was freed before may be taken again unseen, so that the work is best done in a process of its own.

    Args:
        work: is told how often it was done.
        times: in all,
        before: so often to become warm.
    """
    for done in range(before):
        work(done)
    held, began = _held(), time.perf_counter()
    for done in range(before, times):
        work(done)
    seconds = time.perf_counter() - began
    return 1e3 * seconds / (times - before), _held() - held


def _held() -> int:
    gc.collect()
    return int(psutil.Process().memory_info().rss // 1024)
