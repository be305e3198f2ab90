"""The champion in service lives through history, and what is decided is done: its trainings are Ray jobs.

Requests and labels come from history and the days pass as fast as they are worked on; model, monitor, policy, ledger,
jobs and service are those of production.
"""

import time
from collections.abc import Iterator
from pathlib import Path

from raypipe.clock import iso
from raypipe.contracts import bundle
from raypipe.contracts.decisions import Decision
from raypipe.contracts.progress import Progress
from raypipe.contracts.records import ModelVersion, Record, Snapshot
from raypipe.errors import RegistryError, SettingsError
from raypipe.flows.decide import decide_now
from raypipe.flows.platform import Platform
from raypipe.flows.replay.answers import Answered, Answers
from raypipe.flows.replay.models import Learned
from raypipe.flows.replay.past import Past, past
from raypipe.flows.replay.service import DAY, Service, watching
from raypipe.flows.retrain import drive_on
from raypipe.flows.rolled import learned_until
from raypipe.retraining.decide import looked_after
from raypipe.retraining.standing import Standing, standing
from raypipe.spec import Pipeline, micros
from raypipe.training.onnx_model import OnnxModel
from raypipe.training.trainer import Matrix, Scores

#: Seconds between two looks at a job.
_LOOK = 0.5


class Happened(Record, frozen=True, kw_only=True):
    """Something of note on a simulated day: an alarm, a decision, or what became of a training."""

    day: str
    what: str


class _Champion:
    """The model of a bundle, and what it says of the past; each row is answered once."""

    def __init__(self, version: ModelVersion, history: Past) -> None:
        folder = Path(version.folder)
        self.pipeline = bundle.pipeline(folder)
        self.past, self.signature, self._model = history, bundle.signature(folder), OnnxModel(folder)
        self._answers = Answered(history, bundle.card(folder).costs)

    def of(self, _: Learned) -> "_Champion":
        """It is the only one."""
        return self

    def score(self, x: Matrix) -> Scores:
        """Its scores, (rows,), or of classes (rows, classes)."""
        return self._model.predict(x)

    def answers(self, _: Learned, rows: slice) -> Answers:
        """What it answers to rows of the past."""
        return self._answers.of(rows, lambda: self.score(self.signature.encode(self.past.frame[rows])))


def live(
    platform: Platform,
    pipeline: Pipeline,
    snapshots: tuple[Snapshot, ...],
    start: int,
    end: int,
    progress: Progress,
) -> Iterator[Happened]:
    """Live through history day by day until a challenger has taken over, or until ``end``.

    Args:
        platform: where the champion, the ledger and the service are.
        pipeline: has a policy.
        snapshots: of the tables that history is in.
        start: the first day, microseconds UTC.
        end: when it is over.
        progress: is told of each day.

    Yields:
        What is worth telling, when it happens.

    Raises:
        RegistryError: there is no champion, or it has learned from the days that it is to live through.
        SettingsError: there is no policy, it asks a person, or there is too little history to compare with.
    """
    if pipeline.retrain is None:
        raise SettingsError("has no `retrain`", where=pipeline.name, cure="Give the pipeline a policy")
    if pipeline.retrain.approval:
        what = "the policy waits for a person's approval, and these days pass in seconds"
        raise SettingsError(what, where=pipeline.name, cure="Leave out `--live`: there, all is approved at once")
    champion = platform.registry.get(pipeline.name, "champion")
    by_name = {snapshot.table: snapshot for snapshot in snapshots}
    history = past(pipeline, by_name, platform.lake.frame, platform.workspace / "training_sets", end, progress)
    service = _service(champion, history, start)
    looked = start
    with progress.step("days", (end - start) // DAY) as step:
        for now in range(start + DAY, end + 1, DAY):
            decision, told = _day(platform, pipeline, service, now, looked)
            looked = looked_after(decision)
            yield from told
            step.advance(1, iso(now)[:10])
            if decision.action != "train":
                continue
            ended = _train(platform, pipeline, progress)
            yield Happened(day=iso(now)[:10], what=f"training {ended.number} {ended.note}")
            if platform.registry.get(pipeline.name, "champion").version != champion.version:
                return


def _service(champion: ModelVersion, history: Past, start: int) -> Service:
    made_by = bundle.pipeline(Path(champion.folder))
    learned = learned_until(made_by)
    judged = history.asked(learned, start - micros(made_by.label.settled_after))
    if learned >= start or judged.stop - judged.start < 1_000:
        what = f"has learned up to {iso(learned)}, so there is too little before {iso(start)} to compare with"
        raise RegistryError(what, where=f"{champion.name}/{champion.version}", cure="Give a later `--from`")
    settled = Learned(learned + micros(made_by.label.settled_after))
    models = _Champion(champion, history)
    return Service(champion.name, models, champion.version, settled, settled, judged, start, watching())


def _day(
    platform: Platform, pipeline: Pipeline, service: Service, now: int, looked: int
) -> tuple[Decision, list[Happened]]:
    """One day of requests and labels, and what is decided at its end."""
    drift, performance = service.live(now)
    told = []
    if drift is not None:
        told += [f"{c.column} drifts: {c.stream} at a distance of {c.distance:.2f} of 1" for c in drift.raised]
    said = service.diagnosis(drift, now) if drift is not None and drift.alarms else ""
    facts = service.situation(now, looked, drift, performance)
    decision = decide_now(platform, pipeline, facts, said, as_of=now)
    if decision.action not in ("nothing", "wait"):
        told += [f"{decision.action}: {decision.why}", *filter(None, (said,))]
    return decision, [Happened(day=iso(now)[:10], what=what) for what in told]


def _train(platform: Platform, pipeline: Pipeline, progress: Progress) -> Standing:
    with progress.step("Ray job") as step:
        while (found := drive_on(platform, pipeline)) is not None and found.under_way:
            step.advance(0, f"{found.job}: {found.note}")
            time.sleep(_LOOK)
    ended = found or standing(platform.ledger, pipeline.name)
    assert ended is not None  # noqa: S101  # it was driven
    return ended
