"""What stands for Ray's head: the Jobs API, and the memory of it (GCS).

One process, which takes each job once under its name, says how it stands, and forgets all when it is killed; what it
had started lives on as an orphan.
"""

import json
import os
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from benchmarks.kills.deaths import ended, note
from benchmarks.kills.world import in_child, trainer


def cluster(workspace: Path, port: int, failpoint: str) -> None:
    """Keep jobs, until killed. The first attempt's trainer acts at the failpoint."""
    jobs: dict[str, int] = {}
    states: dict[str, str] = {}

    class Api(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.removeprefix("/api/jobs/")
            found = states.get(name)
            self._say(*((404, "no such job") if found is None else (200, json.dumps({"status": found}))))

        def do_POST(self) -> None:
            text = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.path.endswith("/stop"):
                self._say(200, "{}")
                return
            name = json.loads(text)["submission_id"]
            if name in states:
                self._say(500, "there is one of this name")
                return
            note(workspace / "jobs", name)
            number, attempt = map(int, name.rsplit("-", 2)[1:])
            states[name] = "RUNNING"

            def work() -> None:
                server.socket.close()
                trainer(workspace, port, number, attempt)

            jobs[name] = in_child(work, workspace, f"trainer-{attempt}", failpoint if attempt == 1 else "")
            note(workspace / "trainers", f"{name} {jobs[name]}")
            self._say(200, json.dumps({"submission_id": name}))

        def _say(self, status: int, text: str) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    class Server(HTTPServer):
        allow_reuse_address = True

        def service_actions(self) -> None:
            """Between any two questions: see which jobs have ended."""
            _reap(workspace, jobs, states)

    server = Server(("127.0.0.1", port), Api)
    server.serve_forever(poll_interval=0.02)


def _reap(workspace: Path, jobs: dict[str, int], states: dict[str, str]) -> None:
    for name, pid in list(jobs.items()):
        with suppress(ChildProcessError):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                states[name] = "SUCCEEDED" if status == 0 else "FAILED"
                ended(workspace, pid, os.waitstatus_to_exitcode(status))
                del jobs[name]
