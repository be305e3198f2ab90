"""Make a model version again from its record alone, and compare the two."""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl

from raypipe import features, training
from raypipe.contracts import bundle
from raypipe.contracts.progress import Progress
from raypipe.contracts.records import Lineage, ModelVersion, Snapshot, TrainingSet
from raypipe.contracts.reproduction import Compared, Reproduction
from raypipe.errors import RegistryError, SourceError
from raypipe.flows.model_gates import sift
from raypipe.flows.platform import Platform
from raypipe.registry import code_state, installed, machine
from raypipe.spec import Pipeline, fingerprint

#: Endings of files of models in their own formats: LightGBM's, scikit-learn's and those of networks.
NATIVE = (".txt", ".skops", ".safetensors")
DATA, SET = "data", "training set"


def reproduce(platform: Platform, version: ModelVersion, here: Path, progress: Progress) -> Reproduction:
    """Rebuild the training set from the lake, fit the model again, and compare everything that has a digest or a score.

    Nothing is read but the version's files, its lineage, and the snapshots that it names. Nothing is kept.

    Args:
        platform: of the workspace.
        version: what to make again.
        here: where the pipeline's code is now; its commit is compared.
        progress: is told of the features and of the fit.

    Raises:
        RegistryError: the version's own files are damaged.
        TrainingError: the model cannot be fitted.
    """
    bundle.verify(Path(version.folder), version.digest)
    with TemporaryDirectory(dir=platform.workspace, prefix="reproduce-") as folder:
        results = []
        for result in _results(platform, version, Path(folder), progress):
            results.append(result)
            # A model of other rows is another model: there is nothing more to learn from fitting it.
            if not result.same and result.what in (DATA, "definition", SET):
                break
    around = surroundings(version.lineage, here)
    first = next((result for result in results if not result.same), None)
    return Reproduction(
        version=f"{version.name}/{version.version}",
        results=tuple(results),
        surroundings=around,
        because="" if first is None else because(first, around),
    )


def _results(platform: Platform, version: ModelVersion, folder: Path, progress: Progress) -> Iterator[Compared]:
    kept, lineage = Path(version.folder), version.lineage
    try:
        pipeline = bundle.pipeline(kept)
    except RegistryError as error:
        # Its bytes are those that were registered, so it is we who read it otherwise.
        yield Compared(what="definition", same=False, recorded=lineage.pipeline_definition, found=error.what)
        return
    card = bundle.card(kept)
    yield _compared("definition", lineage.pipeline_definition, fingerprint(pipeline))
    snapshots = _snapshots(pipeline, lineage)
    yield _found(platform, snapshots)
    lake, kept_in = platform.lake, folder / "training_sets"
    training_set = features.build_training_set(
        pipeline, snapshots, lake.frame, kept_in, lineage.as_of, progress, scan=lake.dataset, laid=lake.portions
    )
    training_set = sift(lake, pipeline, training_set)[1]
    yield _compared(SET, lineage.training_set, training_set.digest)
    made = folder / "bundle"
    with progress.step("fit again", 1) as step:
        _fit(pipeline, training_set, card, made)
        step.advance(1, card.algorithm)
    native = [file.name for file in sorted(kept.iterdir()) if file.suffix in NATIVE]
    for name in (*native, bundle.MODEL):
        yield _compared(name, _digest(kept / name), _digest(made / name))
    yield _golden(bundle.golden(kept), bundle.golden(made))
    again = bundle.card(made).metrics
    for name in card.metrics:
        if not name.startswith("tune_"):
            yield _compared(f"holdout {name}", repr(card.metrics[name]), repr(again[name]))
    if (kept / bundle.EVALUATION).exists():
        # Threshold, calibration, reference bins, segments, importances: everything else that was made.
        yield _compared("bundle", version.digest, bundle.verify(made).digest)


def _snapshots(pipeline: Pipeline, lineage: Lineage) -> dict[str, Snapshot]:
    return {
        source.name: Snapshot(
            table=source.name,
            snapshot_id=lineage.snapshots[source.name],
            definition=fingerprint(source),
            rows=0,
            added=0,
            repeated=0,
            files=(),
        )
        for source in pipeline.sources
    }


def _found(platform: Platform, snapshots: dict[str, Snapshot]) -> Compared:
    """Whether the lake has every snapshot still."""
    names = ", ".join(f"{s.table}@{s.snapshot_id}" for s in snapshots.values())
    for snapshot in snapshots.values():
        try:
            # Of each file the end is read: that it is there, and whole.
            platform.lake.frame(snapshot).select(pl.len()).collect()
        except SourceError as error:
            return Compared(what=DATA, same=False, recorded=names, found=f"{error.where} {error.what}")
        except (pl.exceptions.PolarsError, OSError) as error:
            found = f"table {snapshot.table} cannot be read: {str(error).partition(chr(10))[0]}"
            return Compared(what=DATA, same=False, recorded=names, found=found)
    return Compared(what=DATA, same=True, recorded=names, found=names)


def _fit(pipeline: Pipeline, training_set: TrainingSet, card: bundle.Card, folder: Path) -> None:
    tuned = {name.removeprefix("tune_"): value for name, value in card.metrics.items() if name.startswith("tune_")}
    training.refit(pipeline, training_set, card.algorithm, dict(card.params), tuned, folder)


def _golden(kept: pl.DataFrame, made: pl.DataFrame) -> Compared:
    """The scores of the golden rows, to the last bit."""
    recorded = found = f"{kept.height} scores"
    same = kept.equals(made)
    if not same:
        found = f"{made.height} scores of other rows"
        if kept.drop(bundle.SCORE).equals(made.drop(bundle.SCORE)):
            gap = np.abs(kept[bundle.SCORE].to_numpy().astype(float) - made[bundle.SCORE].to_numpy().astype(float))
            found = f"{(gap > 0).sum()} of them differ, by up to {gap.max():.3g}"
    return Compared(what="golden rows", same=same, recorded=recorded, found=found)


def surroundings(lineage: Lineage, here: Path) -> tuple[Compared, ...]:
    """What may make the same inputs give another result: code, dependencies, hardware; then and now."""
    commit, dirty = code_state(here)
    then = f"{lineage.commit or 'no commit'}{', changed since' if lineage.dirty else ''}"
    now = f"{commit or 'no commit'}{', changed since' if dirty else ''}"
    # What was changed since its commit cannot be known to be the same.
    code = Compared(what="code", same=then == now and not dirty, recorded=then, found=now)
    packages = installed()
    changed = [name for name in sorted({*lineage.lock, *packages}) if lineage.lock.get(name) != packages.get(name)]
    lock = Compared(
        what="dependency",
        same=not changed,
        recorded=", ".join(f"{name} {lineage.lock.get(name, 'absent')}" for name in changed),
        found=", ".join(f"{name} {packages.get(name, 'absent')}" for name in changed),
    )
    if not lineage.machine:
        return code, lock
    return code, lock, _compared("hardware", lineage.machine, machine())


def because(first: Compared, around: tuple[Compared, ...]) -> str:
    """Which of code, data, dependency and hardware the first difference comes from, as far as can be told."""
    if first.what == DATA:
        return DATA
    # With the same definition, code, dependencies and hardware other rows are made of other tables alone.
    otherwise = DATA if first.what == SET else "unknown"
    return next((changed.what for changed in around if not changed.same), otherwise)


def _compared(what: str, recorded: str, found: str) -> Compared:
    return Compared(what=what, same=recorded == found, recorded=recorded, found=found)


def _digest(file: Path) -> str:
    return sha256(file.read_bytes()).hexdigest() if file.is_file() else "no such file"
