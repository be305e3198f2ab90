"""A lake in a folder of its own, a folder to put files in, and a broker with a topic."""

from pathlib import Path

import pytest

from raypipe.lake import Lake
from tests.lake.logs import Broker


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def cluster() -> Broker:
    return Broker()


@pytest.fixture
def topic(request: pytest.FixtureRequest) -> str:
    return "".join(c if c.isalnum() else "-" for c in request.node.name)[:200]
