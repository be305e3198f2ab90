"""From raw files to a model that answers: the stages in their order, each from records to a record."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar, get_args

from raypipe.contracts.progress import Progress
from raypipe.contracts.records import Candidate, Deployment, GateReport, Ingested, ModelVersion, Record, TrainingSet
from raypipe.flows.deploy import deploy, deploy_line
from raypipe.flows.gate import gate, gate_line
from raypipe.flows.ingest import ingest, ingest_line
from raypipe.flows.platform import Platform
from raypipe.flows.register import register, register_line
from raypipe.flows.stage import Stage, StageResult
from raypipe.flows.train import build, build_line, train, train_line
from raypipe.spec import Pipeline, fingerprint

StageName = Literal["ingest", "gate", "features", "train", "register", "deploy"]
STAGES: tuple[StageName, ...] = get_args(StageName)
R = TypeVar("R", bound=Record)


@dataclass(frozen=True)
class Run:
    """One run of a pipeline; iterating goes through its stages.

    Attributes:
        pipeline: what to run; it has passed ``lint``.
        file: where it is written, for the lineage.
        as_of: the moment the run pretends to be at, microseconds UTC: nothing known later is used.
        until: the last stage to run.
    """

    pipeline: Pipeline
    file: Path
    platform: Platform
    progress: Progress
    as_of: int
    until: StageName = "deploy"

    def __iter__(self) -> Iterator[StageResult]:
        """Work on the stages one after the other; a failed one raises, and nothing after it is begun."""
        for name, result in zip(STAGES, self._stages(), strict=False):
            yield result
            if name == self.until:
                return

    def _stages(self) -> Iterator[StageResult]:
        pipeline, as_of = self.pipeline, self.as_of
        ingested, result = self._do(Stage("ingest", Ingested, partial(ingest, pipeline=pipeline)), ingest_line)
        yield result
        snapshots = ingested.snapshots
        seen = (*(f"{s.table}@{s.snapshot_id}" for s in snapshots), str(as_of))

        check = partial(gate, pipeline=pipeline, snapshots=snapshots, as_of=as_of)
        yield self._do(Stage("gate", GateReport, check, (fingerprint(pipeline.sources), *seen)), gate_line)[1]

        meaning = fingerprint((pipeline.ask, pipeline.inputs, pipeline.label, pipeline.split))
        join = partial(build, pipeline=pipeline, snapshots=snapshots, as_of=as_of)
        features = Stage("features", TrainingSet, join, (meaning, *seen), lambda record: Path(record.folder).is_dir())
        training_set, result = self._do(features, build_line)
        yield result

        look = partial(train, pipeline=pipeline, training_set=training_set)
        inputs = (training_set.digest, fingerprint(pipeline.search))
        search = Stage("train", Candidate, look, inputs, lambda record: Path(record.folder).is_dir())
        candidate, result = self._do(search, train_line)
        yield result

        enter = partial(register, pipeline=pipeline, file=self.file, candidate=candidate, training_set=training_set)
        yield self._do(Stage("register", ModelVersion, enter), register_line)[1]

        serve = partial(deploy, pipeline=pipeline, snapshots=snapshots, as_of=as_of)
        yield self._do(Stage("deploy", Deployment, serve), deploy_line)[1]

    def _do(self, stage: Stage[R], line: Callable[[R], str]) -> tuple[R, StageResult]:
        record, seconds, reused = stage.run(self.pipeline.name, self.platform, self.progress)
        return record, StageResult(stage.name, line(record), record, seconds, reused)


def as_of(pipeline: Pipeline, asked: int | None, now: int) -> int:
    """The moment a run pretends to be at: the one asked for, else the pipeline's own, else now."""
    if asked is not None:
        return asked
    return now if pipeline.as_of is None else int(pipeline.as_of.timestamp()) * 1_000_000
