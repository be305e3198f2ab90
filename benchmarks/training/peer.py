"""The same trials without raypipe: Optuna and LightGBM by hand, two processes side by side on one study.

`python -m benchmarks.training.peer FOLDER POINTS` reads the training set as raypipe wrote it, fits each point of a JSON
list of parameters on train, stops early on tune, and prints the best AUC. The trials are given, so that both sides fit
the same models; Optuna is told of each result, as a search by hand would.
"""

import json
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from time import perf_counter

import lightgbm
import numpy as np
import optuna
import polars as pl
from sklearn.metrics import roc_auc_score

CORES = 2


Data = tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray], list[int]]
#: What a worker process holds between its trials.
HELD: list[Data] = []


def matrices(folder: Path, features: list[str]) -> Data:
    train, tune = (pl.read_parquet(folder / f"{name}.parquet") for name in ("train", "tune"))
    texts = [name for name in features if train[name].dtype == pl.String]
    codes = {name: {v: i for i, v in enumerate(train[name].drop_nulls().unique().sort())} for name in texts}

    def encode(frame: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        columns = [
            frame[name].replace_strict(codes[name], default=None, return_dtype=pl.Float32)
            if name in codes
            else frame[name].cast(pl.Float32)
            for name in features
        ]
        return pl.DataFrame(columns).to_numpy().astype(np.float32), frame["label"].cast(pl.Float32).to_numpy()

    return encode(train), encode(tune), [features.index(name) for name in texts]


def prepare(folder: Path, features: list[str]) -> None:
    HELD.append(matrices(folder, features))


def fit(given: dict[str, float]) -> float:
    (x, y), (x2, y2), categories = HELD[0]
    params = dict(given)
    rounds, patience = int(params.pop("num_iterations")), int(params.pop("early_stopping_round"))
    fixed = {"objective": "binary", "metric": "auc", "num_threads": 1, "deterministic": True, "force_row_wise": True}
    own = params | fixed | {"verbosity": -1, "seed": 0}
    train = lightgbm.Dataset(x, y, categorical_feature=categories, params=own)
    valid = train.create_valid(x2, y2)
    stop = lightgbm.early_stopping(patience, verbose=False)
    booster = lightgbm.train(own, train, rounds, valid_sets=[valid], callbacks=[stop])
    return float(roc_auc_score(y2, np.asarray(booster.predict(x2, num_threads=1))))


def main() -> None:
    folder, points = Path(sys.argv[1]), json.loads(sys.argv[2])
    features = json.loads((folder / "training_set.json").read_text())["features"]
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    began = perf_counter()
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=0))
    with ProcessPoolExecutor(CORES, initializer=prepare, initargs=(folder, features)) as pool:
        for value in pool.map(fit, points):
            study.tell(study.ask(), value)
    print(json.dumps({"seconds": perf_counter() - began, "best": study.best_value}))


if __name__ == "__main__":
    main()
