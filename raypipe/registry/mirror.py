"""MLflow's copy of the registry: versions, aliases and files, for its UI and its clients. The ledger is the truth.

A mirror may lag, when MLflow was down or the process was killed; the next sync brings everything that is missing.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion as MlflowVersion
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, RESOURCE_DOES_NOT_EXIST, ErrorCode

from raypipe.clock import iso
from raypipe.contracts.records import ModelVersion
from raypipe.errors import RegistryError
from raypipe.failpoints import failpoint
from raypipe.registry.mlmodel import BUNDLE, write_model

#: The tag by which a version of MLflow is known as ours; MLflow's own number differs where somebody else made one.
VERSION = "raypipe.version"
DIGEST = "raypipe.digest"


class Mirror:
    """Writes what the ledger says into MLflow.

    Args:
        tracking_uri: a database such as ``sqlite:////path/mlflow.db``, or the URL of a server.

    Raises:
        RegistryError: MLflow cannot be reached.
    """

    def __init__(self, tracking_uri: str) -> None:
        self._client = connected(tracking_uri)
        self._uri = tracking_uri

    def sync(self, name: str, versions: Sequence[ModelVersion], aliases: Mapping[str, int | None]) -> list[str]:
        """Make MLflow's copy of one model equal to the ledger, and say what had to be done.

        Args:
            name: the model.
            versions: all its versions in order.
            aliases: the version that each alias of ours names, or None.

        Raises:
            RegistryError: MLflow cannot be reached, or refuses.
        """
        with in_one_sentence(self._uri):
            done = self._add_model(name)
            there = self._numbers(name)
            for version in versions:
                if (version.version, version.digest) not in there:
                    self._add(version)
                    done.append(f"version {version.version}")
            numbers = {ours: number for (ours, _), number in self._numbers(name).items()}
            present = self._client.get_registered_model(name).aliases
            for alias, ours in aliases.items():
                wanted = None if ours is None else numbers[ours]
                found = present.get(alias)
                if wanted is None and found is not None:
                    self._client.delete_registered_model_alias(name, alias)
                    done.append(f"alias {alias} removed")
                elif wanted is not None and str(found) != wanted:
                    self._client.set_registered_model_alias(name, alias, wanted)
                    done.append(f"alias {alias}")
        return done

    def _add_model(self, name: str) -> list[str]:
        try:
            self._client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
                raise
            return []
        return [f"model {name}"]

    def _numbers(self, name: str) -> dict[tuple[int, str], str]:
        """MLflow's number of each of our versions; where two claim to be the same, the first."""
        found: dict[tuple[int, str], str] = {}
        for version in sorted(self._versions(name), key=lambda version: int(version.version), reverse=True):
            if version.tags.get(VERSION, "").isdigit():
                found[int(version.tags[VERSION]), version.tags.get(DIGEST, "")] = str(version.version)
        return found

    def _versions(self, name: str) -> Iterator[MlflowVersion]:
        token = None
        while True:
            page = self._client.search_model_versions(f"name='{name}'", page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def _add(self, version: ModelVersion) -> None:
        run = self._run(version)
        path = f"model-{version.digest[:12]}"
        with tempfile.TemporaryDirectory(prefix="raypipe-") as folder:
            write_model(Path(folder), version)
            self._client.log_artifacts(run.info.run_id, folder, path)
            self._client.log_artifacts(run.info.run_id, version.folder, f"{path}/{BUNDLE}")
        failpoint("registry.after_mlflow_files")
        source = f"{run.info.artifact_uri}/{path}"
        self._client.create_model_version(
            version.name, source, run.info.run_id, tags=_tags(version), description=_description(version)
        )

    def _run(self, version: ModelVersion) -> Run:
        """The run that trained the version, or one of its own where MLflow does not have that."""
        if version.lineage.run_id:
            try:
                return self._client.get_run(version.lineage.run_id)
            except MlflowException as error:
                if error.error_code != ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
                    raise
        experiment = self._client.get_experiment_by_name(version.name)
        number = experiment.experiment_id if experiment else self._client.create_experiment(version.name)
        own = {VERSION: str(version.version), DIGEST: version.digest}
        present = self._client.search_runs([number], " and ".join(f"tags.`{tag}` = '{own[tag]}'" for tag in own))
        run = present[0] if present else self._client.create_run(number, tags=own, run_name=_title(version))
        self._client.update_run(run.info.run_id, status="FINISHED")
        return run


def _title(version: ModelVersion) -> str:
    return f"{version.name}/{version.version}"


def _tags(version: ModelVersion) -> dict[str, str]:
    lineage = version.lineage
    tags = {
        VERSION: str(version.version),
        DIGEST: version.digest,
        "raypipe.algorithm": version.algorithm,
        "raypipe.commit": f"{lineage.commit}{' (changed since)' if lineage.dirty else ''}",
        "raypipe.pipeline_definition": lineage.pipeline_definition,
        "raypipe.feature_definition": lineage.feature_definition,
        "raypipe.training_set": lineage.training_set,
        "raypipe.as_of": iso(lineage.as_of),
        "raypipe.seed": str(lineage.seed),
    }
    tags |= {f"raypipe.metric.{name}": f"{value:.6g}" for name, value in version.metrics.items()}
    return tags | {f"raypipe.snapshot.{table}": str(number) for table, number in lineage.snapshots.items()}


def _description(version: ModelVersion) -> str:
    metrics = ", ".join(f"{name} {value:.4f}" for name, value in version.metrics.items())
    return f"{version.algorithm}: {metrics}"


def connected(tracking_uri: str) -> MlflowClient:
    """A client of MLflow.

    Raises:
        RegistryError: MLflow cannot be reached.
    """
    with in_one_sentence(tracking_uri):
        if tracking_uri.startswith("http"):
            # MLflow's own client would try for minutes.
            httpx.get(f"{tracking_uri.rstrip('/')}/health", timeout=5).raise_for_status()
        return MlflowClient(tracking_uri, tracking_uri)


@contextmanager
def in_one_sentence(uri: str) -> Iterator[None]:
    """Say in one sentence what MLflow says in many; raises RegistryError."""
    try:
        yield
    except (MlflowException, httpx.HTTPError, OSError) as error:
        text = (str(error).splitlines() or [type(error).__name__])[0]
        cure = "The next command that changes models catches up once MLflow is back"
        raise RegistryError(f"MLflow lags behind: {text}", where=uri, cure=cure) from error
