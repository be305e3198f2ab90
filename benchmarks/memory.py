"""Memory before and after work: taken from the host before anything is timed, and what is left behind by it."""

import gc
import subprocess
import sys
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


def take_memory(megabytes: int) -> None:
    """Touch as much memory as the largest run needs: a host that has taken it back gives it to whoever comes first.

    That cost whoever ran first up to 2 s of the kernel's time, and others nothing.
    """
    touched = "import numpy, sys; numpy.ones(int(sys.argv[1]) // 8)"
    size = min(megabytes * 2**20, psutil.virtual_memory().available // 2)
    subprocess.run([sys.executable, "-c", touched, str(size)], check=True)
