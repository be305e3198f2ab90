"""Models made of models: a mean of several, or one for each value of a feature. Each is a trainer like any other.

Their parameters are those of their parts, numbered: ``0.algorithm``, ``0.learning_rate``, ``1.algorithm`` … So what
fits, records, registers and makes again one model does the same for these.
"""

import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from raypipe.contracts.bundle import MODEL
from raypipe.contracts.signature import Signature
from raypipe.errors import TrainingError
from raypipe.spec.search import Constant
from raypipe.training.trainer import Matrix, Params, Scores, Task, Trainer, unreported, untold
from raypipe.training.trainers import graphs, trainer

#: A segment with fewer rows, or with one label only, learns nothing of its own.
FEWEST = 50


def pack(parts: Iterable[Mapping[str, Constant]]) -> Params:
    """Parameters of several models as those of one.

    >>> pack([{"algorithm": "linear", "C": 0.1}])
    {'0.algorithm': 'linear', '0.C': 0.1}
    """
    return {f"{number}.{name}": value for number, part in enumerate(parts) for name, value in part.items()}


def unpack(params: Mapping[str, Constant]) -> list[Params]:
    """The parameters of each part.

    >>> unpack({"by": "origin", "0.algorithm": "linear", "0.C": 0.1, "1.algorithm": "linear"})
    [{'algorithm': 'linear', 'C': 0.1}, {'algorithm': 'linear'}]
    """
    found: dict[int, Params] = {}
    for name, value in params.items():
        number, dot, own = name.partition(".")
        if dot and number.isdigit():
            found.setdefault(int(number), {})[own] = value
    return [found[number] for number in sorted(found)]


@dataclass(frozen=True)
class Part:
    """One of the models: what it is, its trainer, and what early stopping settled."""

    about: Params
    trainer: Trainer
    settled: Params


def _fit(params: Params, own: tuple[str, ...], task: Task) -> Part:
    """Fit one part; ``own`` are the parameters that are not its algorithm's."""
    model = trainer(str(params["algorithm"]))
    learned = {name: value for name, value in params.items() if name not in ("algorithm", *own)}
    return Part(params, model, model.fit(replace(task, report=unreported, scored=untold), learned))


def _settled(parts: Iterable[Part]) -> Params:
    return pack(part.settled for part in parts)


def _save(parts: Iterable[Part], folder: Path) -> list[onnx.ModelProto]:
    """Write each part's own format under its number, and give its ONNX model."""
    models = []
    for number, part in enumerate(parts):
        with tempfile.TemporaryDirectory() as made:
            part.trainer.save(Path(made))
            models.append(onnx.load(Path(made) / MODEL))
            for file in sorted(Path(made).iterdir()):
                if file.name != MODEL:
                    shutil.copyfile(file, folder / f"part{number}_{file.name}")
    return models


class Ensemble:
    """The mean of several models' scores; ``share`` says how much each counts."""

    def fit(self, task: Task, params: Params) -> Params:
        """Fit each part on all rows."""
        self._target = task.target
        self._parts = [_fit(part, ("share",), task) for part in unpack(params)]
        self._shares = [float(part.about["share"]) for part in self._parts]
        return _settled(self._parts)

    def predict(self, x: Matrix) -> Scores:
        """The mean of what the parts say."""
        weighed = (np.float32(s) * p.trainer.predict(x) for s, p in zip(self._shares, self._parts, strict=True))
        return np.asarray(sum(weighed), dtype=np.float32)

    def save(self, folder: Path) -> None:
        """Write the parts' own formats, and one ``model.onnx``."""
        onnx.save(graphs.mean(_save(self._parts, folder), self._shares, self._target), folder / MODEL)


class Segments:
    """One model for each of some ``value`` of the feature ``by``, and the first for all other rows."""

    def fit(self, task: Task, params: Params) -> Params:
        """Fit the first part on all rows, each other on the rows with its value."""
        first, *others = unpack(params)
        self._target, self._column = task.target, column_of(task.signature, str(params["by"]))
        self._parts, self._codes = [_fit(first, (), task)], []
        settled = [self._parts[0].settled]
        for part in others:
            code = code_of(task.signature, self._column, str(part["value"]))
            own = only(task, self._column, code)
            settled.append({})
            # As in the older part of the rows, which forecasts are made from: the first part answers then.
            if enough(own):
                self._parts.append(_fit(part, ("value",), own))
                self._codes.append(code)
                settled[-1] = self._parts[-1].settled
        return pack(settled)

    def predict(self, x: Matrix) -> Scores:
        """What the model of each row says."""
        scores = self._parts[0].trainer.predict(x)
        for code, part in zip(self._codes, self._parts[1:], strict=True):
            own = x[:, self._column] == code
            if own.any():
                scores[own] = part.trainer.predict(np.ascontiguousarray(x[own]))
        return scores

    def save(self, folder: Path) -> None:
        """Write the parts' own formats, and one ``model.onnx`` that hands each row to its part."""
        models = _save(self._parts, folder)
        routed = graphs.route(models, self._column, self._codes, self._target) if self._codes else models[0]
        onnx.save(routed, folder / MODEL)


def column_of(signature: Signature, by: str) -> int:
    """The place of a feature that has categories.

    Raises:
        TrainingError: there is no such feature, or it has none.
    """
    names = [column.name for column in signature.columns]
    if by not in names or signature.columns[names.index(by)].vocabulary is None:
        what = f"there can be no model for each value of `{by}`: it is no text among the features"
        raise TrainingError(what, where="search", cure="Give `by` a feature of categories, cast to text if need be")
    return names.index(by)


def code_of(signature: Signature, column: int, value: str) -> int:
    """How a category is written in the matrix; -1, which no row has, when training never saw it."""
    known = signature.columns[column].vocabulary or ()
    return known.index(value) + 1 if value in known else -1


def only(task: Task, column: int, code: int) -> Task:
    """The same task about the rows of one category."""

    def own(x: Matrix) -> NDArray[np.bool_]:
        return np.asarray(x[:, column] == code)

    tune = None if task.tune is None else task.tune.where(own(task.tune.x))
    return replace(task, train=task.train.where(own(task.train.x)), tune=tune)


def enough(task: Task) -> bool:
    """Whether there is something to learn from these rows, and to stop on."""
    parts = (task.train,) if task.tune is None else (task.train, task.tune)
    return all(len(rows.y) >= FEWEST and len(np.unique(rows.y)) > 1 for rows in parts)
