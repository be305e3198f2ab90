"""What the job of a training does: bring data in, train a challenger, judge both on the newest rows, register it.

Every row that it writes is refused once its lease went to another attempt.
"""

import logging
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TypeAlias, TypeVar

from msgspec import structs

from raypipe.contracts import bundle
from raypipe.contracts.decisions import Verdict
from raypipe.contracts.progress import Progress
from raypipe.contracts.records import Candidate, GateReport, ModelVersion, Record, Snapshot, TrainingSet
from raypipe.errors import (
    DefinitionError,
    FeatureError,
    GateError,
    KeyTakenError,
    RegistryError,
    SourceError,
    TrainingError,
)
from raypipe.failpoints import failpoint
from raypipe.flows.model_gates import gate_candidate
from raypipe.flows.platform import Platform
from raypipe.flows.rolled import learned_until, rolled
from raypipe.flows.run import Run, named
from raypipe.flows.stage import Stage
from raypipe.flows.train import build
from raypipe.registry import capture
from raypipe.retraining.challenge import LEAST, better_alone, comparable, judge
from raypipe.retraining.work import Ended, Started, Trained, Work
from raypipe.retraining.work import work as find
from raypipe.spec import Pipeline, fingerprint
from raypipe.training import rehearse
from raypipe.training.data import read
from raypipe.training.duel import losses, losses_of
from raypipe.training.trainer import Params

log = logging.getLogger(__name__)

#: Another attempt would meet the same: a closed gate is as closed for it. What else is raised may pass.
_FOR_GOOD = (DefinitionError, FeatureError, GateError, RegistryError, SourceError, TrainingError)

R = TypeVar("R", bound=Record)
#: Makes a challenger for a training, judges it, and registers it if it is the better one.
Make: TypeAlias = Callable[[Platform, Progress, Work], tuple[Verdict, ModelVersion | None]]


class Challenger(Record, frozen=True, kw_only=True):
    """A model on trial: what it is, how it did against the one in service, and from which of the lessons it learned."""

    candidate: Candidate
    verdict: Verdict
    lesson: int = 0


@dataclass(frozen=True)
class Lesson:
    """What a challenger may learn from: a definition whose periods were moved on, and its rows."""

    pipeline: Pipeline
    rows: TrainingSet

    @property
    def teaches(self) -> int:
        """How many rows a rehearsal learns from."""
        return self.rows.rows["train"] + self.rows.rows["tune"]


def fence(name: str, number: int, attempt: int) -> str:
    """The row of the ledger from which on an attempt may write nothing any more: the next one's lease."""
    return f"retrain/{name}/{number}/leased/{attempt + 1}"


def challenge(
    platform: Platform, progress: Progress, name: str, number: int, attempt: int, make: Make | None = None
) -> Trained | None:
    """Work on one attempt of a training, and write down what it came to; None: another process has.

    Args:
        platform: opened behind the `fence` of the attempt.
        progress: is told of each stage.
        name: of the pipeline.
        number: of the training.
        attempt: from 1.
        make: makes the challenger; None: by the champion's recipe, from what the sources have by now.

    Raises:
        RegistryError: there is no such training.
        FencedError: another attempt has taken over.
        RaypipeError: the training failed for a reason that another attempt would meet again; it is written down.
    """
    work = find(platform.ledger, name, number)
    if work is None:
        raise RegistryError(f"has no training {number}", where=name, cure=f"Ask for one with `raypipe retrain {name}`")
    failpoint("challenge.before_start")
    try:
        work.write(f"started/{attempt}", Started(process=f"{socket.gethostname()} {os.getpid()}"))
    except KeyTakenError:
        return None
    failpoint("challenge.after_start")
    began = perf_counter()
    try:
        verdict, version = (make or _challenger)(platform, progress, work)
    except _FOR_GOOD as error:
        seconds = perf_counter() - began
        work.write("ended", Ended(outcome="failed", version=None, seconds=seconds, why=str(error)[:2_000]))
        raise
    trained = Trained(
        attempt=attempt,
        version=None if version is None else version.version,
        verdict=verdict,
        seconds=perf_counter() - began,
        why=sentence(verdict),
    )
    failpoint("challenge.before_trained")
    work.write("trained", trained)
    failpoint("challenge.after_trained")
    return trained


def sentence(verdict: Verdict) -> str:
    """A verdict in words."""
    better = f"lowers the mean loss by {verdict.gain:.4f} (for certain by {verdict.low:.4f} or more)"
    return f"the challenger {better} on the newest {verdict.rows:,} rows, which neither had learned from"


def _challenger(platform: Platform, progress: Progress, work: Work) -> tuple[Verdict, ModelVersion | None]:
    champion = platform.registry.get(work.name, "champion")
    of_champion = bundle.pipeline(Path(champion.folder))
    as_of = work.begun.as_of
    onset, since = work.begun.onset, learned_until(of_champion)
    pipeline = rolled(of_champion, since, as_of, onset)
    snapshots = _data(platform, progress, pipeline, as_of)
    failpoint("challenge.after_gate")

    learn = partial(_lesson, platform, progress, snapshots=snapshots, as_of=as_of)
    lessons = [learn(pipeline)]
    newer = rolled(of_champion, since, as_of, onset, forget=True)
    # Where values must not come again, each lesson would be judged on rows of its own.
    if newer.periods.train[0] > pipeline.periods.train[0] and not newer.periods.apart:
        lessons += [lesson for lesson in (learn(newer),) if lesson.teaches >= LEAST]

    fit = partial(_fit, lessons=lessons, champion=champion)
    inputs = (*(lesson.rows.digest for lesson in lessons), champion.digest, fingerprint(pipeline.finish))
    stage = Stage("challenge", Challenger, fit, inputs, lambda record: _kept(record.candidate))
    made = _do(stage, platform, progress, pipeline)
    failpoint("challenge.after_fit")
    must = pipeline.retrain is None or pipeline.retrain.challenge
    if must and not made.verdict.won:
        return made.verdict, None
    lesson = lessons[made.lesson]
    enter = partial(_enter, pipeline=lesson.pipeline, made=made, training_set=lesson.rows, champion=champion)
    return made.verdict, _do(Stage("register", ModelVersion, enter), platform, progress, lesson.pipeline)


