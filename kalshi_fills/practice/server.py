"""The practice exchange's sockets: HTTP/1.1 on loopback, and how sending goes wrong on request."""

import socket
import struct
import sys
import time
from email.message import Message
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol

from kalshi_fills.practice.wire import Answer

_ENDLESS_BYTES = 1 << 40
_DRIP_SECONDS = 0.02


class Answering(Protocol):
    """What answers the requests."""

    def answer(self, method: str, target: str, headers: Message) -> Answer:
        """Return the answer to one request."""
        ...

    def now_seconds(self) -> float:
        """Return the time that the Date header shows."""
        ...

    def connected(self, connection: socket.socket) -> None:
        """Note a new connection."""
        ...

    def disconnected(self, connection: socket.socket) -> None:
        """Note that a connection ended."""
        ...


class Server(ThreadingHTTPServer):
    """A server whose threads end with the process."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    exchange: Answering
    """What answers; set before the first request."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print errors of our own, but not that a client went away."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    @property
    def _exchange(self) -> Answering:
        assert isinstance(self.server, Server)
        return self.server.exchange

    def setup(self) -> None:
        """Note the connection."""
        super().setup()
        self._exchange.connected(self.connection)

    def finish(self) -> None:
        """Note that it ended."""
        self._exchange.disconnected(self.connection)
        super().finish()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base's name
        """Print nothing."""

    def do_GET(self) -> None:
        """Answer a GET."""
        self._send(self._exchange.answer("GET", self.path, self.headers))

    def _other(self) -> None:
        # A body may follow that nobody reads, so the connection cannot be used again.
        self.close_connection = True
        self._send(self._exchange.answer(self.command, self.path, self.headers))

    do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = _other

    def _send(self, answer: Answer) -> None:
        if answer.mishap == "reset":
            # Lingering for no time turns the close into a reset.
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.connection.close()
            self.close_connection = True
            return
        if answer.mishap == "truncate":
            self.close_connection = True
        length = sum(map(len, answer.chunks))
        if answer.mishap == "endless_body":
            length += _ENDLESS_BYTES
        lines = [
            f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}",
            f"Date: {self.date_time_string(self._exchange.now_seconds())}",
            f"Content-Type: {answer.content_type}",
            f"Content-Length: {length}",
            *(f"{name}: {value}" for name, value in answer.headers.items()),
        ]
        if self.close_connection:
            lines.append("Connection: close")
        head = "\r\n".join((*lines, "", "")).encode("latin-1", "replace")
        if self.command == "HEAD":
            self.connection.sendall(head)
        elif answer.mishap == "truncate":
            body = b"".join(answer.chunks)
            self.connection.sendall(head + body[: length // 2])
        elif answer.mishap == "endless_body":
            self.connection.sendall(b"".join((head, *answer.chunks)))
            while True:  # until the client hangs up, or the server on it
                time.sleep(_DRIP_SECONDS)
                self.connection.sendall(b" ")
        else:
            self.connection.sendall(b"".join((head, *answer.chunks)))
