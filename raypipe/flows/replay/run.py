"""From a workspace and a pipeline to a replay: what history needs is there already, or is made."""

import shutil
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import polars as pl

from raypipe.clock import ManualClock
from raypipe.contracts import bundle
from raypipe.contracts.progress import Progress
from raypipe.contracts.records import Snapshot
from raypipe.flows.platform import Platform
from raypipe.flows.replay.past import Past, past
from raypipe.flows.replay.replay import Replayed, replay
from raypipe.flows.replay.service import HELD_OUT
from raypipe.ledger import Ledger
from raypipe.spec import Pipeline
from raypipe.spec.retrain import Retrain
from raypipe.training.recipe import Recipe, settle


def replay_pipeline(
    platform: Platform,
    pipeline: Pipeline,
    snapshots: tuple[Snapshot, ...],
    policies: Sequence[Retrain],
    start: int,
    end: int,
    progress: Progress,
) -> tuple[list[Replayed], Recipe, Path]:
    """Replay policies over the history of a workspace.

    Returns:
        What became of each; the recipe that every model was made by; and the folder that holds the replay's own ledger.

    Raises:
        SettingsError: the dates leave nothing to learn from, or nothing to predict.
        TrainingError: a model cannot be fitted.
    """
    by_name = {snapshot.table: snapshot for snapshot in snapshots}
    folder = platform.workspace / "training_sets"
    history = past(pipeline, by_name, platform.lake.frame, folder, end, progress)
    recipe = _recipe(platform, pipeline, history, start, progress)
    name = sha256(f"{history.digest}|{start}|{end}|{policies!r}".encode()).hexdigest()[:12]
    kept = platform.workspace / "replays" / f"{pipeline.name}-{name}"
    # Decisions of a replay are not decisions of production: they have a ledger of their own, made anew each time.
    shutil.rmtree(kept, ignore_errors=True)
    clock = ManualClock(start)
    ledger = Ledger.in_folder(kept, clock)
    try:
        return replay(pipeline, history, recipe, policies, start, end, ledger, clock, progress), recipe, kept
    finally:
        ledger.close()


def _recipe(platform: Platform, pipeline: Pipeline, history: Past, start: int, progress: Progress) -> Recipe:
    """That of the champion; without one, the first algorithm of the search, settled on what was known at the start."""
    champion = platform.registry.champion(pipeline.name)
    if champion is not None:
        card = bundle.card(Path(champion.folder))
        return Recipe(card.algorithm, dict(card.params))
    with progress.step("settle a recipe", 1) as step:
        known, older = history.before(start), history.before(start - 2 * HELD_OUT)
        recipe = settle(pipeline, _labelled(history, 0, older), _labelled(history, older, known))
        step.advance(1, recipe.algorithm)
    return recipe


def _labelled(history: Past, first: int, last: int) -> pl.DataFrame:
    return history.frame[first:last]
