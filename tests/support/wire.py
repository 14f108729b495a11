"""An exchange of a few scripted answers, over a real socket, and clients of it."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

import pytest

from kalshi_fills.errors import ExchangeError
from kalshi_fills.exchange.client import RetryBudget
from kalshi_fills.exchange.endpoints import Exchange
from kalshi_fills.exchange.tiers import fetch_fills
from kalshi_fills.pipeline.values import json_decoder
from kalshi_fills.pipeline.window import Window
from kalshi_fills.practice.account import generate_account
from kalshi_fills.practice.exchange import PracticeExchange

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


ALL = Window(None, NOW)


QUICK = RetryBudget(seconds=5, attempts=3, first_wait_seconds=0.001, longest_wait_seconds=0.003)


ROOT_PATH = "/trade-api/v2"


@dataclass
class Request:
    """One request as it came over the wire."""

    path: str
    query: dict[str, str]
    headers: dict[str, str]

    @property
    def signed_at(self) -> int:
        return int(self.headers["kalshi-access-timestamp"])

    @property
    def signature(self) -> bytes:
        return base64.b64decode(self.headers["kalshi-access-signature"], validate=True)


@dataclass
class Answer:
    """One answer; `body` is JSON unless it is bytes already."""

    body: Any = b""
    status: int = 200
    headers: dict[str, str | None] = field(default_factory=dict)
    """Besides Date and Content-Length; None leaves one of these out."""
    announced: int | None = None
    """Content-Length, where it is to be wrong."""
    reset: bool = False
    silent_seconds: float = 0.0
    drip_seconds: float = 0.0
    """Pause after each byte of the body."""
    drips_headers: bool = False
    """Pause after each byte of the headers, too."""


def page(items: Any = (), cursor: Any = "", name: str = "fills") -> Answer:
    return Answer({name: list(items), "cursor": cursor})


class Wire:
    """An HTTP server on loopback that answers by script and remembers what it was asked."""

    def __init__(self, script: Callable[[Request], Answer]) -> None:
        self.requests: list[Request] = []
        wire = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def do_GET(self) -> None:
                path, _, query = self.path.partition("?")
                request = Request(
                    path.removeprefix(ROOT_PATH),
                    {name: values[-1] for name, values in parse_qs(query).items()},
                    {name.lower(): value for name, value in self.headers.items()},
                )
                wire.requests.append(request)
                with contextlib.suppress(OSError):
                    self.send(script(request))

            def send(self, answer: Answer) -> None:
                self.close_connection = True
                if answer.reset:
                    linger = struct.pack("ii", 1, 0)
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    self.connection.close()
                    return
                time.sleep(answer.silent_seconds)
                body = answer.body
                if not isinstance(body, bytes):
                    body = json.dumps(body).encode()
                announced = len(body) if answer.announced is None else answer.announced
                headers = {"Date": self.date_time_string(), "Content-Length": announced}
                headers |= answer.headers
                lines = [f"HTTP/1.1 {answer.status} X", "Connection: close"]
                lines += [
                    f"{name}: {value}" for name, value in headers.items() if value is not None
                ]
                head = "\r\n".join([*lines, "", ""]).encode("latin-1")
                at_once, slowly = (b"", head + body) if answer.drips_headers else (head, body)
                if not answer.drip_seconds:
                    at_once, slowly = at_once + slowly, b""
                self.connection.sendall(at_once)
                for number in range(len(slowly)):
                    self.connection.sendall(slowly[number : number + 1])
                    time.sleep(answer.drip_seconds)

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, *_: Any) -> None:
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}{ROOT_PATH}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def paths(self) -> list[str]:
        return [request.path for request in self.requests]


Connect = Callable[..., Exchange]


Serve = Callable[..., PracticeExchange]


Wired = Callable[..., Wire]


def walked(exchange: Exchange, **params: str) -> list[Any]:
    pages = exchange.walk("/portfolio/fills", params, "fills")
    return [json_decoder.decode(item) for items in pages for item in items]


def failure(act: Callable[[], object]) -> ExchangeError:
    """The error a pass ends with: one sentence, one hint, exit code 4."""
    with pytest.raises(ExchangeError) as caught:
        act()
    error = caught.value
    assert error.exit_code == 4
    assert error.message
    assert error.hint
    return error


def fill_ids(exchange: Exchange, window: Window = ALL) -> list[str]:
    pages = fetch_fills(exchange, window)
    return [json.loads(item)["fill_id"] for page in pages for item in page.items]


def account_of(count: int, days: int = 20) -> Any:
    return generate_account(
        5, count, start=NOW - timedelta(days=days), end=NOW - timedelta(hours=1), eras="current"
    )


def authentication(details: str) -> dict[str, Any]:
    code = "authentication_error"
    return {"error": {"code": code, "message": code, "details": details}}
