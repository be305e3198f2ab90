"""The flights example, read and joined once for all tests of this room."""

from pathlib import Path

import pytest

from raypipe.contracts.progress import Silent
from raypipe.contracts.records import TrainingSet
from raypipe.features import build_training_set
from tests.features.flights import AS_OF, Files, pipeline_of_flights


@pytest.fixture(scope="session")
def flights() -> Files:
    return Files(pipeline_of_flights())


@pytest.fixture(scope="session")
def training_set(flights: Files, tmp_path_factory: pytest.TempPathFactory) -> TrainingSet:
    folder: Path = tmp_path_factory.mktemp("training_sets")
    return build_training_set(flights.pipeline, flights.snapshots, flights.read, folder, AS_OF, Silent())
