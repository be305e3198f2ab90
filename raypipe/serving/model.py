"""A model version in memory, checked before it answers."""

from pathlib import Path
from threading import Timer

import numpy as np
import onnx
import onnxruntime as ort
import polars as pl
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort_state

from raypipe.contracts import bundle
from raypipe.contracts.arms import Arm
from raypipe.contracts.bundle import Card
from raypipe.contracts.encode import Encoder
from raypipe.contracts.records import Record
from raypipe.contracts.signature import Signature
from raypipe.errors import ServingError
from raypipe.spec import Pipeline

#: How long a version may take to score its golden rows before it is refused.
GOLDEN_SECONDS = 20.0

# The errors of ONNX Runtime have no common parent but Exception.
_ORT_ERRORS: tuple[type[Exception], ...] = (
    ort_state.EPFail,
    ort_state.Fail,
    ort_state.InvalidArgument,
    ort_state.InvalidGraph,
    ort_state.InvalidProtobuf,
    ort_state.NotImplemented,
    ort_state.RuntimeException,
    ValueError,
)
_SCORING_ERRORS: tuple[type[Exception], ...] = (*_ORT_ERRORS, pl.exceptions.PolarsError)
_LOADING_ERRORS: tuple[type[Exception], ...] = (*_ORT_ERRORS, DecodeError)


class Served(Record, frozen=True, kw_only=True):
    """Which model version a replica is to answer with: its files, their digest, its number.

    ``arms`` are the versions beside it, ``salt`` spreads the units among them all.
    """

    folder: str
    digest: str
    version: int
    arms: tuple[Arm, ...] = ()
    salt: str = ""

    @property
    def alone(self) -> "Served":
        """The version without those beside it."""
        return Served(folder=self.folder, digest=self.digest, version=self.version)

    @property
    def all(self) -> tuple["Served", ...]:
        """Every version that must be in memory, this one first."""
        return (self.alone, *(Served(folder=a.folder, digest=a.digest, version=a.version) for a in self.arms))


class Model:
    """One model version, ready to score.

    Args:
        served: which one.

    Raises:
        RegistryError: the files are not what the digest says.
        ServingError: it is not a model that can be run, or it does not give its golden scores.
    """

    def __init__(self, served: Served) -> None:
        folder = Path(served.folder)
        bundle.verify(folder, served.digest)
        self.served = served
        self.pipeline: Pipeline = bundle.pipeline(folder)
        self.card: Card = bundle.card(folder)
        self.signature: Signature = bundle.signature(folder)
        self.encode = Encoder(self.signature)
        self._session = _session(folder / bundle.MODEL)
        self.golden = bundle.golden(folder)
        #: Whether all that it sees are texts, numbers and truth values.
        self.plain = not any(kind.is_temporal() for kind in self.golden.dtypes)
        self._agree()

    def score(self, matrix: NDArray[np.float32]) -> NDArray[np.float32]:
        """The score of each row of a matrix of shape (rows, columns); of classes one a class."""
        scores: NDArray[np.float32] = self._session.run(["score"], {"x": matrix})[0]
        return scores

    def _in_time(self, matrix: NDArray[np.float32]) -> NDArray[np.float32]:
        """The same as `score`, given up after a while: a model may hold a loop that never ends."""
        options = ort.RunOptions()
        giving_up = Timer(GOLDEN_SECONDS, lambda: setattr(options, "terminate", True))
        giving_up.start()
        try:
            scores: NDArray[np.float32] = self._session.run(["score"], {"x": matrix}, options)[0]
        except _ORT_ERRORS:
            if options.terminate:
                where = f"{self.pipeline.name}/{self.served.version}"
                what = f"does not score its golden rows within {GOLDEN_SECONDS:g} seconds"
                raise ServingError(what, where=where) from None
            raise
        finally:
            giving_up.cancel()
        return scores

    def _agree(self) -> None:
        where = f"{self.pipeline.name}/{self.served.version}"
        wanted = tuple(column.name for column in self.signature.columns)
        if wanted != self.pipeline.feature_names:
            raise ServingError("takes other features than its pipeline makes", where=where)
        if self.golden.is_empty():
            raise ServingError("has no golden rows to be checked on", where=where)
        try:
            got = self._in_time(self.encode(self.golden))
        except _SCORING_ERRORS as error:
            raise ServingError(f"cannot score its golden rows: {_first_line(error)}", where=where) from None
        expected = self.golden[bundle.SCORE].to_numpy()
        if got.shape != expected.shape:
            raise ServingError(f"gives scores of shape {got.shape} instead of {expected.shape}", where=where)
        # NaN on either side counts as a disagreement.
        wrong = ~bundle.agree(got.astype(np.float64), expected.astype(np.float64))
        if wrong.any():
            rows = [bool(row.any()) for row in wrong]
            raise ServingError(
                f"{sum(rows)} of {len(rows)} golden rows get another score than the trainer computed",
                where=where,
                cure="Register the model again; the version before goes on answering",
            )


def _session(path: Path) -> ort.InferenceSession:
    content = path.read_bytes()
    try:
        _refuse_outside_data(onnx.load_model_from_string(content), path)
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except _LOADING_ERRORS as error:
        raise ServingError(f"is not a model that ONNX Runtime can run: {_first_line(error)}", where=str(path)) from None


def _refuse_outside_data(model: onnx.ModelProto, path: Path) -> None:
    """A model may name further files for its weights, anywhere on the disk; ours are whole."""
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in model.graph.initializer):
        raise ServingError("keeps weights in other files", where=str(path), cure="Export it as one file")


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
