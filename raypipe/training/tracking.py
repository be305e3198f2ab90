"""A search in MLflow: one parent run, one nested run for each trial; written by the search's own process.

Runs are found again by tag, so a search that was killed and started again logs no trial twice.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from raypipe import telemetry
from raypipe.errors import TrainingError
from raypipe.training.outcome import FAILED, Outcome
from raypipe.training.trainer import Params

# MLflow has no other way to be told. By itself it tells its makers of its use, prints the address of every run, and
# takes four minutes to say that there is no server.
os.environ.update({**telemetry.OFF, **os.environ})
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NAME

SEARCH, TRIAL = "raypipe.search", "raypipe.trial"
#: MLflow refuses longer values.
_LONGEST = 500


class Tracking:
    """The runs of one search.

    Args:
        uri: where MLflow is: ``http://…`` or ``sqlite:///…``.
        experiment: the MLflow experiment, made when it is missing.
        search: names the search among all searches.
        title: how its run is called.

    Raises:
        TrainingError: MLflow does not answer. So do all methods.
    """

    def __init__(self, uri: str, experiment: str, search: str, title: str = "") -> None:
        self._uri = uri
        with self._talking():
            self._client = MlflowClient(tracking_uri=uri)
            self._experiment = self._experiment_id(experiment)
            parents = self._found(f"tags.`{SEARCH}` = '{search}'")
            tags = {SEARCH: search, MLFLOW_RUN_NAME: title or f"search {search[:8]}"}
            self.run_id = parents[0].info.run_id if parents else self._create(tags)
            children = self._found(f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{self.run_id}'")
            # A trial that failed gets another try, and that try a run of its own.
            self._trials = {run.data.tags[TRIAL]: run for run in children if run.info.status != "FAILED"}
            self._open: dict[str, str] = {}

    def start(self, name: str, number: int) -> None:
        """Open a trial's run, unless it has one: from before a kill, or from a worker that died."""
        if name in self._open:
            return
        if name in self._trials:
            self._open[name] = self._trials[name].info.run_id
            return
        with self._talking():
            tags = {TRIAL: name, MLFLOW_RUN_NAME: f"{number:02d} {name}", MLFLOW_PARENT_RUN_ID: self.run_id}
            self._open[name] = self._create(tags)

    def end(self, name: str, outcome: Outcome) -> str:
        """Log a trial's parameters, metrics and error, and close its run; returns the run's id."""
        trial, run_id = outcome.trial, self._open[name]
        earlier = self._trials.get(name)
        if earlier is not None and earlier.info.status == "FINISHED":
            return run_id
        known = {} if earlier is None else earlier.data.params
        params = {"algorithm": trial.algorithm, **trial.params}
        tags = {"algorithm": trial.algorithm, "status": trial.status, "error": trial.error}
        with self._talking():
            self._client.log_batch(
                run_id,
                metrics=_metrics(trial.metrics | {"seconds": trial.seconds})
                + [Metric("goodness", value, 0, step) for step, value in outcome.curve],
                # MLflow lets no parameter change, and refuses the whole batch when one would.
                params=[Param(key, str(value)[:_LONGEST]) for key, value in params.items() if key not in known],
                tags=[RunTag(key, value[:_LONGEST]) for key, value in tags.items() if value],
            )
            self._client.set_terminated(run_id, "FAILED" if trial.status == FAILED else "FINISHED")
        return run_id

    def picture(self, file: Path) -> None:
        """Put a picture beside the search's run. A database without a server keeps no files: it stays where it is."""
        if self._uri.startswith("http"):
            with self._talking():
                self._client.log_artifact(self.run_id, str(file))

    def finish(self, metrics: Mapping[str, float], tags: Mapping[str, str], params: Params | None = None) -> None:
        """Log what the search came to and close its run."""
        with self._talking():
            own = [RunTag(key, value[:_LONGEST]) for key, value in tags.items()]
            given = [Param(key, str(value)[:_LONGEST]) for key, value in (params or {}).items()]
            self._client.log_batch(self.run_id, metrics=_metrics(metrics), tags=own, params=given)
            self._client.set_terminated(self.run_id)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """Close the run of a search that came to nothing. It says why itself, even when MLflow has gone."""
        if error is not None:
            with suppress(MlflowException):
                self._client.set_tag(self.run_id, "error", str(error)[:_LONGEST])
                self._client.set_terminated(self.run_id, "FAILED")

    def _experiment_id(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        return str(self._client.create_experiment(name))

    def _found(self, filters: str) -> list[Run]:
        return list(self._client.search_runs([self._experiment], filters, max_results=10_000))

    def _create(self, tags: dict[str, str]) -> str:
        return str(self._client.create_run(self._experiment, tags=tags).info.run_id)

    @contextmanager
    def _talking(self) -> Iterator[None]:
        try:
            yield
        except MlflowException as error:
            first = str(error).strip().splitlines()[0][:300]
            raise TrainingError(f"MLflow: {first}", where=self._uri, cure="Start the services: `raypipe up`") from None


def _metrics(metrics: Mapping[str, float]) -> list[Metric]:
    return [Metric(name, float(value), 0, 0) for name, value in metrics.items()]
