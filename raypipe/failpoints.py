"""Named crash windows. A test kills the process at one by its name; in production they cost one dictionary look-up.

``RAYPIPE_FAILPOINT=ingest.after_files=kill`` makes the named place act: ``kill`` (SIGKILL to itself), ``raise``,
``stop`` (SIGSTOP to itself) or ``sleep:SECONDS``. ``name=kill@3`` acts at the third visit only.
"""

import os
import signal
import time

_visits: dict[str, int] = {}


class FailpointError(Exception):
    """Raised by a failpoint that was told to ``raise``."""


def failpoint(name: str) -> None:
    """Mark a crash window; does nothing unless the environment names it."""
    spec = os.environ.get("RAYPIPE_FAILPOINT")
    if spec is None:
        return
    wanted, _, action = spec.partition("=")
    if wanted != name:
        return
    action, _, visit = action.partition("@")
    _visits[name] = _visits.get(name, 0) + 1
    if visit and _visits[name] != int(visit):
        return
    _act(name, action)


def _act(name: str, action: str) -> None:
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif action == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif action == "raise":
        raise FailpointError(name)
    elif action.startswith("sleep:"):
        time.sleep(float(action.removeprefix("sleep:")))
    else:
        raise ValueError(f"RAYPIPE_FAILPOINT: unknown action {action!r}; use kill, stop, raise or sleep:SECONDS")
