"""Answers as tensors of the Open Inference Protocol, by what the model predicts.

=============================== =====================================================================
task                            outputs
=============================== =====================================================================
binary                          ``probability`` FP64 [rows], ``label`` BOOL [rows]
multiclass                      ``label`` BYTES [rows], ``probability`` FP64 [rows],
                                ``probabilities`` FP64 [rows, classes]
regression, quantile, count     ``value`` FP64 [rows]
=============================== =====================================================================

They are what `/predict` says, under the same names. In which order the classes stand, the parameter ``classes`` of
``probabilities`` tells.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import TypeAlias, cast

import msgspec
import numpy as np

from raypipe.contracts.target import Target
from raypipe.errors import RequestError
from raypipe.serving.engine import Prediction
from raypipe.serving.tensors import BYTES, RAW, raw_texts

Values: TypeAlias = list[float] | list[bool] | list[str]
_BINARY = {"probability": "FP64", "label": "BOOL"}
_CLASSES = {"label": BYTES, "probability": "FP64", "probabilities": "FP64"}
_NUMBER = {"value": "FP64"}


class Outputs:
    """The outputs of one kind of model.

    Args:
        target: what it predicts.

    Attributes:
        kinds: their datatypes by name.

    >>> outputs = Outputs(Target(task="multiclass", classes=("late", "on time")))
    >>> outputs.shape("probabilities", 3), outputs.parameters("probabilities")
    ([3, 2], {'classes': '["late","on time"]'})
    """

    def __init__(self, target: Target) -> None:
        self._classes = target.classes
        self.kinds = _NUMBER if target.numeric else _CLASSES if target.classes else _BINARY

    @property
    def metadata(self) -> list[dict[str, object]]:
        """What the model's metadata says of them; -1 is any number of rows."""
        return [{"name": n, "datatype": kind, "shape": self.shape(n, -1)} for n, kind in self.kinds.items()]

    def shape(self, name: str, rows: int) -> list[int]:
        """The shape of one for so many rows."""
        return [rows, len(self._classes)] if name == "probabilities" else [rows]

    def parameters(self, name: str) -> dict[str, str]:
        """What is told beside one: the names of the columns as a list in JSON, where it has columns."""
        return {"classes": msgspec.json.encode(self._classes).decode()} if name == "probabilities" else {}

    def asked(self, names: Sequence[str]) -> list[str]:
        """Which outputs are meant: those that are named, else all.

        Raises:
            RequestError: one is none, or stands twice; status 400.
        """
        for place, name in enumerate(names):
            if name not in self.kinds:
                cure, where = f"There are {', '.join(self.kinds)}", f"outputs[{place}].name"
                raise RequestError("is not an output of this model", where=where, cure=cure, status=400)
            if name in names[:place]:
                raise RequestError("stands twice", where=f"outputs.{name}", status=400)
        return list(names) or list(self.kinds)

    def values(self, name: str, predictions: Sequence[Prediction]) -> Values:
        """The elements of one, row by row; those that answer beside the champion predict the same kind of thing."""
        if name == "label":
            return cast("Values", [one.label for one in predictions])
        if name != "probabilities":
            return [one.score for one in predictions]
        told = [cast("dict[str, float]", one.told[name]) for one in predictions]
        # A class that the version which answered has never heard of is not what it expects.
        return [one.get(label, 0.0) for one in told for label in self._classes]

    def raw(self, name: str, predictions: Sequence[Prediction]) -> bytes:
        """The same as raw contents."""
        values, kind = self.values(name, predictions), self.kinds[name]
        return raw_texts(cast("list[str]", values)) if kind == BYTES else np.array(values, dtype=RAW[kind]).tobytes()


@lru_cache(maxsize=64)
def outputs_of(target: Target) -> Outputs:
    """The outputs of a model that predicts this."""
    return Outputs(target)
