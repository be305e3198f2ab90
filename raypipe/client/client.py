"""The client: one object for everything that a program asks of a running raypipe."""

import math
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Self, TypeAlias
from uuid import uuid4

import httpx
import msgspec

from raypipe.client.jobs import Job, submit, told
from raypipe.client.records import Accepted, Model, Prediction, Served, Service, Status
from raypipe.client.transport import Transport, decoded
from raypipe.errors import RaypipeError, RequestError, ServingError, did_you_mean
from raypipe.references import ray_login
from raypipe.settings import Settings, load_settings
from raypipe.spec import lint, load

Value: TypeAlias = str | int | float | bool | datetime | date | None
ROWS_A_REQUEST = 1_000


class _Score(msgspec.Struct):
    version: int
    probability: float = math.nan
    label: bool | str | None = None
    value: float | None = None
    probabilities: dict[str, float] = {}
    arm: str = "champion"
    features_as_of: str = ""


class _Answers(msgspec.Struct):
    predictions: tuple[_Score, ...]
    model: str
    request_id: str

    def each(self) -> Iterator[Prediction]:
        for score in self.predictions:
            yield Prediction(
                probability=score.probability,
                label=score.label,
                value=score.value,
                probabilities=score.probabilities,
                model=self.model,
                version=score.version,
                arm=score.arm,
                features_as_of=score.features_as_of,
                request_id=self.request_id,
            )


