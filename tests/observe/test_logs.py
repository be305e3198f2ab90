"""Log lines as JSON: whole, one a line, with what the work is about."""

import json
import logging
from collections.abc import Iterator

import pytest

from raypipe import observe


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
