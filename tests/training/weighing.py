"""A metric that weighs the process that asks for it, from its first question to its next."""

import os
import re
import tempfile
from pathlib import Path
from threading import Thread
from time import sleep

import numpy as np
from sklearn.metrics import roc_auc_score

#: A line for each new peak: the process, and how many bytes were its own. What it shares with Ray's store is not.
PEAKS = Path(tempfile.gettempdir()) / f"raypipe-peaks-{os.getuid()}"
_WEIGHED: list[Thread] = []


def auc(y: np.ndarray, scores: np.ndarray) -> float:
    if not _WEIGHED:
        _WEIGHED.append(Thread(target=_weigh, daemon=True))
        _WEIGHED[0].start()
    return float(roc_auc_score(y, scores))


def _weigh() -> None:
    most = 0
    while True:
        found = re.search(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text())
        if found and (own := int(found[1]) * 1024) > most:
            most = own
            with PEAKS.open("a") as file:
                file.write(f"{os.getpid()} {own}\n")
        sleep(0.02)
