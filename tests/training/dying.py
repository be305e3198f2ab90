"""A metric that ends its own process once, at the second epoch that it is asked about, as a lost machine would."""

import os
import signal
import tempfile
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

#: Each epoch that was judged adds a line; ``armed`` beside it makes the second one the last of its process.
EPOCH = 2
JUDGED = Path(tempfile.gettempdir()) / f"raypipe-judged-{os.getuid()}"
ARMED = JUDGED.with_suffix(".armed")


def auc(y: np.ndarray, scores: np.ndarray) -> float:
    with JUDGED.open("a") as file:
        file.write(f"{os.getpid()}\n")
    if ARMED.exists() and len(JUDGED.read_text().split()) == EPOCH:
        ARMED.unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    return float(roc_auc_score(y, scores))
