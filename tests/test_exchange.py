"""The exchange's API over a real loopback socket: signed, paged, paced, retried, explained."""

from __future__ import annotations

import base64
import contextlib
import gzip
import itertools
import json
import re
import socket
import struct
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

import pytest
import responses
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from hypothesis import given, settings
from hypothesis import strategies as st
from support.commandline import KEY_ID, Account
from throttled import MemoryStore, Throttled

from kalshi_fills.errors import ExchangeError
from kalshi_fills.exchange import client as client_module
from kalshi_fills.exchange import deadline as wire_module
from kalshi_fills.exchange import paging
from kalshi_fills.exchange.client import RetryBudget
from kalshi_fills.exchange.decode import decode_listing
from kalshi_fills.exchange.endpoints import Exchange
from kalshi_fills.exchange.signing import Signer
from kalshi_fills.exchange.tiers import MAX_WORKERS, fetch_fills
from kalshi_fills.pipeline.window import Window
from kalshi_fills.practice.account import generate_account
from kalshi_fills.practice.exchange import Limits, PracticeExchange
from kalshi_fills.practice.faults import Faults

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
ALL = Window(None, NOW)
QUICK = RetryBudget(seconds=5, attempts=3, first_wait_seconds=0.001, longest_wait_seconds=0.003)
ROOT_PATH = "/trade-api/v2"
STALE = {"error": {"code": "header_timestamp_expired", "message": "header timestamp expired"}}


