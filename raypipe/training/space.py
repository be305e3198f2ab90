"""What is searched: each algorithm's default ranges, with what the pipeline fixes or ranges otherwise."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt

import optuna

from raypipe.errors import TrainingError, did_you_mean
from raypipe.spec import Choice, Model, Parameter, Range, Search
from raypipe.spec.search import Constant, choice, integer, log, uniform
from raypipe.training.trainer import Params
from raypipe.words import amount


@dataclass(frozen=True)
class Default:
    """A parameter as it is when a pipeline says nothing: the value that is tried first, and the range."""

    first: Constant
    range: Parameter


#: Ranges wide enough for tables of a thousand to some millions of rows.
DEFAULTS: Mapping[str, Mapping[str, Default]] = {
    "lightgbm": {
        "learning_rate": Default(0.05, log(0.02, 0.2)),
        "num_leaves": Default(31, integer(8, 128, log=True)),
        "min_data_in_leaf": Default(100, integer(20, 500, log=True)),
        "feature_fraction": Default(0.7, uniform(0.4, 1.0)),
        "bagging_fraction": Default(0.8, uniform(0.5, 1.0)),
        "bagging_freq": Default(1, 1),
        "lambda_l2": Default(5.0, log(0.1, 100.0)),
        "cat_smooth": Default(50.0, log(5.0, 200.0)),
        "num_iterations": Default(400, 400),
        "early_stopping_round": Default(30, 30),
    },
    "network": {
        "hidden": Default(128, choice(64, 128, 256)),
        "layers": Default(2, integer(1, 3)),
        "dropout": Default(0.1, uniform(0.0, 0.4)),
        "learning_rate": Default(2e-3, log(5e-4, 1e-2)),
        "weight_decay": Default(1e-2, log(1e-4, 1.0)),
        "batch_size": Default(1024, choice(512, 1024, 2048)),
        "epochs": Default(10, 10),
        "patience": Default(2, 2),
        "workers": Default(1, 1),
    },
    "linear": {
        "C": Default(0.1, log(1e-4, 10.0)),
        "max_iter": Default(200, 200),
    },
}


@dataclass(frozen=True)
class Space:
    """The parameters of each algorithm of a search."""

    algorithms: Mapping[str, Mapping[str, Default]]

    @classmethod
    def of(cls, search: Search) -> "Space":
        """The default ranges, with a pipeline's own values and ranges in their place.

        Raises:
            TrainingError: an algorithm has no such parameter, or a range holds nothing.
        """
        if not search.models:
            raise TrainingError("the search has no models", where=search.where, cure="Add one")
        if search.trials < len(search.models):
            what = f"{amount(search.trials, 'trial')} cannot try {amount(len(search.models), 'model')}"
            raise TrainingError(what, where=search.where, cure="Give at least one trial a model")
        merged: dict[str, Mapping[str, Default]] = {}
        for model in search.models:
            if model.algorithm in merged:
                cure = "Name it once, with ranges that hold all you want to try"
                raise TrainingError(f"`{model.algorithm}` is in the search twice", where=model.where, cure=cure)
            merged[model.algorithm] = _merged(model)
        return cls(merged)

    def first(self) -> list[Params]:
        """Each algorithm's defaults: the points that are tried before any other."""
        points: list[Params] = []
        for name, params in self.algorithms.items():
            tried_first = {f"{name}.{key}": p.first for key, p in params.items() if isinstance(p.range, Range | Choice)}
            points.append({"algorithm": name, **tried_first})
        return points

    def point(self, algorithm: str, params: Params) -> Params | None:
        """A point to try again, from the parameters of an earlier trial; None when this space does not hold it."""
        found: Params = {"algorithm": algorithm}
        for name, default in self.algorithms.get(algorithm, {}).items():
            if not isinstance(default.range, Range | Choice):
                continue
            value = params.get(name)
            if value is None or not _holds(default.range, value):
                return None
            found[f"{algorithm}.{name}"] = value
        return found if len(found) > 1 else None

    def draw(self, trial: optuna.Trial) -> dict[str, object]:
        """One point: the algorithm first, then the parameters that it has."""
        algorithm = trial.suggest_categorical("algorithm", list(self.algorithms))
        params = self.algorithms[str(algorithm)]
        drawn = {key: _draw(trial, f"{algorithm}.{key}", default.range) for key, default in params.items()}
        return {"algorithm": algorithm, "params": drawn}


def _holds(given: Range | Choice, value: Constant) -> bool:
    if isinstance(given, Choice):
        return value in given.options
    return isinstance(value, int | float) and given.low <= value <= given.high


def _merged(model: Model) -> dict[str, Default]:
    if ":" in model.algorithm:
        return {name: Default(_first(model.algorithm, name, value), value) for name, value in model.params.items()}
    if model.algorithm not in DEFAULTS:
        cure = did_you_mean(model.algorithm, DEFAULTS)
        raise TrainingError(f"unknown algorithm `{model.algorithm}`", where=model.where, cure=cure)
    known = _known(model.algorithm)
    own: dict[str, Default] = {}
    for name, value in model.params.items():
        if name not in known:
            what = f"{model.algorithm} takes no parameter `{name}`"
            raise TrainingError(what, where=model.where, cure=did_you_mean(name, known))
        main = known[name]
        if main in own:
            raise TrainingError(f"{model.algorithm}: `{main}` is given twice, by two names", where=model.where)
        own[main] = Default(_first(model.algorithm, main, value), value)
    return {**DEFAULTS[model.algorithm], **own}


def _known(algorithm: str) -> Mapping[str, str]:
    """Every name of an algorithm's parameters with its main name: those in `DEFAULTS`; of LightGBM all that it has."""
    if algorithm == "lightgbm":
        from raypipe.training.trainers.lightgbm import PARAMETERS

        return PARAMETERS
    return {name: name for name in DEFAULTS[algorithm]}


def _first(algorithm: str, name: str, given: Parameter) -> Constant:
    """The value to try first: the default when the given range holds it, else the range's middle."""
    default = DEFAULTS.get(algorithm, {}).get(name)
    if isinstance(given, Choice):
        return default.first if default is not None and default.first in given.options else given.options[0]
    if not isinstance(given, Range):
        return given
    if default is not None and isinstance(default.first, int | float) and given.low <= default.first <= given.high:
        return default.first
    middle = sqrt(given.low * given.high) if given.log else (given.low + given.high) / 2
    return round(middle) if given.whole else middle


def _draw(trial: optuna.Trial, name: str, parameter: Parameter) -> Constant:
    if isinstance(parameter, Choice):
        chosen = trial.suggest_categorical(name, list(parameter.options))
        assert chosen is not None  # noqa: S101  # Optuna could offer None; a Choice cannot
        return chosen
    if not isinstance(parameter, Range):
        return parameter
    if parameter.whole:
        return trial.suggest_int(name, int(parameter.low), int(parameter.high), log=parameter.log)
    return trial.suggest_float(name, parameter.low, parameter.high, log=parameter.log)
