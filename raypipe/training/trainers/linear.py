"""Linear models on scaled numbers and one-hot categories: logistic, ridge or Poisson regression, as the task asks."""

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import onnx
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, PoissonRegressor, Ridge
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from raypipe.contracts.bundle import MODEL
from raypipe.contracts.signature import Signature
from raypipe.errors import TrainingError
from raypipe.training.onnx_model import OPSET, with_score
from raypipe.training.trainer import Matrix, Params, Scores, Task

NATIVE = "model.skops"
#: What skops has to be told to accept when it reads such a file, beside what it knows itself; runs no code.
TRUSTED = ("numpy.dtype",)


class Linear:
    """A scikit-learn pipeline; parameters ``C`` (inverse strength of the L2 penalty) and ``max_iter``."""

    def fit(self, task: Task, params: Params) -> Params:
        """Solve; there is nothing to stop early."""
        columns = len(task.signature.columns)
        strength, most = float(params["C"]), int(params["max_iter"])
        regression: LogisticRegression | Ridge | PoissonRegressor = LogisticRegression(C=strength, max_iter=most)
        if task.target.task == "regression":
            regression = Ridge(alpha=1 / strength)
        elif task.target.task == "count":
            # Its penalty is for the mean loss, the others' for the sum.
            regression = PoissonRegressor(alpha=1 / (strength * len(task.train.y)), max_iter=most)
        elif task.target.task == "quantile":
            raise TrainingError("the linear model has no quantiles", where="linear", cure="Leave it out of the search")
        self._columns, self._target = columns, task.target
        self._model = Pipeline([("prepare", _prepare(task.signature)), ("regression", regression)])
        self._model.fit(task.train.x, task.train.y, regression__sample_weight=task.train.w)
        if isinstance(regression, PoissonRegressor):
            self._model.steps[1] = ("regression", _straight(regression))
        return {}

    def predict(self, x: Matrix) -> Scores:
        """The scores by scikit-learn itself."""
        if self._target.numeric:
            numbers = self._model.predict(x)
            return np.asarray(np.exp(numbers) if self._target.task == "count" else numbers, dtype=np.float32)
        scores = np.asarray(self._model.predict_proba(x), dtype=np.float32)
        return scores if self._target.classes else scores[:, 1]

    def save(self, folder: Path) -> None:
        """Write ``model.skops``, a format of scikit-learn models that runs no code of its own, and ``model.onnx``."""
        # Not at the top: both bring torch or tables of converters along, which takes seconds.
        import skops.io
        from skl2onnx import to_onnx
        from skl2onnx.common.data_types import FloatTensorType

        (folder / NATIVE).write_bytes(without_addresses(skops.io.dumps(self._model)))
        inputs = [("x", FloatTensorType([None, self._columns]))]
        options = None if self._target.numeric else {"zipmap": False}
        converted = to_onnx(self._model, initial_types=inputs, options=options, target_opset=OPSET)
        output = "variable" if self._target.numeric else "probabilities"
        onnx.save(with_score(converted, output, self._target), folder / MODEL)


def _straight(fitted: PoissonRegressor) -> Ridge:
    """The same coefficients as a model of the logarithm; scikit-learn's own holds objects that skops cannot write."""
    straight = Ridge()
    straight.coef_, straight.intercept_ = fitted.coef_, fitted.intercept_
    straight.n_features_in_ = fitted.n_features_in_
    return straight


def _prepare(signature: Signature) -> ColumnTransformer:
    categories = signature.categories
    numbers = [column for column in range(len(signature.columns)) if column not in categories]
    codes = [np.arange(count, dtype=np.float32) for count in categories.values()]
    scaled = Pipeline([("fill", SimpleImputer(strategy="median")), ("scale", StandardScaler())])
    one_hot = OneHotEncoder(categories=codes, handle_unknown="ignore")
    parts = [("numbers", scaled, numbers), ("categories", one_hot, list(categories))]
    return ColumnTransformer([part for part in parts if part[2]])


def without_addresses(archive: bytes) -> bytes:
    """A skops archive in which objects are numbered as they come: skops numbers them by their place in memory."""
    numbers: dict[str, int] = {}
    with zipfile.ZipFile(io.BytesIO(archive)) as old:
        schema = _renumber(json.loads(old.read("schema.json")), numbers)
        arrays = {_file(name, numbers): old.read(name) for name in old.namelist() if name != "schema.json"}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as new:
        for name, content in {**dict(sorted(arrays.items())), "schema.json": json.dumps(schema).encode()}.items():
            new.writestr(zipfile.ZipInfo(name), content)
    return out.getvalue()


def _renumber(node: object, numbers: dict[str, int]) -> object:
    if isinstance(node, list):
        return [_renumber(item, numbers) for item in node]
    if not isinstance(node, dict):
        return node
    renumbered = {key: _renumber(value, numbers) for key, value in node.items()}
    if "__id__" in node:
        renumbered["__id__"] = numbers.setdefault(str(node["__id__"]), len(numbers))
    if "file" in node:
        renumbered["file"] = _file(node["file"], numbers)
    return renumbered


def _file(name: str, numbers: dict[str, int]) -> str:
    address, _, kind = name.partition(".")
    return f"{numbers.setdefault(address, len(numbers))}.{kind}"
