"""A tiny HTTP server that answers as it is told, and remembers what it was asked."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, object]


@dataclass
class Asked:
    """One request that came in."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class Server:
    """Answers by path; a path that nobody set is a 404 as the service writes it."""

    url: str = ""
    answers: dict[str, Answer | Callable[[Asked], Answer]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)

    def answer(self, asked: Asked) -> Answer:
        self.asked.append(asked)
        told = self.answers.get(asked.path, (404, {"error": {"field": "path", "message": "is not a path here"}}))
        return told(asked) if callable(told) else told


@contextmanager
def serving() -> Iterator[Server]:
    """A server on a free port of this machine."""
    server = Server()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._handle()

        def do_POST(self) -> None:
            self._handle()

        def log_message(self, *args: object) -> None:
            pass

        def _handle(self) -> None:
            raw = self.rfile.read(int(self.headers.get("content-length") or 0))
            headers = {name.lower(): text for name, text in self.headers.items()}
            asked = Asked(self.command, self.path, headers, json.loads(raw) if raw else None)
            status, told = server.answer(asked)
            body = told if isinstance(told, bytes) else json.dumps(told).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    http.handle_error = lambda *_: None  # a client that hangs up is what some tests do
    server.url = f"http://127.0.0.1:{http.server_address[1]}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


FIELDS = [
    {"name": "carrier", "required": True, "type": "string"},
    {"name": "flight", "required": True, "type": "integer"},
    {"name": "tailnum", "required": False, "type": ["string", "null"]},
    {"name": "scheduled_at", "required": True, "type": "string", "format": "date-time"},
]


def flights(server: Server) -> None:
    """Let a server answer as a served pipeline does: the probability is the row's flight number in per mille."""

    def predict(asked: Asked) -> Answer:
        about = {"request_id": asked.headers["x-request-id"], "model": "flights", "version": 3}
        rows = asked.body.get("rows", [asked.body])
        for number, row in enumerate(rows):
            if type(row.get("flight")) is not int:
                where = f"rows[{number}].flight" if "rows" in asked.body else "flight"
                error = {"field": where, "message": "must be a whole number, not text", "cure": "Send 1545"}
                return 422, {"error": error, "request_id": "x"}
        how = {"version": 3, "features_as_of": "2013-07-03T00:00:00Z"}
        scores = [{"probability": row["flight"] / 1000, "label": row["flight"] > 500} | how for row in rows]
        return 200, about | ({"predictions": scores} if "rows" in asked.body else scores[0])

    server.answers |= {
        "/flights/predict": predict,
        "/flights/": (
            200,
            {
                "name": "flights",
                "version": 3,
                "digest": "d",
                "algorithm": "lightgbm",
                "threshold": 0.5,
                "metrics": {"auc": 0.77},
                "fields": FIELDS,
                "features": ["carrier"],
                "example": {"carrier": "UA"},
            },
        ),
        "/-/routes": (200, {"/flights": "flights"}),
        "/-/healthz": (200, b"success"),
        "/api/version": (200, {"ray_version": "2.60.0"}),
    }
