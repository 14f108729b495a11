"""A server on loopback that answers with whatever bytes a test writes."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import Any

Script = Callable[[str, socket.socket], None]
"""Given the head of a request, and the connection to answer on; it is closed afterwards."""


class RawServer:
    """Calls a script for each request; every head that came is kept."""

    def __init__(
        self, script: Script, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
    ) -> None:
        self.heads: list[str] = []
        self._script = script
        self._tls = tls
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.socket(family, socket.SOCK_STREAM)
        self._listener.bind((host, 0))
        self._listener.listen(32)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            stack.callback(connection.close)
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
                stack.callback(connection.close)
            head = read_head(connection)
            if head:
                self.heads.append(head)
                self._script(head, connection)


def read_head(connection: socket.socket) -> str:
    """Read a request up to its empty line."""
    came = b""
    while b"\r\n\r\n" not in came:
        block = connection.recv(65536)
        if not block:
            return ""
        came += block
    return came.decode("latin-1")


def answer(body: Any, status: str = "200 OK", *headers: str) -> bytes:
    """Return a whole answer; a body that is not bytes is sent as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(content)}", "Connection: close", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + content


def says(*answers: bytes) -> Script:
    """Return a script that gives these answers in turn, and the last one again and again."""
    left = list(answers)
    lock = threading.Lock()

    def script(_: str, connection: socket.socket) -> None:
        with lock:
            mine = left.pop(0) if len(left) > 1 else left[0]
        connection.sendall(mine)

    return script


@contextlib.contextmanager
def serving(script: Script, **options: Any) -> Iterator[RawServer]:
    """Run a server for as long as the context lasts."""
    server = RawServer(script, **options)
    try:
        yield server
    finally:
        server.close()