class Client:
    """Asks a running raypipe. Safe to share between threads; close it, or use it in a ``with`` statement.

    Predictions and status need nothing but HTTP, so they work from any machine. Runs and models work where the
    workspace is: on the machine of the cluster, or on one that sees the same folders.

    Args:
        url: of the service that answers; None: as the settings say, ``http://127.0.0.1:8000`` unless they say other.
        dashboard: of the Ray dashboard, for runs; None: as the settings say.
        seconds: how long one answer may take.

    >>> client = Client("http://127.0.0.1:9")
    >>> client.predict("flights", carrier="UA")
    Traceback (most recent call last):
    ...
    raypipe.errors.ServingError: http://127.0.0.1:9: nothing answers. Start it with `raypipe up`; ...
    """

    def __init__(self, url: str | None = None, *, dashboard: str | None = None, seconds: float = 10.0) -> None:
        self._settings: Settings = load_settings()
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self._settings.host, self._settings.host)  # noqa: S104  # compared, not bound
        cure = "Start it with `raypipe up`; `raypipe status` says what is up"
        shown = {"Authorization": f"Bearer {self._settings.key}"} if self._settings.key else {}
        self._service = Transport(url or f"http://{host}:{self._settings.serve_port}", seconds, cure, shown)
        there = dashboard or f"http://127.0.0.1:{self._settings.dashboard_port}"
        self._dashboard = Transport(there, seconds, cure, ray_login())
        mlflow = self._settings.mlflow_url or f"http://127.0.0.1:{self._settings.mlflow_port}"
        self._mlflow = Transport(mlflow, seconds, cure)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the connections back."""
        self._service.close()
        self._dashboard.close()
        self._mlflow.close()

    def predict(self, pipeline: str, /, **fields: Value) -> Prediction:
        """Ask one question.

        Args:
            pipeline: the name of the pipeline, such as ``flights``.
            fields: what its request declares; times as text or as datetimes with a zone.

        Raises:
            RequestError: the question cannot be answered; ``where`` names the field.
            ServingError: nothing answers, or the service failed.
        """
        return decoded(self._ask(pipeline, _clean(fields)), Prediction)

    def predict_many(self, pipeline: str, rows: Iterable[Mapping[str, Value]]) -> list[Prediction]:
        """Ask many questions; the answers are in their order.

        Raises:
            RequestError: one of them cannot be answered; ``where`` names it, such as ``rows[3].carrier``.
            ServingError: nothing answers, or the service failed.
        """
        answers: list[Prediction] = []
        for batch in _batches(rows):
            try:
                asked = {"rows": [_clean(row, f"rows[{number}].") for number, row in enumerate(batch)]}
                answers += decoded(self._ask(pipeline, asked), _Answers).each()
            except RequestError as error:
                raise _counted_from(error, len(answers)) from None
        return answers

    def feedback(
        self,
        pipeline: str,
        request_id: str,
        *,
        label: bool | float | str | None = None,
        outcomes: Mapping[str, float | None] | None = None,
        row: int = 0,
    ) -> Accepted:
        """Tell what became of a prediction; again, and later, as often as it is corrected: what is told last stands.

        Args:
            pipeline: the name of the pipeline.
            request_id: of the prediction.
            label: what turned out to be true: true or false, the number, or the class, as the model predicts.
            outcomes: business figures by name, such as what it cost.
            row: which row of a request of many.

        Returns:
            That it is kept, with a ``warning`` where the label is a class that the model has never seen.

        Raises:
            RequestError: it tells nothing, or not in a way that can be kept.
            ServingError: it is not kept; tell it again.
        """
        told = {"request_id": request_id, "row": row, "label": label, "outcomes": outcomes}
        try:
            return decoded(self._service.send("POST", f"/{pipeline}/feedback", told), Accepted)
        except RequestError as error:
            raise self._unknown(pipeline, error) from None

    def served(self, pipeline: str) -> Served:
        """What answers for a pipeline: version, metrics, the fields it wants, an example.

        Raises:
            RequestError: no such pipeline is served.
            ServingError: nothing answers.
        """
        try:
            return decoded(self._service.send("GET", f"/{pipeline}/"), Served)
        except RequestError as error:
            raise self._unknown(pipeline, error) from None

    def run(self, file: str | Path, *, as_of: str | None = None, until: str | None = None, wait: bool = True) -> Job:
        """Run a pipeline as a Ray job. The cluster must see the file under the same path, and the same Python.

        Args:
            file: the pipeline file; it is checked here before anything is submitted.
            as_of: the moment to pretend, such as ``2013-07-03``; None: as the pipeline says.
            until: the last stage to run; None: all.
            wait: come back when it is over, and not before.

        Raises:
            DefinitionError: the definition has faults; nothing was submitted.
            RaypipeError: the run failed, with the reason it gave.
            ServingError: no cluster answers.
        """
        lint(load(file))
        environment = {"RAYPIPE_WORKSPACE": str(self._settings.home)}
        job = submit(self._dashboard, Path(file), {"as-of": as_of, "until": until}, environment)
        return job.wait() if wait else job

    def models(self, pipeline: str) -> list[Model]:
        """All registered versions of a pipeline's model, read from the workspace on this machine.

        Raises:
            RaypipeError: there is no model of this name.
        """
        # The registry brings MLflow with it, which would make this light import a heavy one: another process reads.
        command = [sys.executable, "-m", "raypipe.cli", "models", pipeline, "--json"]
        environment = os.environ | {"RAYPIPE_WORKSPACE": str(self._settings.home)}
        done = subprocess.run(command, env=environment, capture_output=True, check=False)
        if done.returncode == 0:
            return msgspec.json.decode(done.stdout, type=list[Model])
        raise told(done.stdout) or RaypipeError(done.stderr.decode(errors="replace").strip(), where="raypipe models")

    def status(self) -> Status:
        """Which services answer, and which pipelines are served. Never raises because something is down."""
        paths = {
            "serve": (self._service, "/-/routes"),
            "ray": (self._dashboard, "/api/version"),
            "mlflow": (self._mlflow, "/health"),
        }
        services = tuple(
            Service(name=name, url=transport.url, answers=transport.answers(path))
            for name, (transport, path) in paths.items()
        )
        return Status(services=services, pipelines=self._pipelines() if services[0].answers else ())

    def _ask(self, pipeline: str, body: object) -> httpx.Response:
        # The same id whichever try gets through, so that the log holds one request.
        headers = {"X-Request-ID": uuid4().hex}
        try:
            return self._service.send("POST", f"/{pipeline}/predict", body, headers)
        except RequestError as error:
            raise self._unknown(pipeline, error) from None

    def _unknown(self, pipeline: str, error: RequestError) -> RequestError:
        """A better error where the reason is that no such pipeline is served."""
        if error.status != 404 or pipeline in (there := self._pipelines()):
            return error
        cure = (
            did_you_mean(pipeline, there)
            or "Deploy it with `raypipe deploy FILE`, or train it first with `raypipe run FILE`"
        )
        return RequestError("no such pipeline is served", where=pipeline, cure=cure, status=404)

    def _pipelines(self) -> tuple[str, ...]:
        try:
            routes = decoded(self._service.send("GET", "/-/routes"), dict[str, str])
        except ServingError:  # so Ray Serve answers while nothing is deployed
            return ()
        return tuple(sorted(path.strip("/") for path in routes))


def _batches(rows: Iterable[Mapping[str, Value]]) -> Iterator[Sequence[Mapping[str, Value]]]:
    left = iter(rows)
    while batch := list(islice(left, ROWS_A_REQUEST)):
        yield batch


def _clean(row: Mapping[str, Value], place: str = "") -> dict[str, Value]:
    for name, content in row.items():
        # JSON has no NaN, and a silent null would be another question.
        if isinstance(content, float) and not math.isfinite(content):
            raise RequestError("must be a finite number", where=f"{place}{name}", cure="Send null when it is unknown")
    return dict(row)


def _counted_from(error: RequestError, first: int) -> RequestError:
    """The same error with rows counted from the first of all rows, not from the first of its request."""
    where = re.sub(r"^rows\[(\d+)\]", lambda found: f"rows[{int(found[1]) + first}]", error.where)
    return RequestError(error.what, where=where, cure=error.cure, status=error.status)
