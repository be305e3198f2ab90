"""What the front door adds to the configuration that Ray writes: seen on HAProxy itself, before two replicas of which
one dies whenever it is asked.
"""

import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from raypipe.errors import ServiceError
from raypipe.services import ServicesConfig, front_door
from raypipe.services.front_door import PROMPT
from tests.client.server import serving

CONFIG = """
defaults
    mode http
    timeout connect 1s
    timeout client 5s
    timeout server 5s
    option redispatch 1
    retry-on {retry_on}
    retries {retries}
    balance roundrobin
frontend http_frontend
    bind :{port}
    default_backend replicas
backend replicas
    default-server check inter 60s observe layer4 error-limit {observe_error_limit} on-error mark-down
    {servers}
"""
BODY = b'{"carrier": "UA"}'
HEAD = f"POST /flights/predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(BODY)}\r\n\r\n".encode()
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture
def replica() -> Iterator[Callable[[bytes], int]]:
    """Replicas that take a whole request and say something, or nothing, and close; gives their ports."""
    listening: list[socket.socket] = []

    def start(says: bytes) -> int:
        listener = socket.create_server(("127.0.0.1", 0))
        listening.append(listener)
        threading.Thread(target=serve, args=(listener, says), daemon=True).start()
        port: int = listener.getsockname()[1]
        return port

    yield start
    for listener in listening:
        listener.close()


def serve(listener: socket.socket, says: bytes) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:  # the test is over
            return
        with connection, suppress(OSError):
            found = b""
            while not found.endswith(BODY) and (more := connection.recv(4096)):
                found += more
            connection.sendall(says)


def test_what_a_dying_replica_was_asked_is_asked_of_another_one(
    tmp_path: Path, free_port: Callable[[], int], replica: Callable[[bytes], int]
) -> None:
    """Most clients send a request's body after its head: a moment in which it must not be passed on."""
    servers = [f"server dying 127.0.0.1:{replica(b'')}", f"server well 127.0.0.1:{replica(ANSWER)}"]
    assert answers(tmp_path, free_port(), servers, 6) == [b"HTTP/1.1 200 OK"] * 6


def test_where_all_replicas_that_it_knows_are_dead_serves_own_proxy_answers(
    tmp_path: Path, free_port: Callable[[], int], replica: Callable[[bytes], int]
) -> None:
    """Those that took their place are not known yet; even the first caller waits for no check."""
    alive = replica(ANSWER)
    # Checks have not found out yet.
    servers = [f"server dead{i} 127.0.0.1:{free_port()} port {alive}" for i in range(2)]
    servers.append(f"server fallback 127.0.0.1:{alive} backup")
    assert answers(tmp_path, free_port(), servers, 3) == [b"HTTP/1.1 200 OK"] * 3


def answers(folder: Path, port: int, servers: list[str], many: int) -> list[bytes]:
    """What callers get from HAProxy before these servers."""
    haproxy = front_door._haproxy()
    if haproxy is None:
        pytest.skip("there is no HAProxy for this machine")
    names = ("retry_on", "retries", "observe_error_limit")
    settings = {name: PROMPT[f"RAY_SERVE_HAPROXY_{name.upper()}"] for name in names}
    config, program = folder / "haproxy.cfg", folder / "haproxy"
    config.write_text(CONFIG.format(port=port, servers="\n    ".join(servers), **settings))
    program.write_text(front_door.launcher(haproxy))
    running = subprocess.Popen(["sh", str(program), "-db", "-f", str(config)], stderr=subprocess.DEVNULL)
    try:
        until_it_listens(port)
        return [asked(port) for _ in range(many)]
    finally:
        running.terminate()
        running.wait()


def until_it_listens(port: int) -> None:
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError("HAProxy did not start")


def asked(port: int) -> bytes:
    """The first line of the answer to one request, head first."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(HEAD)
        time.sleep(0.05)
        connection.sendall(BODY)
        return connection.recv(4096).partition(b"\r\n")[0]


def test_why_serve_did_not_start_is_told_without_colours_and_the_proxy_s_own_words_first(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    alert = "[ALERT] (7) : Binding for frontend grpc_frontend: cannot bind socket (Address already in use)"
    said = f"ray.exceptions.RayTaskError(RuntimeError): \x1b[36mready()\x1b[39m (pid=7)\n  {alert}\n"
    with serving() as server:
        server.answers = {front_door.APPLICATIONS: lambda asked: (500, said.encode())}  # type: ignore[dict-item]
        config = ServicesConfig(tmp_path, serve_port=free_port(), dashboard_port=int(server.url.rpartition(":")[2]))
        with pytest.raises(ServiceError, match="Serve did not start: ") as told:
            front_door.open_door(config, 5.0)
    assert alert in str(told.value)
    assert "\x1b" not in str(told.value)
