"""Probabilities that mean what they say: a rising map from a model's score to a probability, inside its ONNX file."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from scipy.optimize import minimize
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression

from raypipe.contracts.bundle import MODEL, SCORE
from raypipe.spec.finish import Calibrate
from raypipe.training.onnx_model import Predicts
from raypipe.training.trainer import Matrix, Scores, Vector

#: Scores nearer than this to 0 or 1 are taken to be so far from it: float32 has no logarithm of what is beyond.
EDGE = 1e-6
#: Corners of a line; more of them follow noise. A curve is drawn by twice as many.
CORNERS = 32
#: The last bit of a score near 1 is 6e-8, and another processor computes another one. A line that is steeper than this
#: would make of such a bit what looks like another model (`raypipe.contracts.bundle.TOLERANCE`).
STEEPEST = 64.0
_FURTHEST = float(logit(1 - EDGE))
_RAW = "uncalibrated"


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """A map from score to probability: straight lines between corners, each (score, probability), in rising order."""

    corners: tuple[tuple[float, float], ...]

    @classmethod
    def through(cls, x: Vector, y: Vector) -> "Calibration":
        """Rising lines through these corners, without those where a line would be steeper than `STEEPEST`."""
        kept: list[int] = []
        for i in range(len(x)):
            if not kept or _gentle(x, y, kept[-1], i):
                kept.append(i)
        while kept and kept[-1] < len(x) - 1 and not _gentle(x, y, kept[-1], len(x) - 1):
            kept.pop()
        kept = sorted({*kept, len(x) - 1})
        # Two of them are no line, or one that is too steep from end to end: scores stay as they are.
        return cls(
            corners=tuple((float(x[i]), float(y[i])) for i in kept) if len(kept) > 2 else ((0.0, 0.0), (1.0, 1.0))
        )

    def __call__(self, scores: Vector) -> Vector:
        """The probabilities, float32, computed as the ONNX file computes them."""
        starts, values, slopes = self._lines()
        x = np.clip(scores, starts[0], starts[-1])
        line = (x[:, None] >= starts[1:-1]).sum(axis=1)
        return np.asarray(values[line] + (x - starts[line]) * slopes[line], dtype=np.float32)

    def put_into(self, folder: Path) -> None:
        """Append the map to ``model.onnx``: what was its ``score`` becomes the input of the map."""
        model = onnx.load(folder / MODEL)
        for node in model.graph.node:
            node.output[:] = [_RAW if name == SCORE else name for name in node.output]
        model.graph.initializer.extend(
            numpy_helper.from_array(value, name) for name, value in self._constants().items()
        )
        model.graph.node.extend(_LINES)
        onnx.checker.check_model(model)
        onnx.save(model, folder / MODEL)

    def _constants(self) -> Mapping[str, NDArray[np.float32] | NDArray[np.int64]]:
        starts, values, slopes = self._lines()
        ends = {"cal_low": starts[0], "cal_high": starts[-1], "cal_inner": starts[1:-1]}
        lines = {"cal_starts": starts, "cal_values": values, "cal_slopes": slopes}
        return {name: np.asarray(value, dtype=np.float32) for name, value in (ends | lines).items()} | {
            "cal_axis": np.array([1], dtype=np.int64)
        }

    def _lines(self) -> tuple[Vector, Vector, Vector]:
        """Where each line starts, its value there and its slope; the last corner ends the last line."""
        x, y = np.asarray(self.corners, dtype=np.float32).T
        return x, y, np.append(np.diff(y) / np.diff(x), np.float32(0)).astype(np.float32)


@dataclass(frozen=True)
class Mapped:
    """What answers through a map of scores."""

    model: Predicts
    calibration: Calibration

    def predict(self, x: Matrix) -> Scores:
        """The probabilities of ``x`` float32 (rows, columns)."""
        return self.calibration(self.model.predict(x))


def _gentle(x: Vector, y: Vector, start: int, end: int) -> bool:
    return bool(y[end] - y[start] <= STEEPEST * (x[end] - x[start]))


def _node(kind: str, inputs: str, output: str, **attributes: int) -> onnx.NodeProto:
    node = helper.make_node(kind, inputs.split(), [output])
    node.attribute.extend(helper.make_attribute(name, value) for name, value in attributes.items())
    return node


_LINES = (
    _node("Clip", f"{_RAW} cal_low cal_high", "cal_x"),
    _node("Unsqueeze", "cal_x cal_axis", "cal_column"),
    _node("GreaterOrEqual", "cal_column cal_inner", "cal_passed"),
    _node("Cast", "cal_passed", "cal_ones", to=TensorProto.INT64),
    _node("ReduceSum", "cal_ones cal_axis", "cal_line", keepdims=0),
    _node("Gather", "cal_starts cal_line", "cal_start"),
    _node("Gather", "cal_values cal_line", "cal_value"),
    _node("Gather", "cal_slopes cal_line", "cal_slope"),
    _node("Sub", "cal_x cal_start", "cal_beyond"),
    _node("Mul", "cal_beyond cal_slope", "cal_rise"),
    _node("Add", "cal_value cal_rise", SCORE),
)


def platt(y: Vector, scores: Vector) -> Calibration:
    """The logistic curve of least log loss.

    J. Platt, "Probabilistic outputs for support vector machines", 1999; on the logit of the score, so that scores which
    are right already are left as they are. The slope is kept above 0: the order of the rows is the model's.
    """
    odds, truth = logit(np.clip(scores.astype(float), EDGE, 1 - EDGE)), y.astype(float)

    def loss(at: NDArray[np.float64]) -> float:
        z = at[0] * odds + at[1]
        return float(np.mean(np.logaddexp(0, z) - truth * z))

    found = minimize(loss, [1.0, 0.0], method="L-BFGS-B", bounds=[(0.05, 20.0), (-20.0, 20.0)]).x
    at = np.linspace(-_FURTHEST, _FURTHEST, 2 * CORNERS + 1)
    return Calibration.through(_float32(expit(at)), _float32(expit(found[0] * at + found[1])))


def _float32(values: NDArray[np.float64]) -> Vector:
    return values.astype(np.float32)


def isotonic(y: Vector, scores: Vector) -> Calibration:
    """The rising line of least square error, through at most `CORNERS` corners, none of them too steep.

    B. Zadrozny and C. Elkan, "Transforming classifier scores into accurate multiclass probability estimates", KDD 2002.
    """
    fitted = IsotonicRegression(y_min=1e-4, y_max=1 - 1e-4).fit(scores.astype(float), y.astype(float))
    x = np.unique(np.quantile(scores, np.linspace(0, 1, CORNERS)).astype(np.float32))
    x = x[np.append(True, np.diff(x) > 1e-4)]
    return Calibration.through(x, _float32(fitted.predict(x)))


def calibrate(y: Vector, scores: Vector, newest: Vector, how: Calibrate) -> tuple[Calibration | None, str]:
    """The map to use, and its name.

    Args:
        y: the truth of rows that the model had not learned from when it scored them, shape (rows,).
        scores: what it scored.
        newest: True for the newest of them; `auto` fits on the others, and takes what has the lowest log loss here.
        how: the pipeline's wish.
    """
    fits = {"platt": platt, "isotonic": isotonic}
    if how != "auto":
        return (fits[how](y, scores), how) if how in fits else (None, "none")
    held = newest.astype(bool)
    losses = {"none": _log_loss(y[held], scores[held])}
    for name, fit in fits.items():
        losses[name] = _log_loss(y[held], fit(y[~held], scores[~held])(scores[held]))
    best = min(losses, key=lambda name: losses[name])
    return (fits[best](y, scores) if best in fits else None), best


def _log_loss(y: Vector, scores: Vector) -> float:
    p = np.clip(scores.astype(float), EDGE, 1 - EDGE)
    return float(-np.mean(np.where(y > 0.5, np.log(p), np.log(1 - p))))
