"""What came of one trial, kept on disk: a search that was killed asks the same again and finds the answer."""

import os
from hashlib import sha256
from pathlib import Path

import msgspec
import numpy as np

from raypipe.contracts.records import Record, Trial
from raypipe.training.trainer import Params, Scores

FINISHED, STOPPED, FAILED = "finished", "stopped", "failed"
#: It finished, but is about one segment only, so nothing but another model of that segment can be held against it.
PART = "part"
_FILE, _SCORES = "outcome.json", "scores.npy"


class Outcome(Record, frozen=True, kw_only=True):
    """A trial with what the search needs to go on.

    ``goodness`` is the searched metric turned so that more is better, None when there is none; ``curve`` the same
    by step. ``folder`` is the name of the one that it is kept in.
    """

    trial: Trial
    goodness: float | None
    curve: tuple[tuple[int, float], ...] = ()
    folder: str = ""


def trial_folder(search: Path, algorithm: str, params: Params) -> Path:
    """Where a trial's files are: the same question, the same folder."""
    text = msgspec.json.encode(params, order="sorted")
    return search / "trials" / f"{algorithm.replace(':', '.')}-{sha256(text).hexdigest()[:16]}"


def keep(folder: Path, outcome: Outcome) -> None:
    """Write an outcome, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    half = folder / f"{_FILE}.{os.getpid()}"
    half.write_text(outcome.to_json(), encoding="utf-8")
    half.replace(folder / _FILE)


def keep_scores(folder: Path, scores: Scores) -> None:
    """Write what a trial said of the tuning period's rows, in their order."""
    folder.mkdir(parents=True, exist_ok=True)
    half = folder / f"{os.getpid()}.npy"
    np.save(half, scores)
    half.replace(folder / _SCORES)


def kept_scores(search: Path, outcome: Outcome) -> Scores:
    """What a trial said of the tuning period."""
    scores: Scores = np.load(search / "trials" / outcome.folder / _SCORES, allow_pickle=False)
    return scores


def kept_count(search: Path) -> int:
    """How many trials of a search have an outcome that is not looked for again."""
    return sum(kept(file.parent) is not None for file in search.glob(f"trials/*/{_FILE}"))


def best_of(search: Path) -> dict[str, Outcome]:
    """The best finished trial of each algorithm that a search has kept."""
    best: dict[str, Outcome] = {}
    for file in sorted(search.glob(f"trials/*/{_FILE}")):
        outcome = kept(file.parent)
        if outcome is None or outcome.goodness is None or outcome.trial.status != FINISHED:
            continue
        before = best.get(outcome.trial.algorithm)
        if before is None or outcome.goodness > (before.goodness or 0.0):
            best[outcome.trial.algorithm] = outcome
    return best


def kept(folder: Path) -> Outcome | None:
    """The outcome that was kept, unless the trial failed: then it gets another try."""
    if not (folder / _FILE).is_file():
        return None
    outcome = Outcome.from_json((folder / _FILE).read_bytes())
    return None if outcome.trial.status == FAILED else outcome