def _lesson(
    platform: Platform, progress: Progress, pipeline: Pipeline, snapshots: tuple[Snapshot, ...], as_of: int
) -> Lesson:
    meaning = fingerprint((pipeline.ask, pipeline.inputs, pipeline.label, pipeline.split))
    join = partial(build, pipeline=pipeline, snapshots=snapshots, as_of=as_of)
    asked = (meaning, *named(snapshots, as_of), fingerprint(pipeline.before_training))
    return Lesson(pipeline, _do(Stage("features", TrainingSet, join, asked, _kept), platform, progress, pipeline))


def _data(platform: Platform, progress: Progress, pipeline: Pipeline, as_of: int) -> tuple[Snapshot, ...]:
    """What the sources have by now, as far as the gate lets it pass."""
    for result in Run(pipeline, Path(pipeline.name), platform, progress, as_of, "gate"):
        if isinstance(result.record, GateReport):
            return result.record.snapshots
    raise RegistryError("the gate said nothing", where=pipeline.name)


def _fit(platform: Platform, progress: Progress, *, lessons: Sequence[Lesson], champion: ModelVersion) -> Challenger:
    """By the champion's recipe: judged on the newest rows by a model without them, then fitted with them.

    Who learned from the second lesson, which leaves out what was before a change, must win against the first as well.
    """
    card, pipeline = bundle.card(Path(champion.folder)), lessons[0].pipeline
    with progress.step("challenge", len(lessons) + 2) as step:
        old = losses_of(lessons[0].rows, Path(champion.folder))
        step.advance(1, f"{champion.name}/{champion.version} answers {len(old):,} rows")
        made, new = [], []
        for lesson in lessons:
            folder = _folder(platform, lesson, champion)
            folder.parent.mkdir(parents=True, exist_ok=True)
            try:
                # Nothing is tuned: what the champion was worth on its tuning period says nothing of this model.
                made.append(rehearse(lesson.pipeline, lesson.rows, card.algorithm, dict(card.params), {}, folder))
            except TrainingError as error:
                if not made:
                    raise
                step.advance(1, f"too little since the change: {error}")  # not a drop of rain in it
                continue
            new.append(losses(read(lesson.rows, "holdout"), made[-1].held_out, bundle.card(folder).target))
            step.advance(1, card.algorithm)
        old, *new = comparable(card.target, old, *new)
        anew = better_alone(new[0], new[-1]) if len(new) > 1 else None
        place = len(new) - 1 if anew else 0
        verdict = structs.replace(judge(old, new[place]), anew=anew)
        step.advance(1, sentence(verdict))
    folder, rows = _folder(platform, lessons[place], champion), lessons[place].rows
    tags = {"algorithm": card.algorithm, "recipe": f"{champion.name}/{champion.version}", "reason": sentence(verdict)}
    metrics = made[place].metrics
    candidate = Candidate(
        pipeline=pipeline.name,
        training_set=rows.digest,
        algorithm=card.algorithm,
        params=card.params,
        seed=card.seed,
        folder=str(folder),
        metrics=metrics,
        trials=(),
        reason=sentence(verdict),
        experiment=pipeline.name,
        metric=pipeline.search.metric,
        run_id=_tracked(platform.tracking_uri, folder.name, pipeline.name, metrics, tags, dict(card.params)),
    )
    return Challenger(candidate=candidate, verdict=verdict, lesson=place)


def _folder(platform: Platform, lesson: Lesson, champion: ModelVersion) -> Path:
    name = f"{champion.name}-{lesson.rows.digest[:16]}-{champion.digest[:8]}"
    return platform.workspace / "challengers" / name


def _tracked(
    uri: str, key: str, name: str, metrics: Mapping[str, float], tags: Mapping[str, str], params: Params
) -> str:
    """The challenger's run in MLflow; none while MLflow does not answer: a version without one gets it later."""
    if not uri:
        return ""
    from raypipe.training.tracking import Tracking

    try:
        with Tracking(uri, name, key, f"by the recipe of {tags['recipe']}") as run:
            run.finish(metrics, tags, params)
            return run.run_id
    except TrainingError as error:
        log.warning("%s", error)
        return ""


def _enter(
    platform: Platform,
    _: Progress,
    *,
    pipeline: Pipeline,
    made: Challenger,
    training_set: TrainingSet,
    champion: ModelVersion,
) -> ModelVersion:
    lineage = capture(pipeline, Path(pipeline.name), made.candidate, training_set)
    # The definition is that of the champion, so is the code that wrote it.
    code = structs.replace(lineage, commit=champion.lineage.commit, dirty=champion.lineage.dirty)
    version = platform.registry.register(made.candidate, code)
    gate_candidate(platform, pipeline, version, training_set, champion, "")
    return version


def _do(stage: Stage[R], platform: Platform, progress: Progress, pipeline: Pipeline) -> R:
    return stage.run(pipeline.name, platform, progress)[0]


def _kept(record: TrainingSet | Candidate) -> bool:
    return Path(record.folder).is_dir()
