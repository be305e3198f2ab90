"""A workspace with a champion that is watched, and what replicas write about it."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from raypipe.clock import Clock, ManualClock
from raypipe.contracts import bundle, counts
from raypipe.contracts.bins import Judged, Reference
from raypipe.contracts.counts import Counted
from raypipe.contracts.hours import Hourly
from raypipe.contracts.records import ModelVersion
from raypipe.contracts.segment import Segment
from raypipe.contracts.watched import Watched
from raypipe.flows import Platform
from raypipe.flows.collect import log_folder
from raypipe.registry import Registry
from raypipe.serving.feedback import FeedbackLog, Told
from raypipe.serving.log import Asked, Keyed, PredictionLog, Question
from raypipe.settings import Settings
from raypipe.spec import Log, changed, to_json
from raypipe.spec.retrain import Retrain
from raypipe.wiring import connect, open_ledger
from tests.contracts.bundles import FEATURES, SIGNATURE
from tests.registry.making import lineage_of, make_candidate

MINUTE = 60_000_000


def asked(rng: np.random.Generator, rows: int, by: float = 0.0) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "zone": rng.choice(["a", "b"], rows),
            "fare": rng.normal(by, 1.0, rows),
            "hour": pl.Series(rng.integers(0, 24, rows), dtype=pl.Int8),
        }
    )


def scored(frame: pl.DataFrame) -> np.ndarray:
    """What the model of these bundles answers."""
    x = SIGNATURE.encode(frame).astype(float)
    return 1 / (1 + np.exp(-x @ np.array([0.5, 0.25, -0.125])))


def make_champion(
    settings: Settings, folder: Path, clock: Clock, days: int = 0, policy: Retrain | None = None, weight: float = 1.0
) -> ModelVersion:
    """Register and promote a model whose labels come true as often as it says; its reference may span many days."""
    candidate = make_candidate(folder, weight, training_set=f"set-{weight}")
    if policy is not None:
        definition = Path(candidate.folder) / bundle.PIPELINE
        definition.write_text(to_json(changed(bundle.pipeline(Path(candidate.folder)), retrain=policy)))
    rng = np.random.default_rng(0)
    frame = asked(rng, 20_000)
    scores = scored(frame)
    judged = Judged.of((rng.random(len(scores)) < scores).astype(float), scores)
    reference = Reference.of(frame, SIGNATURE, scores.astype(np.float32), judged=judged)
    (Path(candidate.folder) / bundle.BINS).write_text(reference.to_json())
    at, watched = np.sort(rng.integers(0, max(days, 1) * 24 * 60 * MINUTE, len(scores))), Watched.of(reference)
    if hourly := Hourly.of(frame, at, SIGNATURE, scores.astype(np.float32), watched):
        hourly.write(Path(candidate.folder) / bundle.HOURS, watched)
    bundle.seal(Path(candidate.folder))
    lineage = lineage_of(candidate, bundle.pipeline(Path(candidate.folder)))
    ledger = open_ledger(settings, clock)
    registry = Registry(settings.home / "registry", ledger, "")
    version = registry.register(candidate, lineage)
    before = registry.champion(version.name)
    registry.promote(version.name, version.version, expect=None if before is None else before.version, why="it is new")
    ledger.close()
    return version


@contextmanager
def opened(settings: Settings, clock: Clock) -> Iterator[Platform]:
    platform = connect(settings, clock)
    # No model changes here: nothing needs to be mirrored.
    quiet = Registry(settings.home / "registry", platform.ledger, "")
    from dataclasses import replace

    yield replace(platform, registry=quiet, reopen=partial(connect, settings, clock))
    platform.ledger.close()


class Written:
    """A replica: what it counts and logs of rows that it was asked."""

    def __init__(self, home: Path, version: ModelVersion, at: int) -> None:
        root = log_folder(home)
        reference = bundle.bins(Path(version.folder))
        assert reference is not None
        self.version, self.watched = version, Watched.of(reference)
        self.segment = Segment(root / counts.NAME / version.name, at)
        self.predictions = PredictionLog(root / "predictions" / version.name, Keyed(b"k"), ManualClock(at))
        self._clock = ManualClock(at)
        self.feedback = FeedbackLog(root / "feedback" / version.name, self._clock)
        self._asked = 0

    def count(self, frame: pl.DataFrame, at: int, seconds: float = 0.004, failed: int = 1) -> None:
        scores = scored(frame).astype(np.float32)
        cells = self.watched.binning.count(np.column_stack([SIGNATURE.encode(frame), scores]))
        latency = counts.latency_cells(np.full(frame.height, seconds))
        made = Counted(
            self.version.version,
            "d",
            "champion",
            at,
            frame.height,
            counts.pack(cells),
            latency,
            0.001 * frame.height,
            failed,
        )
        self.segment.append(0, counts.encode(made))

    def log(self, frame: pl.DataFrame, at: int, truth: np.ndarray | None = None) -> None:
        scores = scored(frame)
        ids = [f"q{self._asked + i}" for i in range(frame.height)]
        self._asked += frame.height
        recorder = self.predictions.recorder(
            Log(), version=self.version.version, digest="d", fields=("zone",), features=FEATURES
        )
        questions = [Question((z,), 0, Asked(id_, at, 0.0)) for id_, z in zip(ids, frame["zone"], strict=True)]
        recorder.record(
            questions, frame.select(FEATURES).rows(), [(float(s), bool(s >= 0.5)) for s in scores], (1, 0), 0.004
        )
        if truth is not None:
            self._clock.advance(at - self._clock.now())
            told = [Told(id_, 0, bool(t), {"tip": 2.0}) for id_, t in zip(ids, truth, strict=True)]
            self.feedback.add(told)


def plain(settings: Settings, **changes: object) -> Settings:
    return settings.model_copy(update=changes)
