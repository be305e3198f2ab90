"""A model in the caller's own process gives what the service gives, and refuses what it refuses."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from raypipe.errors import RequestError, WorkspaceError
from raypipe.serving.embedded import Embedded
from raypipe.serving.engine import Engine
from raypipe.serving.model import Served
from raypipe.settings import Settings
from raypipe.wiring import load
from tests.serving.reader import FakeReader
from tests.serving.test_parse import GOOD


@pytest.fixture
def embedded(served: Served) -> Embedded:
    return Embedded(served, FakeReader)


def test_it_answers_as_the_service_does(embedded: Embedded, engine: Engine) -> None:
    rows = [GOOD, GOOD | {"scheduled_at": datetime(2013, 6, 1, 14, tzinfo=UTC), "carrier": "AA"}]
    texts = [row | {"scheduled_at": GOOD["scheduled_at"]} for row in rows]
    assert embedded.predict_many(rows) == engine.predict(engine.parser.convert(texts))
    assert embedded.predict(**GOOD) == embedded.predict_many(rows)[0]
    assert embedded.predict(**embedded.example).probability > 0
    assert (embedded.name, embedded.version) == ("late", 1)


@pytest.mark.parametrize(
    ("changed", "where", "what"),
    [
        ({"flight": "1"}, "flight", "must be a whole number, not text"),
        ({"flight": True}, "flight", "must be a whole number, not true or false"),
        ({"scheduled_at": datetime(2013, 6, 1)}, "scheduled_at", "must say its zone"),  # noqa: DTZ001  # on purpose
        ({"flihgt": 1}, "", "has a field that is not one of this model"),
    ],
)
def test_a_wrong_value_is_named(embedded: Embedded, changed: dict[str, object], where: str, what: str) -> None:
    with pytest.raises(RequestError) as caught:
        embedded.predict_many([GOOD, GOOD | changed])
    assert caught.value.where == f"rows[1].{where}".removesuffix(".")
    assert caught.value.what.startswith(what)


def test_all_that_is_missing_is_named_at_once(embedded: Embedded) -> None:
    with pytest.raises(RequestError, match="carrier: 4 fields are missing: carrier, flight, origin, charter") as caught:
        embedded.predict(scheduled_at=GOOD["scheduled_at"])
    assert caught.value.where == "carrier"
    with pytest.raises(RequestError, match="rows: must hold at least one row"):
        embedded.predict_many([])


def test_no_workspace_is_made_by_looking_for_one(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="no workspace is there yet"):
        load("flights", settings=Settings(workspace=tmp_path / "none"))
    assert not (tmp_path / "none").exists()
