"""What is told of services that some command is starting."""

import os
from collections.abc import Callable
from pathlib import Path

import psutil

from raypipe.services import ServicesConfig, record
from raypipe.services.processes import identities
from raypipe.services.record import Record
from raypipe.services.status import statuses


def test_what_does_not_answer_yet_starts_as_long_as_somebody_starts_it(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    config = ServicesConfig(tmp_path, serve_port=free_port(), dashboard_port=free_port(), mlflow_port=free_port())
    [here] = identities([psutil.Process(os.getpid())])
    begun, up = Record(ray=here), Record(ray=here, others=(here,))

    def told(found: Record) -> list[tuple[str, str]]:
        return [(one.state, one.detail) for one in statuses(config, found, 0.1)]

    with record.locked(config):
        assert told(begun) == [("starting", ""), ("starting", ""), ("", "")]
        assert told(up)[0] == ("", "runs, but does not answer")
    assert told(begun)[0] == ("", "runs, but does not answer"), "whoever started it was killed"
