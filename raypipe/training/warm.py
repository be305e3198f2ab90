"""What earlier searches found is tried first: last week's best parameters are a good guess for this week's."""

import os
from pathlib import Path

import msgspec

from raypipe.spec import Pipeline, fingerprint
from raypipe.training.outcome import best_of
from raypipe.training.space import Space
from raypipe.training.trainer import Params

_FILE = "warm.json"


class Warm(msgspec.Struct, frozen=True):
    """What a search is about, and the points that it took over from earlier ones."""

    about: str
    points: list[Params]


def warm_points(pipeline: Pipeline, space: Space, folder: Path) -> list[Params]:
    """The best point of each algorithm in earlier searches about the same thing, where this space holds it.

    What was found when a search began stands for all its life: one that was killed asks the same again.

    Args:
        pipeline: its label, features and metric say what a search is about; the data may be of another week.
        space: what is searched now.
        folder: of this search, beside those of the others.
    """
    about = fingerprint((pipeline.label, pipeline.feature_names, pipeline.search.metric))
    file = folder / _FILE
    if file.is_file():
        return msgspec.json.decode(file.read_bytes(), type=Warm).points
    points = _found(about, space, folder) if pipeline.search.warm_start else []
    half = file.with_suffix(f".{os.getpid()}")
    half.write_bytes(msgspec.json.encode(Warm(about, points)))
    half.replace(file)
    return points


def _found(about: str, space: Space, folder: Path) -> list[Params]:
    # The newest first: of two searches the later one saw the later world.
    others = sorted(folder.parent.glob(f"*/{_FILE}"), key=lambda file: -file.stat().st_mtime_ns)
    points: dict[str, Params] = {}
    for file in others:
        if msgspec.json.decode(file.read_bytes(), type=Warm).about != about:
            continue
        for algorithm, outcome in best_of(file.parent).items():
            point = space.point(algorithm, outcome.trial.params)
            if point is not None:
                points.setdefault(algorithm, point)
    return list(points.values())
