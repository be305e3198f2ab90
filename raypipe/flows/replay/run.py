"""From a workspace and a pipeline to a replay: what history needs is there already, or is made."""

import shutil
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path

import polars as pl

from raypipe.clock import ManualClock
from raypipe.contracts import bundle
from raypipe.contracts.progress import Progress
from raypipe.contracts.records import Record, Snapshot
from raypipe.flows.platform import Platform
from raypipe.flows.replay.beside import beside
from raypipe.flows.replay.past import Past, past
from raypipe.flows.replay.replay import Replayed, replay
from raypipe.flows.replay.service import DAY, HELD_OUT, MATERIAL
from raypipe.ledger import Ledger
from raypipe.spec import Pipeline
from raypipe.spec.retrain import Retrain
from raypipe.training.recipe import Recipe, settle
from raypipe.words import amount

_HOUR = DAY // 24


class Outcome(Record, frozen=True, kw_only=True):
    """What came of a replay.

    Attributes:
        results: of each policy.
        recipe: what every model was made by.
        folder: holds the replay's own ledger.
        notes: how the replay differs from production, a sentence or two each.
    """

    results: tuple[Replayed, ...]
    recipe: Recipe
    folder: Path
    notes: tuple[str, ...]


def replay_pipeline(
    platform: Platform,
    pipeline: Pipeline,
    snapshots: tuple[Snapshot, ...],
    policies: Sequence[Retrain],
    start: int,
    end: int,
    progress: Progress,
    *,
    daily: bool | None = None,
    tick: int = DAY,
) -> Outcome:
    """Replay policies over the history of a workspace, beside no retraining and one a day.

    Args:
        platform: has the history and perhaps a champion.
        pipeline: what is asked.
        snapshots: of the tables that history is in.
        policies: those that are compared.
        start: the first day, microseconds UTC.
        end: when it is over.
        progress: is told of each tick.
        daily: whether one retraining a day is beside them; None: if that takes little time.
        tick: microseconds between two looks.

    Raises:
        SettingsError: the dates leave nothing to learn from, or nothing to predict.
        TrainingError: a model cannot be fitted.
    """
    by_name = {snapshot.table: snapshot for snapshot in snapshots}
    folder = platform.workspace / "training_sets"
    history = past(pipeline, by_name, platform.lake.frame, folder, end, progress)
    recipe = _recipe(platform, pipeline, history, start, progress)
    chosen, left_out = beside(policies, history, start, end, daily)
    name = sha256(f"{history.digest}|{start}|{end}|{tick}|{chosen!r}".encode()).hexdigest()[:12]
    kept = platform.workspace / "replays" / f"{pipeline.name}-{name}"
    # Decisions of a replay are not decisions of production: they have a ledger of their own, made anew each time.
    shutil.rmtree(kept, ignore_errors=True)
    clock = ManualClock(start)
    ledger = Ledger.in_folder(kept, clock)
    try:
        results = replay(pipeline, history, recipe, chosen, start, end, ledger, clock, progress, tick)
    finally:
        ledger.close()
    notes = (*_differences(results, tick), *filter(None, (left_out,)))
    return Outcome(results=tuple(results), recipe=recipe, folder=kept, notes=notes)


def _differences(results: Sequence[Replayed], tick: int) -> Iterator[str]:
    """Where a replay is not what production will be."""
    yield (
        f"Looked at every {amount(tick // _HOUR, 'hour')}, for moves of at least {MATERIAL}; production looks every "
        "`tick_seconds`, for moves of 0.03."
    )
    yield "A challenger that wins takes over at once: shadows, shares of the traffic and rollbacks are not replayed."
    for result in results:
        if result.approved:
            trainings = amount(result.approved, "training")
            yield f"{result.policy}: {trainings} would have waited for a person; here approval is given at once."


def _recipe(platform: Platform, pipeline: Pipeline, history: Past, start: int, progress: Progress) -> Recipe:
    """That of the champion; without one, the first algorithm of the search, settled on what was known at the start."""
    champion = platform.registry.champion(pipeline.name)
    if champion is not None:
        card = bundle.card(Path(champion.folder))
        return Recipe(card.algorithm, dict(card.params))
    with progress.step("settle a recipe", 1) as step:
        known, older = history.before(start), history.before(start - 2 * HELD_OUT)
        lessons = _labelled(history, 0, older), _labelled(history, older, known)
        recipe = settle(pipeline, *lessons, history.target)
        step.advance(1, recipe.algorithm)
    return recipe


def _labelled(history: Past, first: int, last: int) -> pl.DataFrame:
    return history.frame[first:last]
