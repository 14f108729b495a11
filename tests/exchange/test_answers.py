"""Answers that are too large, endless, in the wrong encoding, or not what was asked for."""

from __future__ import annotations

import gzip
import json
import os
import re
import socket
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pytest
from support.commandline import ROOT
from support.rawserver import RawServer, Script, answer, says, serving

from kalshi_fills.errors import ExchangeError
from kalshi_fills.exchange import deadline as wire_module
from kalshi_fills.exchange.client import RetryBudget
from kalshi_fills.exchange.endpoints import Exchange

QUICK = RetryBudget(seconds=5, attempts=3, first_wait_seconds=0.001, longest_wait_seconds=0.003)
MIB = 1 << 20
PAGE = {"fills": [{"a": "b"}], "cursor": ""}

Read = Callable[..., list[Any]]


@pytest.fixture
def read() -> Iterator[Read]:
    """Read a whole listing from a server."""
    opened: list[Exchange] = []

    def start(server: RawServer, **options: Any) -> list[Any]:
        options = {"retry": QUICK} | options
        exchange = Exchange(f"http://127.0.0.1:{server.port}/trade-api/v2", None, **options)
        opened.append(exchange)
        pages = exchange.walk("/portfolio/fills", {}, "fills")
        return [json.loads(item) for items in pages for item in items]

    yield start
    for exchange in opened:
        exchange.close()


def failure(act: Callable[[], object]) -> ExchangeError:
    with pytest.raises(ExchangeError) as caught:
        act()
    assert caught.value.exit_code == 4
    assert caught.value.hint
    return caught.value


def gzipped(*members: bytes) -> bytes:
    return b"".join(map(gzip.compress, members))


@cache
def bomb() -> bytes:
    """Return a megabyte or two of gzip that unpacks to a listing of 600 MiB."""
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    packed = [packer.compress(b'{"fills":["')]
    packed += [packer.compress(b"x" * MIB) for _ in range(600)]
    return b"".join([*packed, packer.compress(b'"],"cursor":""}'), packer.flush()])


def bombs(*head: str) -> Script:
    def script(_: str, connection: socket.socket) -> None:
        connection.sendall(answer(bomb(), head[0], "Content-Encoding: gzip", *head[1:]))

    return script


def millions(_: str, connection: socket.socket) -> None:
    connection.sendall(answer(b'{"fills":[' + b"0," * (28 * MIB) + b'0],"cursor":""}'))


def endless(head: str, block: bytes) -> Script:
    def script(_: str, connection: socket.socket) -> None:
        connection.sendall(head.encode())
        while True:
            connection.sendall(block)

    return script


CHUNKED = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNK = b"10000\r\n" + b" " * 0x10000 + b"\r\n"

