"""A workspace with a champion that is watched, and what replicas write about it."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
from msgspec import structs

from raypipe.clock import Clock, ManualClock
from raypipe.contracts import bundle, counts
from raypipe.contracts.bins import Reference, answers
from raypipe.contracts.counts import Counted
from raypipe.contracts.hours import Hourly
from raypipe.contracts.judged import Judged, JudgedNumbers
from raypipe.contracts.records import ModelVersion
from raypipe.contracts.segment import Segment
from raypipe.contracts.target import BINARY, Target
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


def classes_of(scores: np.ndarray) -> np.ndarray:
    """The class that is the likelier one."""
    return np.where(scores >= 0.5, "late", "early")


def true_of(target: Target, rng: np.random.Generator, scores: np.ndarray) -> np.ndarray:
    """What comes true where the model is as good as it says."""
    if target.numeric:
        return scores + rng.normal(0, 0.1, len(scores))
    drawn = rng.random(len(scores)) < scores
    return np.where(drawn, "late", "early") if target.classes else drawn


def make_champion(
    settings: Settings,
    folder: Path,
    clock: Clock,
    days: int = 0,
    policy: Retrain | None = None,
    weight: float = 1.0,
    target: Target = BINARY,
) -> ModelVersion:
    """Register and promote a model whose labels come true as often as it says; its reference may span many days.

    Of other targets than truths it answers its score as a number, of which the truth is 0.1 away, or one of two classes
    with as much confidence.
    """
    candidate = make_candidate(folder, weight, training_set=f"set-{weight}")
    if policy is not None:
        definition = Path(candidate.folder) / bundle.PIPELINE
        definition.write_text(to_json(changed(bundle.pipeline(Path(candidate.folder)), retrain=policy)))
    rng = np.random.default_rng(0)
    frame = asked(rng, 20_000)
    scores = scored(frame)
    truth = true_of(target, rng, scores)
    if target.numeric:
        judged: Judged | JudgedNumbers = JudgedNumbers.of(truth.astype(float), scores, target.quantile)
    elif target.classes:
        judged = Judged.of((truth == classes_of(scores)).astype(float), np.maximum(scores, 1 - scores), 0.0)
    else:
        judged = Judged.of(truth.astype(float), scores)
    both = np.column_stack([scores, 1 - scores]) if target.classes else scores
    reference = Reference.of(frame, SIGNATURE, both.astype(np.float32), target.classes, judged)
    card = structs.replace(bundle.card(Path(candidate.folder)), target=target)
    (Path(candidate.folder) / bundle.CARD).write_text(card.to_json())
    (Path(candidate.folder) / bundle.BINS).write_text(reference.to_json())
    at, watched = np.sort(rng.integers(0, max(days, 1) * 24 * 60 * MINUTE, len(scores))), Watched.of(reference)
    if hourly := Hourly.of(frame, at, SIGNATURE, answers(both.astype(np.float32)), watched):
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
        self.target = bundle.card(Path(version.folder)).target
        self.segment = Segment(root / counts.NAME / version.name, at)
        self.predictions = PredictionLog(root / "predictions" / version.name, Keyed(b"k"), ManualClock(at))
        self._clock = ManualClock(at)
        self.feedback = FeedbackLog(root / "feedback" / version.name, self._clock)
        self._asked = 0

    def count(self, frame: pl.DataFrame, at: int, seconds: float = 0.004, failed: int = 1) -> None:
        scores = scored(frame).astype(np.float32)
        both = np.column_stack([scores, 1 - scores]) if self.target.classes else scores
        cells = self.watched.binning.count(np.column_stack([SIGNATURE.encode(frame), answers(both)]))
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
        said: list[tuple[float, bool | str | None]] = [(float(s), bool(s >= 0.5)) for s in scores]
        if self.target.numeric:
            said = [(float(s), None) for s in scores]
        elif self.target.classes:
            said = list(zip(np.maximum(scores, 1 - scores).tolist(), classes_of(scores).tolist(), strict=True))
        recorder.record(questions, frame.select(FEATURES).rows(), said, (1, 0), 0.004)
        if truth is not None:
            self._clock.advance(at - self._clock.now())
            kind = bool if self.target == BINARY else float if self.target.numeric else str
            told = [Told(id_, 0, kind(t), {"tip": 2.0}) for id_, t in zip(ids, truth, strict=True)]
            self.feedback.add(told)


def plain(settings: Settings, **changes: object) -> Settings:
    return settings.model_copy(update=changes)
