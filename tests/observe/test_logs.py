"""Log lines as JSON: whole, one a line, with what the work is about."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from raypipe import observe
from raypipe.serving.app import App
from raypipe.serving.engine import Engine
from raypipe.serving.meter import Meter
from tests.observe.receiver import Receiver
from tests.observe.test_traces import CALLER, TRACE, ask
from tests.serving.conftest import make_bundle
from tests.serving.pipeline import pipeline as late
from tests.serving.test_app import BrokenReader
from tests.serving.test_parse import GOOD


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in ("raypipe", "ray.serve")]
    before = [(one.handlers, one.level, one.propagate) for one in loggers]
    yield
    for one, (handlers, level, propagate) in zip(loggers, before, strict=True):
        one.handlers, one.propagate = handlers, propagate
        one.setLevel(level)


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_line_says_what_it_is_about(capsys: pytest.CaptureFixture[str]) -> None:
    observe.start(observe.Observing(log_format="json"))
    observe.start(observe.Observing(log_format="json"))  # the second time adds nothing
    with observe.about(run_id="r1", pipeline="flights"), observe.about(stage="train"):
        logging.getLogger("raypipe.flows.told").info("done in %.1f s", 3.25)
    logging.getLogger("raypipe.serving.app").warning("two\nlines é")
    first, second = lines(capsys)
    assert (first["message"], first["level"], first["logger"]) == ("done in 3.2 s", "info", "raypipe.flows.told")
    assert (first["run_id"], first["pipeline"], first["stage"]) == ("r1", "flights", "train")
    assert second["message"] == "two\nlines é"
    assert not {"run_id", "pipeline", "stage"} & second.keys()


def test_a_line_of_a_request_has_its_id_and_its_trace(
    otlp: Receiver, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    observe.start(observe.Observing(log_format="json"))
    app = App("late", Meter())
    app.hold(Engine(make_bundle(tmp_path / "1", late), BrokenReader, Meter()))
    headers = {"traceparent": f"00-{TRACE}-{CALLER}-01", "x-request-id": "r-7"}
    (answer,) = ask(app, [GOOD | {"carrier": "XX"}], headers)
    assert answer.status_code == 500
    (line,) = [one for one in lines(capsys) if one["level"] == "error"]
    assert (line["request_id"], line["trace_id"]) == ("r-7", TRACE)
    assert "secret detail" in str(line["exception"])


def test_an_error_keeps_its_trace(capsys: pytest.CaptureFixture[str]) -> None:
    observe.start(observe.Observing(log_format="json"))
    try:
        raise ZeroDivisionError("by design")
    except ZeroDivisionError:
        logging.getLogger("raypipe").exception("failed")
    (line,) = lines(capsys)
    assert "by design" in str(line["exception"])
    assert "\n" in str(line["exception"])


def test_text_is_left_to_python(capsys: pytest.CaptureFixture[str]) -> None:
    observe.start(observe.Observing())
    logging.getLogger("raypipe").info("not shown")
    assert capsys.readouterr().err == ""
