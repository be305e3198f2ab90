"""A TCP proxy on loopback that can be cut, slowed and healed: the network between a client and a server."""

import socket
import time
from threading import Event, Thread
from types import TracebackType
from typing import Self


class Proxy:
    """Hands bytes on to one address.

    Args:
        to: host and port of the server, or the path of its Unix socket.
        port: to listen on; 0: a free one.
    """

    def __init__(self, to: tuple[str, int] | str, port: int = 0) -> None:
        self._to = to
        self._server = socket.create_server(("127.0.0.1", port))
        self.port: int = self._server.getsockname()[1]
        self.delay = 0.0
        self._up = Event()
        self._up.set()
        self._open: set[socket.socket] = set()
        Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """End every connection and refuse new ones, in the middle of whatever is under way."""
        self._up.clear()
        for one in list(self._open):
            _reset(one)

    def heal(self) -> None:
        """Hand on again."""
        self._up.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.cut()
        self._server.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            if not self._up.is_set():
                _reset(client)
                continue
            try:
                server = self._reach()
            except OSError:
                _reset(client)
                continue
            self._open |= {client, server}
            for pair in ((client, server), (server, client)):
                Thread(target=self._pump, args=pair, daemon=True).start()

    def _reach(self) -> socket.socket:
        if isinstance(self._to, str):
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._to)
            return server
        server = socket.create_connection(self._to, timeout=5)
        server.settimeout(None)
        return server

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65_536):
                if self.delay:
                    time.sleep(self.delay)
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            _reset(source)
            _reset(target)
        self._open -= {source}


def _reset(one: socket.socket) -> None:
    try:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        one.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    one.close()
