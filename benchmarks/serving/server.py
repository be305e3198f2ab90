"""How a peer is started, waited for and ended; one that does not answer is told of, with its last words."""

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import httpx
import psutil

from raypipe.services.ports import holder, is_free

#: How long a server may take to come up, and how many bytes are told of what one printed that did not.
START_SECONDS, LAST_WORDS = 120, 2_000


class PeerError(RuntimeError):
    """A peer could not be measured.

    Args:
        system: which one.
        why: it does not answer, in few words.
        said: the last that it printed.
    """

    def __init__(self, system: str, why: str, said: str = "") -> None:
        super().__init__(f"{system}: {why}" + (f"\n{said}" if said else ""))
        self.system, self.why = system, why


@contextmanager
def server(system: str, command: Sequence[object], port: int, path: str, body: bytes, **env: str) -> Iterator[str]:
    """A peer, once it answers right; ended with all that it has started.

    Raises:
        PeerError: it does not answer.
    """
    if not is_free(port):
        raise PeerError(system, f"port {port} is taken by {holder(port) or 'somebody'}")
    with tempfile.TemporaryFile() as printed:
        started = subprocess.Popen(
            [str(word) for word in command],
            env=os.environ
            | {"OMP_NUM_THREADS": "1", "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
            | env,
            stdout=printed,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        url = f"http://127.0.0.1:{port}{path}"
        try:
            if why := _silent(started, url, body):
                printed.seek(0)
                raise PeerError(system, why, printed.read()[-LAST_WORDS:].decode(errors="replace"))
            yield url
        finally:
            _end(started)


def _silent(started: subprocess.Popen[bytes], url: str, body: bytes) -> str:
    """Wait until it answers with 200; else why it does not: it is over, or takes too long."""
    end, last = time.monotonic() + START_SECONDS, "nobody listens"
    while time.monotonic() < end:
        try:
            answer = httpx.post(url, content=body, headers={"Content-Type": "application/json"}, timeout=5)
            if answer.status_code == 200:
                return ""
            last = f"the last answer had status {answer.status_code}"
        except httpx.HTTPError as error:
            last = "nobody listens" if isinstance(error, httpx.ConnectError) else type(error).__name__
        if started.poll() is not None:
            return f"ended with {started.returncode} before it answered"
        time.sleep(0.5)
    return f"no good answer within {START_SECONDS} s: {last}"


def _end(started: subprocess.Popen[bytes]) -> None:
    """End it and all that it has started, also what leads a group of its own, as HAProxy and Ray's processes do."""
    family: list[psutil.Process] = []
    with suppress(psutil.NoSuchProcess):
        family = psutil.Process(started.pid).children(recursive=True)
    # One that could not start has ended itself.
    with suppress(ProcessLookupError):
        os.killpg(started.pid, signal.SIGTERM)
    try:
        started.wait(20)
    except subprocess.TimeoutExpired:
        os.killpg(started.pid, signal.SIGKILL)
        started.wait()
    for process in psutil.wait_procs(family, timeout=5)[1]:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(family, timeout=5)
