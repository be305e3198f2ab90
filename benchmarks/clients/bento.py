# mypy: ignore-errors
"""BentoML with adaptive batching: `MODEL=… bentoml serve bento:Flights`."""

import os
import sys
from pathlib import Path

import bentoml
import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from peers import session


@bentoml.service(workers=1, traffic={"timeout": 30, "max_concurrency": 1_024})
class Flights:
    """The model behind one batched call."""

    def __init__(self) -> None:
        self.model = session(os.environ["MODEL"])

    @bentoml.api(batchable=True, batch_dim=0, max_batch_size=512, max_latency_ms=1_000)
    def predict(self, rows: np.ndarray) -> np.ndarray:
        """Scores."""
        return self.model.run(["score"], {"x": rows.astype(np.float32)})[0]
