"""A coverage plugin: Ray ends its worker processes without a goodbye, so what they have covered is saved as they go."""

import sys
import threading
import time

from coverage import Coverage
from coverage.plugin_support import Plugins


def coverage_init(reg: Plugins, options: dict[str, str]) -> None:
    """Called by coverage in every process that it measures."""
    if sys.argv[0].endswith("default_worker.py"):
        threading.Thread(target=_save_as_you_go, name="coverage", daemon=True).start()


def _save_as_you_go() -> None:
    while True:
        time.sleep(1)
        if measuring := Coverage.current():
            measuring.save()
