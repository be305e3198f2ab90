"""From raw files to a model that answers: the stages in their order, each from records to a record.

Training and serving are imported by the stages that need them: who only watches or decides does not pay for them.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar, get_args

from raypipe.contracts.progress import Progress
from raypipe.contracts.records import (
    Candidate,
    Deployment,
    GateReport,
    Ingested,
    ModelVersion,
    Record,
    Snapshot,
    TrainingSet,
)
from raypipe.flows.platform import Platform
from raypipe.flows.stage import Stage, StageResult
from raypipe.spec import Pipeline, fingerprint

StageName = Literal["ingest", "gate", "features", "train", "register", "deploy"]
STAGES: tuple[StageName, ...] = get_args(StageName)
FITTING: tuple[StageName, ...] = ("features", "train", "register")
R = TypeVar("R", bound=Record)


@dataclass(frozen=True)
class Run:
    """One run of a pipeline; iterating goes through its stages.

    Attributes:
        pipeline: what to run; it has passed ``lint``.
        file: where it is written, for the lineage.
        as_of: the moment the run pretends to be at, microseconds UTC: nothing known later is used.
        until: the last stage to run.
        fit: False: serve the champion that there is, with fresh features, and train nothing.
        bypass: why to go on although a gate fails; empty: do not.
        anew: tables are read again without the files that are not there any more.
    """

    pipeline: Pipeline
    file: Path
    platform: Platform
    progress: Progress
    as_of: int
    until: StageName = "deploy"
    fit: bool = True
    bypass: str = ""
    anew: bool = False

    @property
    def stages(self) -> tuple[StageName, ...]:
        """The names of the stages that it goes through, in order."""
        asked = STAGES[: STAGES.index(self.until) + 1]
        return asked if self.fit else tuple(name for name in asked if name not in FITTING)

    def __iter__(self) -> Iterator[StageResult]:
        """Work on the stages one after the other; a failed one raises, and nothing after it is begun."""
        for result in self._stages():
            yield result
            if result.stage == self.until:
                return

    def _stages(self) -> Iterator[StageResult]:
        from raypipe.flows.gate import gate, gate_line
        from raypipe.flows.ingest import ingest, ingest_line

        pipeline, as_of = self.pipeline, self.as_of
        ingested, result = self._do(
            Stage("ingest", Ingested, partial(ingest, pipeline=pipeline, anew=self.anew)), ingest_line
        )
        yield result

        check = partial(gate, pipeline=pipeline, snapshots=ingested.snapshots, as_of=as_of, bypass=self.bypass)
        # Who went on for a reason goes on for that run only: the next one without it is judged again.
        judged = (fingerprint(pipeline.sources), *named(ingested.snapshots, as_of), *filter(None, (self.bypass,)))
        report, result = self._do(Stage("gate", GateReport, check, judged), gate_line)
        yield result

        snapshots = report.snapshots  # as published: without what was set aside
        if self.fit:
            yield from self._fit(snapshots, named(snapshots, as_of))

        from raypipe.flows.deploy import deploy

        serve = partial(deploy, pipeline=pipeline, snapshots=snapshots, as_of=as_of)
        yield self._do(Stage("deploy", Deployment, serve), partial(self._served, snapshots))[1]

    def _fit(self, snapshots: tuple[Snapshot, ...], seen: tuple[str, ...]) -> Iterator[StageResult]:
        from raypipe.flows.register import register, register_line
        from raypipe.flows.train import build, build_line, train, train_line

        pipeline = self.pipeline
        meaning = fingerprint((pipeline.ask, pipeline.inputs, pipeline.label, pipeline.split))
        join = partial(build, pipeline=pipeline, snapshots=snapshots, as_of=self.as_of, bypass=self.bypass)
        asked = (meaning, *seen, fingerprint(pipeline.before_training), *filter(None, (self.bypass,)))
        features = Stage("features", TrainingSet, join, asked, lambda record: Path(record.folder).is_dir())
        training_set, result = self._do(features, build_line)
        yield result

        look = partial(train, pipeline=pipeline, training_set=training_set)
        inputs = (training_set.digest, *map(fingerprint, (pipeline.split, pipeline.search, pipeline.finish)))
        search = Stage("train", Candidate, look, inputs, lambda record: Path(record.folder).is_dir())
        candidate, result = self._do(search, train_line)
        yield result

        enter = partial(
            register,
            pipeline=pipeline,
            file=self.file,
            candidate=candidate,
            training_set=training_set,
            bypass=self.bypass,
        )
        told = partial(register_line, self.platform.registry)
        yield self._do(Stage("register", ModelVersion, enter), told)[1]

    def _served(self, snapshots: tuple[Snapshot, ...], record: Deployment) -> str:
        """Which version answers, and what it will not see."""
        from raypipe.flows.deploy import deploy_line
        from raypipe.flows.stale import stale

        by_name = {snapshot.table: snapshot for snapshot in snapshots}
        old = stale(self.pipeline, by_name, self.platform.lake.frame, self.as_of)
        return "\n  ".join((deploy_line(record), *old))

    def _do(self, stage: Stage[R], line: Callable[[R], str]) -> tuple[R, StageResult]:
        record, seconds, reused = stage.run(self.pipeline.name, self.platform, self.progress)
        return record, StageResult(stage.name, line(record), record, seconds, reused)


def named(snapshots: tuple[Snapshot, ...], as_of: int) -> tuple[str, ...]:
    """What names the tables as they are, and the moment."""
    return (*(f"{s.table}@{s.snapshot_id}" for s in snapshots), str(as_of))


def as_of(pipeline: Pipeline, asked: int | None, now: int) -> int:
    """The moment a run pretends to be at: the one asked for, else the pipeline's own, else now."""
    if asked is not None:
        return asked
    return now if pipeline.as_of is None else int(pipeline.as_of.timestamp()) * 1_000_000