@pytest.fixture(autouse=True)
def _pace_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what one test spends of its read budget from slowing another."""
    monkeypatch.setattr(Throttled, "_DEFAULT_GLOBAL_STORE", MemoryStore())


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


@pytest.fixture
def wire() -> Iterator[Callable[..., Wire]]:
    """Start servers with a script, or with answers of which the last is given again and again."""
    running: list[Wire] = []

    def start(*answers: Any) -> Wire:
        if callable(answers[0]):
            script = answers[0]
        else:
            queue = itertools.chain(answers, itertools.repeat(answers[-1]))

            def script(_: Request) -> Answer:
                return next(queue)

        running.append(Wire(script))
        return running[-1]

    yield start
    for server in running:
        server.stop()


@pytest.fixture
def connect(api_key: Account) -> Iterator[Callable[..., Exchange]]:
    """Connect to an exchange with the practice key; connections close with the test."""
    opened: list[Exchange] = []

    def start(server: Wire | PracticeExchange | str, **options: Any) -> Exchange:
        options.setdefault("retry", QUICK)
        signer = options.pop("signer", Signer(KEY_ID, api_key.key))
        url = server if isinstance(server, str) else server.url
        opened.append(Exchange(url, signer, **options))
        return opened[-1]

    yield start
    for exchange in opened:
        exchange.close()


Connect = Callable[..., Exchange]
Serve = Callable[..., PracticeExchange]
Wired = Callable[..., Wire]


def walked(exchange: Exchange, **params: str) -> list[Any]:
    pages = exchange.walk("/portfolio/fills", params, "fills")
    return [item.value for items in pages for item in items]


def failure(act: Callable[[], object]) -> ExchangeError:
    """The error a pass ends with: one sentence, one hint, exit code 4."""
    with pytest.raises(ExchangeError) as caught:
        act()
    error = caught.value
    assert error.exit_code == 4
    assert error.message
    assert error.hint
    return error


def everything_said(error: BaseException) -> str:
    return "".join(traceback.format_exception(error)) + getattr(error, "hint", "")


def fill_ids(exchange: Exchange, window: Window = ALL) -> list[str]:
    return [item.value["fill_id"] for page in fetch_fills(exchange, window) for item in page.items]


def account_of(count: int, days: int = 20) -> Any:
    return generate_account(
        5, count, start=NOW - timedelta(days=days), end=NOW - timedelta(hours=1), eras="current"
    )


# Signatures


def test_rsa_and_ed25519_keys_are_let_in(api_key: Account, connect: Connect) -> None:
    rsa_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    keys = {"rsa": rsa_key.public_key(), "ed": api_key.key.public_key()}
    with PracticeExchange(account=account_of(3), keys=keys) as practice:
        for key_id, key in (("rsa", rsa_key), ("ed", api_key.key)):
            exchange = connect(practice, signer=Signer(key_id, key))
            assert len(set(fill_ids(exchange))) == 3
        swapped = connect(practice, signer=Signer("rsa", api_key.key))
        assert "does not belong to the key id" in failure(lambda: fill_ids(swapped)).message


def test_the_signed_text_is_time_method_and_path_from_the_root_without_query(
    api_key: Account, wire: Wired, connect: Connect
) -> None:
    server = wire(page())
    walked(connect(server, clock=lambda: 1795185069.5), min_ts="5", max_ts="6")
    (request,) = server.requests
    assert request.query == {"min_ts": "5", "max_ts": "6", "limit": "1000"}
    assert request.headers["kalshi-access-key"] == KEY_ID
    assert request.signed_at == 1795185069500
    text = f"1795185069500GET{ROOT_PATH}/portfolio/fills"
    api_key.key.public_key().verify(request.signature, text.encode())


def test_an_rsa_signature_is_pss_over_sha256_with_a_salt_of_32_bytes(
    wire: Wired, connect: Connect
) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    server = wire(page())
    walked(connect(server, signer=Signer("rsa", key)))
    (request,) = server.requests
    key.public_key().verify(
        request.signature,
        f"{request.signed_at}GET{ROOT_PATH}/portfolio/fills".encode(),
        padding.PSS(padding.MGF1(hashes.SHA256()), 32),
        hashes.SHA256(),
    )


def test_every_attempt_is_signed_anew(api_key: Account, wire: Wired, connect: Connect) -> None:
    server = wire(Answer(status=503), Answer(status=429), page(["a"], "c"), page(["b"]))
    clock = itertools.count(1_795_185_069)
    exchange = connect(server, clock=lambda: float(next(clock)))
    assert walked(exchange) == ["a", "b"]
    assert exchange.requests == 4
    times = [request.signed_at for request in server.requests]
    assert times == [1_795_185_069_000 + 1000 * number for number in range(4)]
    assert len({request.signature for request in server.requests}) == 4
    for request in server.requests:
        text = f"{request.signed_at}GET{ROOT_PATH}/portfolio/fills"
        api_key.key.public_key().verify(request.signature, text.encode())


def test_without_a_signer_nothing_is_signed(wire: Wired, connect: Connect) -> None:
    server = wire(Answer({"trades_created_ts": "2026-09-23T00:00:00Z"}))
    cutoff = connect(server, signer=None).cutoff()
    assert cutoff == datetime(2026, 9, 23, tzinfo=UTC)
    assert not [name for name in server.requests[0].headers if name.startswith("kalshi")]


# Pages


def test_filters_go_with_every_page_one_second_wider_on_both_sides(
    wire: Wired, connect: Connect
) -> None:
    def script(request: Request) -> Answer:
        if request.path == "/historical/cutoff":
            return Answer({"trades_created_ts": "2026-11-15T00:00:00Z"})
        number = int(request.query.get("cursor", "0"))
        return page([f"{request.path}{number}"], str(number + 1) if number < 2 else "")

    server = wire(script)
    start = datetime(2026, 11, 10, 12, 0, 0, 999_999, tzinfo=UTC)
    end = datetime(2026, 11, 20, 12, 0, 0, 1, tzinfo=UTC)
    pages = list(fetch_fills(connect(server), Window(start, end)))
    assert [page.tier for page in pages] == ["live"] * 3 + ["historical"] * 3
    asked = [request.query for request in server.requests if request.path.endswith("/fills")]
    wider = {
        "min_ts": str(int(start.timestamp()) - 1),
        "max_ts": str(int(end.timestamp()) + 2),  # the second that the end lies in, and one more
        "limit": "1000",
    }
    walk = [wider, {**wider, "cursor": "1"}, {**wider, "cursor": "2"}]
    assert asked == walk * 2


def test_a_window_without_start_asks_for_everything_before_its_end(
    wire: Wired, connect: Connect
) -> None:
    def script(request: Request) -> Answer:
        return Answer({}, 404) if request.path == "/historical/cutoff" else page()

    server = wire(script)
    assert [page.tier for page in fetch_fills(connect(server), ALL)] == ["live", "historical"]
    asked = [request.query for request in server.requests if "max_ts" in request.query]
    assert asked == [{"max_ts": str(int(NOW.timestamp()) + 1), "limit": "1000"}] * 2


def test_an_exchange_without_a_historical_tier_is_read_without_it(
    wire: Wired, connect: Connect
) -> None:
    def script(request: Request) -> Answer:
        return Answer({}, 404) if request.path.startswith("/historical") else page()

    assert [page.tier for page in fetch_fills(connect(wire(script)), ALL)] == ["live"]


def test_a_cutoff_that_is_told_only_once_is_an_error(wire: Wired, connect: Connect) -> None:
    told = iter([Answer({"trades_created_ts": "2026-09-22T00:00:00Z"}), Answer({}, 404)])

    def script(request: Request) -> Answer:
        return next(told) if request.path == "/historical/cutoff" else page()

    with pytest.raises(ExchangeError, match="cutoff once and then no more"):
        list(fetch_fills(connect(wire(script)), ALL))


def test_both_tiers_are_walked_to_the_end_live_first(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paging, "PAGE_LIMIT", 7)
    account = account_of(100)
    practice = serve(account, cutoff=NOW - timedelta(days=8))
    pages = list(fetch_fills(connect(practice), ALL))
    tiers = [page.tier for page in pages]
    assert tiers == sorted(tiers, reverse=True)
    assert {"live", "historical"} == set(tiers)
    got = [item.value["fill_id"] for page in pages for item in page.items]
    assert sorted(got) == sorted(fill.fill_id for fill in account.fills)
    assert max(len(page.items) for page in pages) == 7
    assert practice.requests["/historical/cutoff"] == 3


def test_the_historical_tier_is_left_alone_where_the_window_is_live(
    serve: Serve, connect: Connect
) -> None:
    practice = serve(account_of(20), cutoff=NOW - timedelta(days=8))
    fill_ids(connect(practice), Window(NOW - timedelta(days=2), NOW))
    assert practice.requests["/historical/fills"] == 0
    fill_ids(connect(practice), Window(NOW - timedelta(days=9), NOW))
    assert practice.requests["/historical/fills"] == 1


@pytest.mark.parametrize("end", [{}, {"cursor": ""}, {"cursor": None}, {"cursor": False}])
def test_only_a_falsy_cursor_ends_the_walk(
    end: dict[str, Any], wire: Wired, connect: Connect
) -> None:
    # A short page proves nothing, nor does an empty one.
    server = wire(page(["a"], "1"), page([], "2"), page([], "3"), Answer({"fills": ["b"], **end}))
    assert walked(connect(server)) == ["a", "b"]
    assert [request.query.get("cursor") for request in server.requests] == [None, "1", "2", "3"]


def test_a_null_list_is_an_empty_page(wire: Wired, connect: Connect) -> None:
    server = wire(Answer({"fills": None, "cursor": "1"}), Answer({"fills": None, "cursor": ""}))
    assert walked(connect(server)) == []
    assert len(server.requests) == 2


def test_a_bare_list_is_a_whole_listing(serve: Serve, connect: Connect, wire: Wired) -> None:
    assert walked(connect(wire(Answer([1, None, {"a": "b"}])))) == [1, None, {"a": "b"}]
    account = account_of(30)
    practice = serve(account, legacy_bare_list=True)
    assert sorted(set(fill_ids(connect(practice)))) == sorted(f.fill_id for f in account.fills)


def test_items_of_any_kind_come_as_they_are(wire: Wired, connect: Connect) -> None:
    body = b'{"cursor":"","fills":[null, 1.50 ,"x",[1],{"a" : 1.10}]}'
    pages = list(connect(wire(Answer(body))).walk("/portfolio/fills", {}, "fills"))
    assert [item.text for item in pages[0]] == ["null", "1.50", '"x"', "[1]", '{"a" : 1.10}']


def test_pages_that_overlap_repeat_or_come_empty_lose_nothing(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paging, "PAGE_LIMIT", 5)
    account = account_of(80)
    faults = Faults(overlap_page=0.2, repeat_page=0.2, empty_page=0.2, seed=3)
    practice = serve(account, faults=faults)
    assert set(fill_ids(connect(practice))) == {fill.fill_id for fill in account.fills}
    assert {"overlap_page", "repeat_page", "empty_page"} <= set(faults.injected)


def test_a_repeating_cursor_is_asked_again_and_then_ends_the_pass(
    wire: Wired, connect: Connect
) -> None:
    server = wire(page(["a"], "1"), page(["b"], "2"), page(["c"], "1"))
    got: list[Any] = []

    def walk() -> None:
        pages = connect(server).walk("/portfolio/fills", {}, "fills")
        for items in itertools.islice(pages, 20):
            got.extend(item.value for item in items)

    assert "cursor" in failure(walk).message
    assert got == ["a", "b"]
    cursors = [request.query.get("cursor") for request in server.requests]
    assert cursors == [None, "1"] + ["2"] * QUICK.attempts


def test_a_cursor_that_repeats_once_is_survived(wire: Wired, connect: Connect) -> None:
    server = wire(page(["a"], "1"), page(["b"], "1"), page(["b"], "2"), page(["c"]))
    assert walked(connect(server)) == ["a", "b", "c"]


@pytest.mark.parametrize("items", [[], ["old"], ["old", "old"]])
def test_more_than_20_pages_with_nothing_new_end_the_pass(
    items: list[str], wire: Wired, connect: Connect
) -> None:
    serial = itertools.count()
    server = wire(lambda _: page(items, f"c{next(serial)}"))
    walk = connect(server).walk("/portfolio/fills", {}, "fills")
    error = failure(lambda: list(itertools.islice(walk, 50)))
    assert "20 pages in a row with nothing new" in error.message
    first_is_new = bool(items)
    assert len(server.requests) == first_is_new + 20 + QUICK.attempts


def test_20_pages_with_nothing_new_are_followed(wire: Wired, connect: Connect) -> None:
    def script(request: Request) -> Answer:
        number = int(request.query.get("cursor", "0"))
        fresh = number % 21 == 0
        return page(
            [f"item {number}" if fresh else "item 0"], str(number + 1) if number < 63 else ""
        )

    assert len(set(walked(connect(wire(script))))) == 4


def test_a_walk_without_end_is_cut_off(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paging, "PAGE_LIMIT", 5)
    practice = serve(account_of(20), faults=Faults(endless_cursors=1.0))
    pages = fetch_fills(connect(practice), ALL)
    failure(lambda: list(itertools.islice(pages, 100)))
    # Several workers may each page in vain for as long as one does.
    assert practice.requests["/portfolio/fills"] < 40 * MAX_WORKERS / 2


# The seam between the tiers


def moving_cutoff(*moments: str) -> tuple[Callable[[Request], Answer], list[str]]:
    queue = itertools.chain(moments, itertools.repeat(moments[-1]))
    asked: list[str] = []

    def script(request: Request) -> Answer:
        asked.append(request.path)
        if request.path == "/historical/cutoff":
            return Answer({"trades_created_ts": next(queue)})
        return page([{"tier": request.path, "query": sorted(request.query.items())}])

    return script, asked


@pytest.mark.parametrize("moved_during", ["the live walk", "the historical walk"])
def test_the_seam_is_read_again_when_the_cutoff_moved(
    moved_during: str, wire: Wired, connect: Connect
) -> None:
    old, new = "2026-09-22T00:00:00Z", "2026-09-23T00:00:00Z"
    moments = [old, new] if moved_during == "the live walk" else [old, old, new]
    script, asked = moving_cutoff(*moments)
    server = wire(script)
    pages = list(fetch_fills(connect(server), ALL))
    assert [page.tier for page in pages] == ["live", "historical", "live", "historical"]
    assert asked == [
        "/historical/cutoff",
        "/portfolio/fills",
        "/historical/cutoff",
        "/historical/fills",
        "/historical/cutoff",
        "/portfolio/fills",
        "/historical/fills",
        "/historical/cutoff",
    ]
    low, high = datetime(2026, 9, 22, tzinfo=UTC), datetime(2026, 9, 23, tzinfo=UTC)
    for request in server.requests[5:7]:
        assert int(request.query["min_ts"]) <= low.timestamp() - 1
        assert int(request.query["max_ts"]) >= high.timestamp() + 1


def test_a_cutoff_that_stays_is_read_once_after_and_ends_it(wire: Wired, connect: Connect) -> None:
    script, asked = moving_cutoff("2026-09-22T00:00:00Z")
    assert [page.tier for page in fetch_fills(connect(wire(script)), ALL)] == ["live", "historical"]
    assert asked.count("/historical/cutoff") == 3


def test_a_cutoff_that_never_stands_still_does_not_loop_for_ever(
    wire: Wired, connect: Connect
) -> None:
    script, asked = moving_cutoff(*(f"2026-09-22T00:00:{second:02d}Z" for second in range(60)))
    with pytest.raises(ExchangeError, match="cutoff moved"):
        list(fetch_fills(connect(wire(script)), ALL))
    assert len(asked) < 40


def test_fills_that_change_tiers_between_two_pages_are_not_lost(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paging, "PAGE_LIMIT", 5)
    account = account_of(60)
    practice = serve(account, cutoff=NOW - timedelta(days=15))
    seen: set[str] = set()
    for number, read in enumerate(fetch_fills(connect(practice), ALL)):
        seen.update(item.value["fill_id"] for item in read.items)
        practice.set_cutoff(NOW - timedelta(days=max(2, 15 - number)))
    assert seen == {fill.fill_id for fill in account.fills}


def test_a_cutoff_at_zero_time_that_moves_is_survived(wire: Wired, connect: Connect) -> None:
    script, _ = moving_cutoff("0001-01-01T00:00:00Z", "2026-09-22T00:00:00Z")
    assert list(fetch_fills(connect(wire(script)), ALL))


# Retries


CHUNKED: dict[str, str | None] = {"Transfer-Encoding": "chunked", "Content-Length": None}
TROUBLES = {
    "500": Answer({}, 500),
    "502 with a web page": Answer(b"<!DOCTYPE html><html></html>", 502),
    "503": Answer({"error": {"code": "service_unavailable", "message": "later"}}, 503),
    "504": Answer(b"", 504),
    "429, flat": Answer({"error": "too many requests"}, 429),
    "429, nested": Answer({"error": {"code": "too_many_requests", "message": "slow"}}, 429),
    "reset": Answer(reset=True),
    "closed without an answer": Answer(announced=50),
    "truncated": Answer(b'{"fills":[{"a":1},', announced=500),
    "truncated without a length": Answer(b'{"fills":[{"a":1},'),
    "truncated in a chunk": Answer(b'b\r\n{"fills":[{', headers=CHUNKED),
    "truncated between chunks": Answer(b'b\r\n{"fills":[]\r\n', headers=CHUNKED),
    "web page": Answer(b"<!DOCTYPE html><html><title>Just a moment</title></html>"),
    "empty body": Answer(b""),
    "no such list": Answer({"trades": [], "cursor": ""}),
    "a list that is none": Answer({"fills": {}, "cursor": ""}),
    "a cursor that is none": Answer({"fills": [], "cursor": {"a": 1}}),
    "a number": Answer(b"5"),
    "null": Answer(b"null"),
    "two answers": Answer(b'{"fills":[],"cursor":""}{"fills":[]}'),
    "no UTF-8": Answer(b'{"fills":["\xff"],"cursor":""}'),
    "broken compression": Answer(b"no gzip", headers={"Content-Encoding": "gzip"}),
    "nested without end": Answer(b"[" * 200_000),
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_passing_trouble_is_asked_again(trouble: str, wire: Wired, connect: Connect) -> None:
    server = wire(TROUBLES[trouble], TROUBLES[trouble], page(["a"]))
    exchange = connect(server)
    assert walked(exchange) == ["a"]
    assert exchange.requests == len(server.requests) == 3


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_lasting_trouble_ends_the_pass_with_one_sentence(
    trouble: str, wire: Wired, connect: Connect
) -> None:
    server = wire(TROUBLES[trouble])
    error = failure(lambda: walked(connect(server)))
    assert len(server.requests) == QUICK.attempts
    assert "given up after 3 attempts" in error.message
    assert "GET /portfolio/fills" in error.message
    assert "\n" not in error.message + error.hint
    status = trouble.split()[0].rstrip(",")
    if status.isdigit():
        assert f"answered {status}" in error.message


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        ("reset", "reset the connection"),
        ("truncated", "sent less than it announced"),
        ("web page", "HTML instead of JSON"),
        ("empty body", "an empty body instead of JSON"),
        ("429, flat", "too many requests"),
        ("429, nested", "slow"),
    ],
)
def test_a_lasting_trouble_is_named(trouble: str, said: str, wire: Wired, connect: Connect) -> None:
    assert said in failure(lambda: walked(connect(wire(TROUBLES[trouble])))).message


def test_retries_end_within_the_budget_of_time(wire: Wired, connect: Connect) -> None:
    budget = RetryBudget(0.3, 10_000, first_wait_seconds=0.02, longest_wait_seconds=0.05)
    began = time.monotonic()
    failure(lambda: walked(connect(wire(Answer(status=503)), retry=budget)))
    assert 0.1 < time.monotonic() - began < 10


def test_a_compressed_answer_is_read(wire: Wired, connect: Connect) -> None:
    body = gzip.compress(json.dumps({"fills": ["a"], "cursor": ""}).encode())
    assert walked(connect(wire(Answer(body, headers={"Content-Encoding": "gzip"})))) == ["a"]


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("drip_seconds", [0.0, 0.0005])
def test_an_answer_in_chunks_is_read_whole(
    compressed: bool, drip_seconds: float, wire: Wired, connect: Connect
) -> None:
    items = [f"item {number}" for number in range(20)]
    body = json.dumps({"fills": items, "cursor": ""}).encode()
    headers = CHUNKED
    if compressed:
        body = gzip.compress(body)
        headers = {**CHUNKED, "Content-Encoding": "gzip"}
    chunks = [body[start : start + 7] for start in range(0, len(body), 7)] + [b""]
    sent = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    server = wire(Answer(sent, headers=headers, drip_seconds=drip_seconds))
    assert walked(connect(server)) == items


def test_faults_of_every_kind_at_once_lose_nothing(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paging, "PAGE_LIMIT", 5)
    account = account_of(120)
    faults = Faults(
        reset=0.1,
        truncate=0.1,
        empty_body=0.1,
        html_instead_of_json=0.1,
        server_error=0.1,
        throttle=0.1,
        repeat_cursor=0.05,
        overlap_page=0.1,
        seed=1,
    )
    practice = serve(account, faults=faults, cutoff=NOW - timedelta(days=9))
    patient = QUICK._replace(attempts=40)
    got = fill_ids(connect(practice, retry=patient))
    assert set(got) == {fill.fill_id for fill in account.fills}
    assert len(faults.injected) >= 7


def test_retry_after_is_honoured(wire: Wired, connect: Connect) -> None:
    slow = Answer({"error": "too many requests"}, 429, {"Retry-After": "1"})
    began = time.monotonic()
    assert walked(connect(wire(slow, page(["a"])))) == ["a"]
    assert time.monotonic() - began >= 1


def test_a_retry_after_beyond_the_budget_ends_the_pass_at_once(
    wire: Wired, connect: Connect
) -> None:
    server = wire(Answer({"error": "too many requests"}, 429, {"Retry-After": "3600"}))
    began = time.monotonic()
    failure(lambda: walked(connect(server)))
    assert time.monotonic() - began < 10
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "header",
    [
        "",
        "soon",
        "-5",
        "1e9",
        "Fri, 01 Jan 2027 00:00:00 GMT",
        "\u00b2",
    ],
)
def test_a_retry_after_that_is_no_number_does_no_harm(
    header: str, wire: Wired, connect: Connect
) -> None:
    slow = Answer({"error": "too many requests"}, 429, {"Retry-After": header})
    assert walked(connect(wire(slow, page(["a"])))) == ["a"]


def test_a_refused_connection_is_retried_and_named(connect: Connect) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    exchange = connect(f"http://127.0.0.1:{port}{ROOT_PATH}")
    assert "connection refused" in failure(lambda: walked(exchange)).message
    assert exchange.requests == QUICK.attempts


def test_a_server_that_says_nothing_is_left(
    wire: Wired, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "READ_SECONDS", 0.1)
    exchange = connect(wire(Answer(silent_seconds=0.5)))
    assert "did not answer within" in failure(lambda: walked(exchange)).message
    assert exchange.requests == QUICK.attempts


@pytest.mark.parametrize("drips_headers", [False, True])
def test_an_answer_that_drips_is_left_at_its_deadline(
    wire: Wired, connect: Connect, monkeypatch: pytest.MonkeyPatch, drips_headers: bool
) -> None:
    monkeypatch.setattr(wire_module, "ANSWER_SECONDS", 0.2)
    body = {"fills": [], "cursor": "", "pad": "x" * 100}
    server = wire(Answer(body, drip_seconds=0.02, drips_headers=drips_headers))
    began = time.monotonic()
    error = failure(lambda: walked(connect(server, retry=QUICK._replace(attempts=1))))
    assert time.monotonic() - began < 1.5
    assert "to send a page" in error.message


def test_the_deadline_of_one_answer_is_not_that_of_the_next(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire_module, "ANSWER_SECONDS", 0.5)
    monkeypatch.setattr(paging, "PAGE_LIMIT", 10)
    practice = serve(account_of(60), latency_seconds=0.2)
    exchange = connect(practice, retry=QUICK._replace(attempts=1))
    began = time.monotonic()
    assert len(walked(exchange)) == 60
    assert time.monotonic() - began > 1


# Refusals that are final


def signature_of(server: Wire) -> str:
    return server.requests[-1].headers["kalshi-access-signature"]


def test_a_stale_timestamp_is_asked_once_more_with_a_fresh_clock(
    serve: Serve, connect: Connect
) -> None:
    practice = serve(account_of(3))
    late = iter([time.time() - 60])
    exchange = connect(practice, clock=lambda: next(late, None) or time.time())
    assert exchange.as_of() is not None
    assert exchange.requests == 2


@pytest.mark.parametrize("skew", [-120, 90])
def test_a_clock_that_is_off_is_explained_with_its_skew(
    skew: int, serve: Serve, connect: Connect
) -> None:
    practice = serve(account_of(3))
    exchange = connect(practice, clock=lambda: time.time() + skew)
    error = failure(lambda: walked(exchange))
    assert exchange.requests == 2
    match = re.search(r"about (\d+) seconds off", error.message)
    assert match is not None
    assert abs(int(match.group(1)) - abs(skew)) <= 5
    assert "clock" in error.message
    assert "clock" in error.hint


@pytest.mark.parametrize(
    "date",
    [
        "",
        "yesterday",
        "Mon, 01 Jan 0001 00:00:00 -0000",
        "Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
    ],
)
def test_a_stale_timestamp_is_explained_whatever_the_date_header(
    date: str, wire: Wired, connect: Connect
) -> None:
    server = wire(Answer(STALE, 401, {"Date": date}))
    assert "timestamp stale" in failure(lambda: walked(connect(server))).message
    assert len(server.requests) == 2


def authentication(details: str) -> dict[str, Any]:
    code = "authentication_error"
    return {"error": {"code": code, "message": code, "details": details}}


FINAL = {
    "wrong key": (401, authentication("INCORRECT_API_KEY_SIGNATURE"), "refused the signature"),
    "unknown key": (401, authentication("NOT_FOUND"), "does not know this key id"),
    "other 401": (401, {"code": "x", "message": "key expired"}, "key expired"),
    "401 with a web page": (401, b"<html></html>", "refused the credentials"),
    "restricted": (403, {"error": {"code": "f", "message": "one sub-account"}}, "one sub-account"),
    "403 with a web page": (403, b"<html></html>", "forbids this key"),
    "validation": (400, {"msg": "failed on the 'lte' tag"}, "failed on the 'lte' tag"),
    "not there": (404, {"error": "page not found"}, "404: page not found"),
    "gone": (410, b"", "410"),
    "no content": (204, b"", "204"),
}


@pytest.mark.parametrize("case", FINAL)
def test_a_refusal_is_final_and_explained(case: str, wire: Wired, connect: Connect) -> None:
    status, body, said = FINAL[case]
    server = wire(Answer(body, status))
    error = failure(lambda: walked(connect(server)))
    assert len(server.requests) == 1
    assert said in error.message
    assert "\n" not in error.message + error.hint
    assert signature_of(server) not in everything_said(error)


def test_wrong_unknown_and_missing_credentials_are_told_apart(
    serve: Serve, connect: Connect, api_key: Account
) -> None:
    practice = serve(account_of(3))
    unknown = connect(practice, signer=Signer("nobody", api_key.key))
    assert "does not know this key id" in failure(lambda: walked(unknown)).message
    assert "prod and demo" in failure(lambda: walked(unknown)).hint
    nobody = connect(practice, signer=None)
    assert "signature is missing" in failure(lambda: walked(nobody)).message.replace("_", " ")


def test_an_answer_that_echoes_the_signature_does_not_spread_it(
    wire: Wired, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", logger="kalshi_fills")
    for status in (400, 401, 403, 404, 429, 503):
        echo = wire(
            lambda request, status=status: Answer(
                {
                    "error": {
                        "code": "bad",
                        "message": f"got {request.headers['kalshi-access-signature']} from you",
                        "details": request.headers["kalshi-access-signature"],
                    }
                },
                status,
            )
        )
        error = failure(lambda echo=echo: walked(connect(echo)))
        said = everything_said(error) + caplog.text + str([vars(r) for r in caplog.records])
        for request in echo.requests:
            assert request.headers["kalshi-access-signature"] not in said
        assert "got" in error.message


def test_what_the_exchange_says_stays_on_one_line(wire: Wired, connect: Connect) -> None:
    body = {"error": {"message": "first\nhint: rm -rf\r\x1b[31mred"}}
    error = failure(lambda: walked(connect(wire(Answer(body, 400)))))
    assert error.message.isprintable()


def test_a_redirect_is_refused_and_not_followed(wire: Wired, connect: Connect) -> None:
    elsewhere = wire(page(["stolen"]))
    for status in (301, 302, 307, 308):
        server = wire(Answer(b"", status, {"Location": f"{elsewhere.url}/portfolio/fills"}))
        error = failure(lambda server=server: walked(connect(server)))
        assert "redirects" in error.message
        assert len(server.requests) == 1
    assert elsewhere.requests == []


def test_a_slash_at_the_end_of_the_root_is_no_redirect(serve: Serve, connect: Connect) -> None:
    practice = serve(account_of(3))
    assert len(set(fill_ids(connect(practice.url + "/")))) == 3


# Limits, clock and cutoff


def told_limits(read: Any, costs: Any = None) -> Callable[[Request], Answer]:
    def script(request: Request) -> Answer:
        if request.path == "/account/limits":
            return Answer({}, 404) if read is None else Answer(read)
        if request.path == "/account/endpoint_costs":
            return Answer({}, 404) if costs is None else Answer(costs)
        return page()

    return script


def seconds_for(exchange: Exchange, requests: int) -> float:
    exchange.learn_limits()
    began = time.monotonic()
    for _ in range(requests):
        walked(exchange)
    return time.monotonic() - began


def test_the_pace_follows_the_account_s_own_limits(wire: Wired, connect: Connect) -> None:
    fast = wire(told_limits({"read": {"refill_rate": 100_000, "bucket_capacity": 100_000}}))
    slow = wire(told_limits({"read": {"refill_rate": 400, "bucket_capacity": 20}}))
    # 400 tokens a second, half of them ours, 10 a request: the 5 after the first wait 50 ms each.
    slowly = seconds_for(connect(slow, rate_share=0.5), 6)
    assert slowly >= 0.22
    assert seconds_for(connect(fast, rate_share=0.5), 6) < slowly


@pytest.mark.parametrize(
    "read",
    [
        None,
        {"usage_tier": "basic"},
        {"read": 20, "write": 10},
        {"read": {"refill_rate": "many", "bucket_capacity": None}},
        {"read": {"refill_rate": 0, "bucket_capacity": -1}},
    ],
    ids=["404", "no read", "flat numbers", "no numbers", "not positive"],
)
def test_limits_that_are_not_told_are_those_of_the_basic_tier(
    read: Any, wire: Wired, connect: Connect
) -> None:
    # 200 tokens a second, half of them ours, 10 a request, 10 requests at once.
    spent = seconds_for(connect(wire(told_limits(read)), rate_share=0.5), 14)
    assert 0.25 < spent < 10


def test_dearer_endpoints_are_paced_by_their_own_cost(wire: Wired, connect: Connect) -> None:
    read = {"read": {"refill_rate": 1000, "bucket_capacity": 100}}
    costs = {
        "default_cost": 10,
        "endpoint_costs": [
            {"method": "GET", "path": f"{ROOT_PATH}/portfolio/fills", "cost": 100},
            {"method": "POST", "path": f"{ROOT_PATH}/portfolio/fills", "cost": 1},
            "junk",
            {"method": "GET"},
        ],
    }
    # 1000 tokens a second, 100 a request: 10 a second.
    assert seconds_for(connect(wire(told_limits(read, costs)), rate_share=1.0), 5) >= 0.35


def test_a_paced_walk_is_never_throttled(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paging, "PAGE_LIMIT", 5)
    limits = Limits(refill_rate=1000, bucket_capacity=60)
    practice = serve(account_of(75), limits=limits, enforce_limits=True)
    exchange = connect(practice, rate_share=0.5)
    exchange.learn_limits()
    assert len(set(fill_ids(exchange))) == 75
    assert practice.throttled == 0


def test_a_key_refused_at_the_limits_ends_the_pass(wire: Wired, connect: Connect) -> None:
    server = wire(Answer(authentication("NOT_FOUND"), 401))
    assert "does not know this key id" in failure(connect(server).learn_limits).message


def test_as_of_is_the_time_told(serve: Serve, connect: Connect) -> None:
    told = connect(serve(account_of(3), as_of_lag_seconds=30)).as_of()
    assert told is not None
    assert told.utcoffset() == timedelta(0)
    assert 29 <= (datetime.now(UTC) - told).total_seconds() <= 40


@pytest.mark.parametrize(
    "answer",
    [
        Answer({}, 404),
        Answer({"error": {"message": "restricted"}}, 403),
        Answer({}),
        Answer({"as_of_time": None}),
        Answer({"as_of_time": 1795185069}),
        Answer({"as_of_time": "soon"}),
        Answer({"as_of_time": "2026-11-20T15:02:14"}),
        Answer({"as_of_time": "0001-01-01T00:00:00+10:00"}),
    ],
)
def test_as_of_is_none_where_it_is_not_to_be_had(
    answer: Answer, wire: Wired, connect: Connect
) -> None:
    assert connect(wire(answer)).as_of() is None


def test_a_key_of_one_subaccount_gets_its_fills_and_no_time(serve: Serve, connect: Connect) -> None:
    account = account_of(20)
    exchange = connect(serve(account, restricted_subaccount=1))
    assert exchange.as_of() is None
    own = {fill.fill_id for fill in account.fills if fill.subaccount == 1}
    assert set(fill_ids(exchange)) == own != set()


def test_no_historical_tier_is_no_error_and_a_cutoff_without_time_is_one(
    wire: Wired, connect: Connect
) -> None:
    assert connect(wire(Answer({}, 404))).cutoff() is None
    for body in ({}, {"trades_created_ts": None}, {"trades_created_ts": "soon"}):
        error = failure(connect(wire(Answer(body))).cutoff)
        assert "trades_created_ts" in error.message


def test_a_window_is_half_open() -> None:
    start, end = NOW - timedelta(hours=1), NOW
    window = Window(start, end)
    moment = timedelta(microseconds=1)
    assert window.holds(start)
    assert window.holds(end - moment)
    assert not window.holds(start - moment)
    assert not window.holds(end)
    assert Window(None, end).holds(datetime(1970, 1, 1, tzinfo=UTC))


# Decoding


def test_items_keep_their_own_text_and_their_exact_numbers() -> None:
    text = (
        ' { "more" : {"fills": [1]} , "fills" : [ {"price": 0.10, "n": 1e-2} , NaN,\n'
        '"\\u00e9 ]", [1.50], 123456789012345678901234567890123 ], "cursor" : "next" } \n'
    )
    items, cursor = decode_listing(text, "fills")
    assert cursor == "next"
    assert [item.text for item in items] == [
        '{"price": 0.10, "n": 1e-2}',
        "NaN",
        '"\\u00e9 ]"',
        "[1.50]",
        "123456789012345678901234567890123",
    ]
    assert items[0].value == {"price": Decimal("0.10"), "n": Decimal("0.01")}
    assert str(items[0].value["price"]) == "0.10"  # type: ignore[index]
    assert isinstance(items[1].value, Decimal)
    assert items[1].value.is_nan()
    assert items[2].value == "\u00e9 ]"
    assert items[4].value == 123456789012345678901234567890123


@pytest.mark.parametrize("gap", ["", " ", "\n"])
def test_numbers_are_exact_and_texts_their_own_however_the_list_is_spaced(gap: str) -> None:
    texts = [
        '{"price":0.10,"n":1e-2}',
        '{"a":[{"b":1.50}],"c":-0.0}',
        '{"s":"},{"}',
        '{"s":"}]","t":123456789012345678901234567890123}',
    ]
    for listed in (texts, texts[:1], texts[:2], texts[2:]):
        body = f'{{"cursor":"next","fills":[{gap}{f",{gap}".join(listed)}{gap}],"more":[0.1]}}'
        items, cursor = decode_listing(body, "fills")
        assert cursor == "next"
        assert [item.text for item in items] == listed
        for item in items:
            assert item.value == json.loads(item.text, parse_float=Decimal)
    (item,), _ = decode_listing(f'{{"fills":[{gap}{texts[0]}]}}', "fills")
    assert isinstance(item.value, dict)
    assert [str(number) for number in item.value.values()] == ["0.10", "0.01"]


@pytest.mark.parametrize("text", ["[]", " [ ] ", '{"fills":[]}', '{"cursor":"","fills":null}'])
def test_nothing_is_an_empty_listing(text: str) -> None:
    assert decode_listing(text, "fills") == ([], "")


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "null", "5", '"fills"', "{", "[", "{}", "[1", "[1,", "[1,]", "[1 2]", "[]x"),
        *('{"fills"}', '{"fills":}', '{"fills":[}', '{"fills":[]', '{"fills":[],', "{fills:[]}"),
        *('{"fills":5}', '{"fills":"x"}', '{"fills":{}}', '{"cursor":""}', "{1:[]}", "{,}"),
        *('{"fills":[],"cursor":5}', '{"fills":[],"cursor":["x"]}', '{"fills":[]}{}', "\ufeff[]"),
        *("<html>", "[01]", "[+1]", "['a']", '["\n"]', '["\\x"]', "[tru]"),
    ],
)
def test_what_is_no_listing_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # the decoder's own text is nobody's promise
        decode_listing(text, "fills")


words = st.text(max_size=6) | st.sampled_from(["},{", "}]", '"fills":[{', '\\"', "} ,", "fills"])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4),
    max_leaves=10,
)
objects = st.dictionaries(words, json_values, max_size=4)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(objects, max_size=6) | st.lists(json_values, max_size=6),
    st.text(max_size=8),
    st.dictionaries(words.filter(lambda key: key not in ("fills", "cursor")), json_values),
    st.sampled_from([None, 1, "\t"]),
    st.sampled_from([(",", ":"), (", ", ": "), (",\n", " :")]),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_any_listing_is_read_as_it_was_written(
    items: list[Any],
    cursor: str,
    more: dict[str, Any],
    indent: Any,
    separators: tuple[str, str],
    ascii_only: bool,
    rng: Any,
) -> None:
    entries = [("fills", items), ("cursor", cursor), *more.items()]
    rng.shuffle(entries)
    text = json.dumps(dict(entries), indent=indent, separators=separators, ensure_ascii=ascii_only)
    got, following = decode_listing(text, "fills")
    assert [item.value for item in got] == items
    assert [json.loads(item.text) for item in got] == items
    assert all(item.text in text for item in got)
    assert following == cursor


@pytest.mark.parametrize(
    "text",
    [
        '{"a":{"fills":[{"x":9}]},"fills":[{"x":1},{"x":2}],"cursor":""}',
        '{"a":{"fills":[{"x":1},5]},"fills":[ {"x":1},{"x":2}],"cursor":""}',
        '{"fills":[{"x":9},5],"fills":[{"x":1},{"x":2}],"cursor":""}',
        '{"fills":[{"x":1},{"x":2}],"cursor":"","a":[{"fills":[{"x":9}]}]}',
        '{"cursor":"}]","fills":[{"x":1},{"x":2}],"cursor":""}',
        '{"fills":[{"x":1} , {"x":2}],"cursor":""}',
    ],
)
def test_only_the_outermost_list_of_that_name_counts_and_the_last_of_them(text: str) -> None:
    items, cursor = decode_listing(text, "fills")
    assert [item.value for item in items] == [{"x": 1}, {"x": 2}]
    assert [item.text for item in items] == ['{"x":1}', '{"x":2}']
    assert cursor == ""


@settings(max_examples=300, deadline=None)
@given(st.text('[]{}":, 0123456789.eE-ntrufalsNIy\\\n\u00e9', max_size=30))
def test_a_text_that_is_json_by_accident_is_read_and_any_other_is_a_value_error(text: str) -> None:
    for body in (text, f'{{"fills":[{text}]}}', f'{{"fills":[],"cursor":{text}}}'):
        with contextlib.suppress(ValueError):
            items, cursor = decode_listing(body, "fills")
            assert isinstance(cursor, str)
            assert all(item.text in body for item in items)


BODY = st.binary(max_size=60) | st.text(max_size=60).map(str.encode)


@settings(max_examples=60, deadline=None)
@given(BODY, st.sampled_from([200, 201, 204, 301, 400, 401, 403, 404, 418, 429, 500, 503]))
def test_junk_never_raises_anything_but_an_exchange_error(body: bytes, status: int) -> None:
    with responses.RequestsMock() as mock:
        mock.add(responses.GET, re.compile("http://127.0.0.1:1/"), body=body, status=status)
        exchange = Exchange("http://127.0.0.1:1/trade-api/v2", None, retry=QUICK)
        for act in (
            lambda: walked(exchange),
            exchange.as_of,
            exchange.cutoff,
            exchange.learn_limits,
        ):
            with contextlib.suppress(ExchangeError):
                act()
        exchange.close()


@pytest.mark.parametrize(
    "body",
    [
        b'{"fills":[{"price":1e999999999999999999999}],"cursor":""}',
        b'{"fills":[1],"cursor":"\\ud800"}',
        b'{"fills":[' + b"9" * 100_000 + b'],"cursor":""}',
        b'{"fills":[' + b"[" * 100_000,
        b'{"fills":[],"cursor":"' + b"x" * 100_000 + b'"}',
        b'{"fills":["\\ud800"],"cursor":""}',
    ],
    ids=["exponent", "half a character", "digits", "nested", "long cursor", "half an item"],
)
def test_hostile_json_never_raises_anything_but_an_exchange_error(
    body: bytes, wire: Wired, connect: Connect
) -> None:
    with contextlib.suppress(ExchangeError):
        walked(connect(wire(Answer(body))))


@responses.activate
def test_the_tool_names_itself_and_asks_for_json() -> None:
    responses.get(
        "http://127.0.0.1:1/trade-api/v2/portfolio/fills", json={"fills": [], "cursor": ""}
    )
    exchange = Exchange("http://127.0.0.1:1/trade-api/v2", None)
    assert walked(exchange) == []
    exchange.close()
    headers = responses.calls[0].request.headers
    assert headers["User-Agent"].startswith("kalshi-fills/")
    assert headers["Accept"] == "application/json"