_READER = """
import resource, sys
from kalshi_fills.errors import ExchangeError
from kalshi_fills.exchange.endpoints import Exchange
exchange = Exchange(sys.argv[1], None)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    list(exchange.walk("/portfolio/fills", {}, "fills"))
except ExchangeError as error:
    print(error.message)
print(exchange.requests, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    "script",
    [
        bombs("200 OK"),
        bombs("302 Found", "Location: /elsewhere"),
        bombs("503 Later"),
        endless(CHUNKED, CHUNK),
        endless("HTTP/1.1 200 OK\r\n\r\n", CHUNK),
        endless("HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n", CHUNK),
        millions,
    ],
    ids=[
        "gzip bomb",
        "bomb in a redirect",
        "bomb in an error",
        "endless chunks",
        "endless body",
        "a length beyond all bounds",
        "millions of numbers",
    ],
)
def test_an_answer_beyond_the_limit_ends_the_pass_in_bounded_memory(script: Script) -> None:
    with serving(script) as server:
        url = f"http://127.0.0.1:{server.port}/trade-api/v2"
        done = subprocess.run(
            [sys.executable, "-c", _READER, url],
            capture_output=True,
            text=True,
            timeout=600,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
    assert done.returncode == 0, done.stderr
    said, numbers = done.stdout.splitlines()
    requests, grown_mib = map(int, numbers.split())
    assert re.search(r"64 MiB|redirects", said), said
    assert requests == 1
    assert grown_mib < 350


def test_the_limit_is_what_it_is_set_to(read: Read) -> None:
    large = {"fills": ["x" * 2 * MIB], "cursor": ""}
    with serving(says(answer(large))) as server:
        assert read(server, max_answer_bytes=3 * MIB) == large["fills"]
        error = failure(lambda: read(server, max_answer_bytes=1 * MIB))
    assert "1 MiB" in error.message
    assert "KALSHI_FILLS_MAX_ANSWER_MIB" in error.hint
    assert len(server.heads) == 2


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "x-gzip", "identity", ""])
def test_the_encodings_that_are_asked_for_are_read(encoding: str, read: Read) -> None:
    plain = json.dumps(PAGE).encode()
    body = gzip.compress(plain) if "gzip" in encoding.lower() else plain
    with serving(says(answer(body, "200 OK", f"Content-Encoding: {encoding}"))) as server:
        assert read(server) == PAGE["fills"]
    assert "Accept-Encoding: gzip\r\n" in server.heads[0]


def test_a_gzip_of_several_members_is_read_whole(read: Read) -> None:
    plain = json.dumps({"fills": [f"item {number}" for number in range(5000)]}).encode()
    body = gzipped(plain[:100], plain[100:7000], b"", plain[7000:]) + b"\0" * 8
    with serving(says(answer(body, "200 OK", "Content-Encoding: gzip"))) as server:
        assert len(read(server)) == 5000


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip, gzip", gzip.compress(gzip.compress(b"{}"))),
        ("gzip, gzip, gzip, gzip, gzip, gzip, gzip", gzip.compress(b"{}")),
        ("br", b"\x8b\x00\x80{}\x03"),
        ("zstd", b"{}"),
        ("gzip", json.dumps(PAGE).encode()),
        ("gzip", gzip.compress(json.dumps(PAGE).encode())[:-9]),
        ("gzip", b""),
    ],
    ids=["twice", "many layers", "brotli", "zstd", "not gzip", "cut short", "empty"],
)
def test_an_encoding_that_cannot_be_read_ends_the_pass(
    encoding: str, body: bytes, read: Read
) -> None:
    with serving(says(answer(body, "200 OK", f"Content-Encoding: {encoding}"))) as server:
        failure(lambda: read(server))
    assert len(server.heads) == QUICK.attempts


def test_empty_gzip_members_without_end_end_the_pass(read: Read) -> None:
    head = "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n"
    with serving(endless(head, gzip.compress(b"") * 1000)) as server:
        failure(lambda: read(server))


def test_headers_without_end_end_the_pass(read: Read) -> None:
    with serving(endless("HTTP/1.1 200 OK\r\n", b"X-Pad: " + b"y" * 1000 + b"\r\n")) as server:
        failure(lambda: read(server))


def test_interim_answers_without_end_end_the_pass(
    read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire_module, "ANSWER_SECONDS", 0.5)
    began = time.monotonic()
    with serving(endless("", b"HTTP/1.1 100 Continue\r\n\r\n" * 50)) as server:
        failure(lambda: read(server, retry=QUICK._replace(attempts=1)))
    assert time.monotonic() - began < 120


@pytest.mark.parametrize("status", ["204 No Content", "206 Partial Content", "202 Accepted"])
def test_a_success_that_is_not_200_is_never_taken_for_a_page(status: str, read: Read) -> None:
    with serving(says(answer(PAGE, status))) as server:
        assert status[:3] in failure(lambda: read(server)).message


def test_an_error_with_status_200_says_what_the_error_is(read: Read) -> None:
    told = {"error": {"code": "maintenance", "message": "back at five"}}
    with serving(says(answer(told))) as server:
        assert "back at five" in failure(lambda: read(server)).message
    assert len(server.heads) == QUICK.attempts


@pytest.mark.parametrize(
    "first",
    [
        {"fills": ["a"], "next_cursor": "abc"},
        {"fills": ["a"], "cursor": "", "next_cursor": "abc"},
        {"fills": ["a"], "cursor": None, "nextPage": "abc"},
        {"fills": ["a"], "cursor": "", "has_more": True},
        {"fills": [{"b": 1}], "paging": {"cursors": {"next": "abc"}}},
        {"paging": {"cursors": {"next": "abc"}}, "fills": [{"b": 1}, 2]},
    ],
)
def test_pages_that_are_linked_in_another_way_are_never_taken_for_the_last(
    first: dict[str, Any], read: Read
) -> None:
    with serving(says(answer(first))) as server:
        assert "cursor" in failure(lambda: read(server)).message


@pytest.mark.parametrize(
    "last",
    [
        {"fills": ["a"], "cursor": "", "prev_cursor": "abc"},
        {"fills": ["a"], "cursor": "", "next_cursor": ""},
        {"fills": ["a"], "cursor": "", "has_more": False},
        {"fills": ["a"], "cursor": "", "total_pages": 3, "page_size": 1000},
        {"fills": ["a"], "paging": {"next": None}},
    ],
)
def test_other_keys_beside_the_list_do_no_harm(last: dict[str, Any], read: Read) -> None:
    with serving(says(answer(last))) as server:
        assert read(server) == ["a"]


def test_a_byte_order_mark_is_no_reason_to_fail(read: Read) -> None:
    with serving(says(answer(b"\xef\xbb\xbf" + json.dumps(PAGE).encode()))) as server:
        assert read(server) == PAGE["fills"]


@pytest.mark.parametrize(
    "body",
    [
        json.dumps(PAGE).encode("utf-16"),
        b'{"fills":[],"cursor":NaN}',
        b'{"fills":[],"cursor":1}',
        b'{"fills":[],"cursor":["a"]}',
        b'{"fills":["\xff"],"cursor":""}',
        b"<html>maintenance</html>",
    ],
    ids=["utf-16", "NaN", "number", "list", "not utf-8", "maintenance"],
)
def test_what_cannot_be_read_is_asked_again_and_then_ends_the_pass(body: bytes, read: Read) -> None:
    with serving(says(answer(body))) as server:
        failure(lambda: read(server))
    assert len(server.heads) == QUICK.attempts


def test_cursors_of_a_hundred_kilobytes_are_not_all_remembered(read: Read) -> None:
    cursors = iter(range(10_000))

    def script(head: str, connection: socket.socket) -> None:
        number = next(cursors)
        page = {"fills": [number], "cursor": f"{number:030000d}" if number < 30 else ""}
        connection.sendall(answer(page))

    with serving(script) as server:
        assert read(server) == list(range(31))


def test_a_cursor_that_stands_for_the_first_page_again_ends_the_pass(read: Read) -> None:
    serial = iter(range(10_000))

    def script(_: str, connection: socket.socket) -> None:
        connection.sendall(answer({"fills": ["a", "b"], "cursor": f"garbage {next(serial)}"}))

    with serving(script) as server:
        assert "nothing new" in failure(lambda: read(server)).message
    assert len(server.heads) < 40


def test_http_1_0_and_connections_closed_in_between_are_survived(read: Read) -> None:
    def script(head: str, connection: socket.socket) -> None:
        number = 1 + int(re.search(r"cursor=(\d+)", head).group(1)) if "cursor" in head else 0  # type: ignore[union-attr]  # it is there
        body = json.dumps({"fills": [number], "cursor": str(number) if number < 5 else ""})
        version = "1.0" if number % 2 else "1.1"
        # It says that the connection stays, and closes it.
        head = f"HTTP/{version} 200 OK\r\nContent-Length: {len(body)}\r\nConnection: keep-alive"
        connection.sendall(f"{head}\r\n\r\n{body}".encode())

    with serving(script) as server:
        assert read(server) == [0, 1, 2, 3, 4, 5]


def test_the_loopback_address_of_version_6_is_reached() -> None:
    try:
        server = RawServer(says(answer(PAGE)), host="::1")
    except OSError:
        pytest.skip("no IPv6 on this machine")
    exchange = Exchange(f"http://[::1]:{server.port}/trade-api/v2", None, retry=QUICK)
    items = [json.loads(item) for page in exchange.walk("/x", {}, "fills") for item in page]
    assert items == PAGE["fills"]
    exchange.close()
    server.close()
