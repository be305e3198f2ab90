"""How MLflow loads a version: `mlflow.pyfunc.load_model("models:/flights@champion")`. It runs no code from the model.

The `MLmodel` file that the registry writes names this module; MLflow calls `_load_pyfunc` with the bundle's folder.
"""

from pathlib import Path

import numpy as np
import onnxruntime
import polars as pl
from numpy.typing import NDArray

from raypipe.contracts import bundle
from raypipe.errors import RegistryError


class Scorer:
    """Scores feature rows with a bundle's model.

    Args:
        folder: a bundle; every byte of it is compared with its manifest before the model is read.

    Raises:
        RegistryError: the bundle is damaged, or its model cannot be loaded.
    """

    def __init__(self, folder: Path) -> None:
        bundle.verify(folder)
        self.signature = bundle.signature(folder)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        # Errors come as exceptions; ONNX Runtime would print them too.
        options.log_severity_level = 4
        try:
            self._session = onnxruntime.InferenceSession(
                str(folder / bundle.MODEL), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # noqa: BLE001  # ONNX Runtime's errors share no other base
            what = f"file `{bundle.MODEL}` cannot be loaded: {str(error).splitlines()[0]}"
            raise RegistryError(what, where=f"bundle {folder}") from None

    def score(self, frame: pl.DataFrame) -> NDArray[np.float32]:
        """The model's score of each feature row; shape (rows,).

        Raises:
            RegistryError: a feature column is missing.
        """
        missing = [column.name for column in self.signature.columns if column.name not in frame.columns]
        if missing:
            raise RegistryError(f"the rows lack feature `{missing[0]}`", where="score")
        scores: NDArray[np.float32] = self._session.run(["score"], {"x": self.signature.encode(frame)})[0]
        return scores

    def predict(self, model_input: object, params: dict[str, object] | None = None) -> NDArray[np.float32]:
        """The same for a pandas frame, as MLflow asks."""
        return self.score(pl.from_pandas(model_input))


def _load_pyfunc(path: str) -> Scorer:
    return Scorer(Path(path))
