"""An HTTP server on the loopback interface that answers as the exchange's REST API does.

It owns the wire: signatures, parameters, pages and cursors, the live and the historical tier,
limits and error bodies. What there is to serve comes from a `PracticeAccount` and may grow while
clients page through it. It binds 127.0.0.0/8 and nothing else.
"""

import base64
import binascii
import hashlib
import ipaddress
import itertools
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from email.message import Message
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from kalshi_fills.practice.account import PracticeAccount
from kalshi_fills.practice.faults import Faults
from kalshi_fills.practice.ledger import (
    SECOND_US,
    PracticeFill,
    PracticeOrder,
    PracticePosition,
    event_positions,
    rfc3339,
    to_us,
)
from kalshi_fills.practice.listing import (
    AFTER_ANY_ID,
    FIRST,
    LAST,
    Listing,
    ListingMode,
    Page,
    Place,
    bind_cursor,
    unbind_cursor,
)
from kalshi_fills.practice.portfolio import Portfolio
from kalshi_fills.practice.server import Handler, Server
from kalshi_fills.practice.wire import (
    MAX_LIMIT,
    Answer,
    Parameters,
    Refused,
    Request,
    error_answer,
    json_answer,
    unauthenticated,
)

PublicKey = RSAPublicKey | Ed25519PublicKey

PREFIX = "/trade-api/v2"
TOKENS_PER_GET = 10
CLOCK_TOLERANCE_MS = 10_000
CACHED_ROWS = 400_000
"""Rendered fills kept in memory, about 600 bytes each; more are rendered again when asked for."""

_HTML = b"<!DOCTYPE html><html><head><title>Just a moment</title></head><body></body></html>"
_PSS = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=padding.PSS.DIGEST_LENGTH)


@dataclass(frozen=True, slots=True)
class Limits:
    """The account's tier and read bucket, in tokens; a GET costs ten of them."""

    tier: str = "basic"
    refill_rate: int = 200
    """Tokens per second."""
    bucket_capacity: int = 600
    """Tokens that may be spent at once."""


BASIC = Limits()


class _Bucket:
    """A token bucket in real time; its own clock, since a pretended one may stand still."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._tokens = float(limits.bucket_capacity)
        self._filled_at = time.monotonic()
        self._lock = threading.Lock()

    def take(self, tokens: int) -> bool:
        with self._lock:
            now = time.monotonic()
            self._tokens = min(
                self._limits.bucket_capacity,
                self._tokens + (now - self._filled_at) * self._limits.refill_rate,
            )
            self._filled_at = now
            if self._tokens < tokens:
                return False
            self._tokens -= tokens
            return True


@dataclass(frozen=True, slots=True)
class _Junk:
    """An inserted item, with its own ticker, order and time for filters to match."""

    place: Place
    body: bytes
    ticker: str | None
    order_id: str | None

    @classmethod
    def of(cls, value: Any, place: Place) -> Self:
        item = value if isinstance(value, dict) else {}
        return cls(
            place,
            json.dumps(value).encode(),
            item.get("ticker") or item.get("market_ticker"),
            item.get("order_id"),
        )


_Row = PracticeFill | _Junk


def _shard(row: _Row) -> int:
    return row.exchange_index if isinstance(row, PracticeFill) else 0


def _shuffled(row: _Row) -> bytes:
    return hashlib.sha256(repr(row.place).encode()).digest()


_ORDERS: dict[str, Callable[[_Row], object] | None] = {
    "offset": None,
    "oldest_first": lambda row: row.place,
    "sharded": _shard,
    "unordered": _shuffled,
}


class PracticeExchange:
    """The practice exchange; start it with `with PracticeExchange(...) as exchange`."""

    def __init__(
        self,
        *,
        account: PracticeAccount,
        keys: Mapping[str, PublicKey],
        host: str = "127.0.0.1",
        port: int = 0,
        clock: Callable[[], float] = time.time,
        cutoff: datetime | None = None,
        orders_cutoff: datetime | None = None,
        limits: Limits = BASIC,
        enforce_limits: bool = False,
        latency_seconds: float = 0.0,
        as_of_lag_seconds: float = 0.0,
        legacy_bare_list: bool = False,
        faults: Faults | None = None,
        restricted_subaccount: int | None = None,
        largest_page: int = MAX_LIMIT,
        cached_rows: int = CACHED_ROWS,
        listing_mode: ListingMode = "keyset",
    ) -> None:
        """Take what to serve and how; nothing listens before the context is entered.

        Args:
            account: its fills, junk, orders and positions.
            keys: public keys, RSA or Ed25519, by key id.
            host: an address in 127.0.0.0/8.
            port: 0 picks a free one.
            clock: seconds since 1970; judges timestamps and tells the time to clients.
            cutoff: fills before it are in the historical tier only; None keeps all of them live.
            orders_cutoff: the same for orders no longer resting, by their last update.
            limits: what `/account/limits` says, and the bucket if enforced.
            enforce_limits: answer 429 when the bucket is empty.
            latency_seconds: added to every answer.
            as_of_lag_seconds: how far `/exchange/user_data_timestamp` lags behind the clock.
            legacy_bare_list: answer fills as one JSON list of every matching row, no cursor.
            faults: what goes wrong.
            restricted_subaccount: the keys see this subaccount only.
            largest_page: fills a page at most, however many are asked for.
            cached_rows: how many rendered fills to keep.
            listing_mode: in which order fills are listed, and what their cursors mean.

        Raises:
            ValueError: `host` is not a loopback address.
        """
        address = ipaddress.ip_address(host)
        if address.version != 4 or not address.is_loopback:
            raise ValueError(f"the practice exchange serves 127.0.0.0/8 only, not {host}")
        self._host, self._port = host, port
        self._account = account
        self._keys = dict(keys)
        self._clock = clock
        self._cutoff_us = 0 if cutoff is None else to_us(cutoff)
        self._orders_cutoff_us = 0 if orders_cutoff is None else to_us(orders_cutoff)
        self._limits = limits
        self._bucket = _Bucket(limits) if enforce_limits else None
        self._latency_seconds = latency_seconds
        self._as_of_lag_seconds = as_of_lag_seconds
        self._legacy_bare_list = legacy_bare_list
        self._faults = faults or Faults()
        self._restricted = restricted_subaccount
        self._largest_page = largest_page
        self._junk_serial = itertools.count(1)
        self._lock = threading.RLock()
        rows: list[_Row] = list(reversed(account.fills))
        rows += [
            _Junk.of(item.value, (item.at_us, f"{AFTER_ANY_ID}{next(self._junk_serial):012d}"))
            for item in account.junk
        ]
        self._listing: Listing[_Row] = Listing(rows)
        self._bodies: list[bytes | None] = [None] * len(rows)
        self._may_cache = cached_rows
        self._listing_mode = listing_mode
        self._orders: Listing[PracticeOrder] | None = None
        self._changed_orders: dict[str, Mapping[str, Any] | None] = {}
        self._moved: Counter[tuple[str, int]] = Counter()
        self._server: Server | None = None
        self._thread: threading.Thread | None = None
        self._connections: set[socket.socket] = set()
        self.requests: Counter[str] = Counter()
        """Requests by path, without the `/trade-api/v2` in front and without the query."""
        self.throttled = 0
        """429 answers sent."""
        self.served_items = 0
        """Items of fills listings sent, junk and repeats included."""
        self.portfolio = Portfolio(
            account, self._fills_oldest_first, self._now_us, self._subaccount, self._faults
        )
        """Settlements and balances; tests change there what is listed."""
        self.portfolio.largest_page = largest_page
        self._public: dict[str, Callable[[], Answer]] = {
            "/historical/cutoff": self._get_cutoff,
            "/account/endpoint_costs": self._get_endpoint_costs,
            "/exchange/status": self._get_status,
        }
        self._private: dict[str, Callable[[Request], Answer]] = {
            "/portfolio/fills": self._get_fills,
            "/historical/fills": self._get_fills,
            "/portfolio/orders": self._get_orders,
            "/historical/orders": self._get_orders,
            "/portfolio/positions": self._get_positions,
            "/portfolio/settlements": self._of_portfolio(self.portfolio.get_settlements),
            "/portfolio/balance": self._of_portfolio(self.portfolio.get_balance),
            "/portfolio/subaccounts/balances": self._of_portfolio(
                self.portfolio.get_subaccount_balances
            ),
            "/account/limits": self._get_limits,
            "/exchange/user_data_timestamp": self._get_user_data_timestamp,
        }

    # Life

    @property
    def url(self) -> str:
        """The API's base, `http://127.0.0.1:PORT/trade-api/v2`.

        Raises:
            RuntimeError: it is not listening.
        """
        if self._server is None:
            raise RuntimeError("the practice exchange is not listening")
        return f"http://{self._host}:{self._server.server_address[1]}{PREFIX}"

    def __enter__(self) -> Self:
        """Listen, and serve from a thread of its own."""
        self._server = Server((self._host, self._port), Handler)
        self._server.exchange = self
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop listening and hang up on every client."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            # A kept-alive connection would outlive the server otherwise.
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def connected(self, connection: socket.socket) -> None:
        """Note a connection, so that it can be hung up on."""
        with self._lock:
            self._connections.add(connection)

    def disconnected(self, connection: socket.socket) -> None:
        """Note that a connection ended."""
        with self._lock:
            self._connections.discard(connection)

    # Live state

    def add(self, fills: Iterable[PracticeFill]) -> None:
        """Add fills to the listing, each at its own time; late ones go in between."""
        with self._lock:
            for fill in fills:
                self._bodies.insert(self._listing.insert(fill), None)
            self._orders = None
            self.portfolio.forget()

    def set_cutoff(self, when: datetime | None) -> None:
        """Move the boundary between the tiers."""
        with self._lock:
            self._cutoff_us = 0 if when is None else to_us(when)

    def set_orders_cutoff(self, when: datetime | None) -> None:
        """Move the boundary between the tiers of orders."""
        with self._lock:
            self._orders_cutoff_us = 0 if when is None else to_us(when)

    def change_order(self, order_id: str, **changes: Any) -> None:
        """Change an order from what its fills make it, such as to a higher `fill_count`."""
        with self._lock:
            self._changed_orders[order_id] = changes

    def hide_order(self, order_id: str) -> None:
        """Leave an order out of the listings, as if it came into them late."""
        with self._lock:
            self._changed_orders[order_id] = None

    def show_order(self, order_id: str) -> None:
        """Show an order as it is again."""
        with self._lock:
            self._changed_orders.pop(order_id, None)

    def move_position(self, ticker: str, subaccount: int, contracts: Decimal) -> None:
        """Add contracts to a position without any fill, as a transfer does; yes above zero."""
        with self._lock:
            # Hundredths of a contract, so that they can be counted.
            self._moved[ticker, subaccount] += int(contracts * 100)

    def insert_item(self, value: Any, at: int | datetime = 0) -> None:
        """Add any JSON value to the listing of fills.

        Args:
            value: what to serve there.
            at: an instant, or the index counted from the newest row of both tiers together (0
                becomes the newest).
        """
        with self._lock:
            rows = self._listing.rows
            tie = f"{AFTER_ANY_ID}{next(self._junk_serial):012d}"
            if isinstance(at, datetime):
                place = (to_us(at), tie)
            elif at < len(rows):
                # Just after the row whose index it takes; later items there go further up.
                at_us, taken = rows[len(rows) - 1 - at].place
                place = (at_us, taken + tie)
            else:
                at_us = rows[0].place[0] - 1 if rows else self._now_us()
                place = (at_us, tie)
            self._bodies.insert(self._listing.insert(_Junk.of(value, place)), None)

    # Answers

    def answer(self, method: str, target: str, headers: Message) -> Answer:
        """Return the answer to one request."""
        path, _, query = target.partition("?")
        short = path.removeprefix(PREFIX)
        with self._lock:
            self.requests[short] += 1
        if self._latency_seconds > 0:
            time.sleep(self._latency_seconds)
        try:
            if method != "GET":
                answer = error_answer(405, "method_not_allowed")
                answer.headers = {"Allow": "GET"}
                return answer
            if path.startswith(PREFIX + "/") and path.endswith("/"):
                location = path.rstrip("/") + (f"?{query}" if query else "")
                return Answer(301, [], headers={"Location": location})
            if not path.startswith(PREFIX + "/"):
                return error_answer(404, "not_found")
            if short in self._public:
                return self._public[short]()
            if short not in self._private:
                return error_answer(404, "not_found")
            self._authenticate(path, headers)
            if self._bucket is not None and not self._bucket.take(TOKENS_PER_GET):
                return self._too_many()
            return self._with_faults(Request(short, headers, query))
        except Refused as refused:
            return refused.answer

    def _authenticate(self, path: str, headers: Message) -> None:
        signature = headers.get("KALSHI-ACCESS-SIGNATURE")
        if not signature:
            raise Refused(error_answer(401, "signature_is_missing_from_headers"))
        stamp = headers.get("KALSHI-ACCESS-TIMESTAMP", "")
        now_ms = int(self._clock() * 1000)
        if not (stamp.isascii() and stamp.isdigit()) or (
            abs(now_ms - int(stamp[:20])) > CLOCK_TOLERANCE_MS
        ):
            raise Refused(error_answer(401, "header_timestamp_expired"))
        key = self._keys.get(headers.get("KALSHI-ACCESS-KEY", ""))
        if key is None:
            raise unauthenticated("NOT_FOUND")
        signed = f"{stamp}GET{path}".encode()
        try:
            given = base64.b64decode(signature, validate=True)
            if isinstance(key, Ed25519PublicKey):
                key.verify(given, signed)
            else:
                key.verify(given, signed, _PSS, hashes.SHA256())
        except (InvalidSignature, binascii.Error, ValueError):
            raise unauthenticated("INCORRECT_API_KEY_SIGNATURE") from None

    def _too_many(self) -> Answer:
        with self._lock:
            self.throttled += 1
            flat = self.throttled % 2 == 1
        # Both bodies have been seen; neither comes with a Retry-After.
        if flat:
            return json_answer(429, {"error": "too many requests"})
        return error_answer(429, "too_many_requests")

    def _with_faults(self, request: Request) -> Answer:
        delay = self._faults.delay()
        if delay > 0:
            time.sleep(delay)
        match self._faults.mishap():
            case "fail_first":
                return error_answer(503, "service_unavailable")
            case "reset":
                return Answer(200, [], mishap="reset")
            case "throttle":
                return self._too_many()
            case "server_error":
                status = self._faults.server_error_status()
                if status == 502:  # this one comes from the edge, which speaks HTML
                    return Answer(status, [_HTML], content_type="text/html")
                return error_answer(status, HTTPStatus(status).phrase.lower().replace(" ", "_"))
            case "empty_body":
                return Answer(200, [])
            case "html_instead_of_json":
                return Answer(200, [_HTML], content_type="text/html; charset=utf-8")
            case "truncate" | "endless_body" as mishap:
                answer = self._private_answer(request)
                answer.mishap = mishap
                return answer
            case None:
                return self._private_answer(request)

    def _private_answer(self, request: Request) -> Answer:
        open_to_restricted = request.path.endswith(("/fills", "/orders")) or (
            request.path.endswith("/settlements") and self.portfolio.open_to_restricted
        )
        if self._restricted is not None and not open_to_restricted:
            raise self._forbidden()
        return self._private[request.path](request)

    def _forbidden(self) -> Refused:
        message = f"this API key is restricted to one sub-account ({self._restricted})"
        return Refused(error_answer(403, "forbidden", message))

    def _subaccount(self, parameters: Parameters, default: int | None = None) -> int | None:
        asked = parameters.number("subaccount", 0, 63)
        if self._restricted is None:
            return default if asked is None else asked
        if asked not in (None, self._restricted):
            raise self._forbidden()
        return self._restricted

    def _get_fills(self, request: Request) -> Answer:
        live = request.path.startswith("/portfolio")
        parameters = Parameters("GetFills" if live else "GetHistoricalFills", request.query)
        limit, cursor = parameters.limit(), parameters.text("cursor")
        # `min_ts` is inclusive and `max_ts` exclusive; the real API does not say.
        min_ts, max_ts = parameters.number("min_ts"), parameters.number("max_ts")
        match = self._fill_filter(parameters, live=live)
        with self._lock:
            low = FIRST if min_ts is None else (min_ts * SECOND_US, "")
            high = LAST if max_ts is None else (max_ts * SECOND_US, "")
            border = (self._cutoff_us, "")
            span = (max(low, border), high) if live else (low, min(high, border))
            if self._legacy_bare_list:
                page = self._listing.page(span, None, len(self._bodies) + 1, match)
            else:
                limit = min(limit, self._largest_page)
                page = self._fills_page(parameters, span, cursor, limit, match)
            bodies = [self._bodies[index] or self._render(index) for index in page.rows]
            self.served_items += len(bodies)
        if self._legacy_bare_list:
            return Answer(200, [b"[", b",".join(bodies), b"]"])
        start = f'{{"cursor":"{page.cursor}","fills":['.encode()
        return Answer(200, [start, b",".join(bodies), b"]}"])

    def _fills_page(
        self,
        parameters: Parameters,
        span: tuple[Place, Place],
        cursor: str | None,
        limit: int,
        match: Callable[[_Row], bool] | None,
    ) -> Page:
        """Return a page of fills as the listing mode has it."""
        draw = self._faults.page_mishap
        match self._listing_mode:
            case "keyset":
                return self._listing.page(span, cursor, limit, match, draw)
            case "bound":
                filters = parameters.filters()
                try:
                    place = unbind_cursor(cursor, filters)
                except ValueError:
                    message = "cursor does not belong to these filters"
                    raise Refused(error_answer(400, "invalid_cursor", message)) from None
                page = self._listing.page(span, place, limit, match, draw)
                return Page(page.rows, bind_cursor(page.cursor, filters))
            case other:
                order = _ORDERS[other]
                return self._listing.page_by_offset(span, cursor, limit, match, order)

    def _render(self, index: int) -> bytes:
        row = self._listing.rows[index]
        if isinstance(row, _Junk):
            return row.body
        body = row.payload_json(self._account.era_of(row)).encode()
        if self._may_cache > 0:
            self._may_cache -= 1
            self._bodies[index] = body
        return body

    def _fill_filter(self, parameters: Parameters, *, live: bool) -> Callable[[_Row], bool] | None:
        """Return what a row must satisfy, or None if there is no filter."""
        subaccount = self._subaccount(parameters)
        order_id = exchange_index = None
        if live:
            tickers = parameters.texts("ticker")
            order_id = parameters.text("order_id")
            exchange_index = parameters.number("exchange_index", 0)
        else:
            # One ticker only, and neither order nor shard, which this tier ignores.
            ticker = parameters.text("ticker")
            tickers = None if ticker is None else frozenset((ticker,))
        if tickers is None and order_id is None and subaccount is None and exchange_index is None:
            return None

        def matches(row: _Row) -> bool:
            if tickers is not None and row.ticker not in tickers:
                return False
            if order_id is not None and row.order_id != order_id:
                return False
            if isinstance(row, _Junk):
                return True
            return (subaccount is None or row.subaccount == subaccount) and (
                exchange_index is None or row.exchange_index == exchange_index
            )

        return matches

    def _of_portfolio(self, answer: Callable[[Request], Answer]) -> Callable[[Request], Answer]:
        def locked(request: Request) -> Answer:
            with self._lock:
                return answer(request)

        return locked

    def _fills_oldest_first(self) -> list[PracticeFill]:
        return [row for row in self._listing.rows if isinstance(row, PracticeFill)]

    def now_seconds(self) -> float:
        """The exchange's own clock, which its Date header shows."""
        return self._clock()

    def _now_us(self) -> int:
        return int(self._clock() * SECOND_US)

    def _get_orders(self, request: Request) -> Answer:
        live = request.path.startswith("/portfolio")
        parameters = Parameters("GetOrders" if live else "GetHistoricalOrders", request.query)
        limit, cursor = parameters.limit(), parameters.text("cursor")
        min_ts, max_ts = parameters.number("min_ts"), parameters.number("max_ts")
        subaccount = self._subaccount(parameters)
        ticker = parameters.text("ticker")
        events = parameters.texts("event_ticker") if live else None
        status = None
        if live:
            status = parameters.one_of("status", ("resting", "canceled", "executed"))

        def matches(order: PracticeOrder) -> bool:
            archived = order.status != "resting" and order.updated_at_us < orders_cutoff_us
            return (
                self._changed_orders.get(order.order_id, {}) is not None
                and archived != live
                and (ticker is None or order.ticker == ticker)
                and (events is None or order.ticker.rpartition("-")[0] in events)
                and (status is None or order.status == status)
                and (subaccount is None or order.subaccount == subaccount)
            )

        with self._lock:
            orders_cutoff_us = self._orders_cutoff_us
            if self._orders is None:
                fills = self._fills_oldest_first()
                self._orders = Listing(self._account.orders(fills, at_us=self._now_us()))
            span = (
                FIRST if min_ts is None else (min_ts * SECOND_US, ""),
                LAST if max_ts is None else (max_ts * SECOND_US, ""),
            )
            page = self._orders.page(span, cursor, limit, matches)
            shown = [self._orders.rows[index] for index in page.rows]
            orders = [
                replace(order, **(self._changed_orders.get(order.order_id) or {})).payload()
                for order in shown
            ]
        return json_answer(200, {"cursor": page.cursor, "orders": orders})

    def _get_positions(self, request: Request) -> Answer:
        parameters = Parameters("GetPositions", request.query)
        limit, cursor = parameters.limit(), parameters.text("cursor")
        # Unlike fills and orders, leaving the subaccount out means the primary one.
        subaccount = self._subaccount(parameters, default=0)
        tickers, events = parameters.texts("ticker"), parameters.texts("event_ticker")
        filters = parameters.texts("count_filter") or frozenset()
        status = parameters.one_of("settlement_status", ("unsettled", "settled", "all"))

        def matches(position: PracticePosition) -> bool:
            return (
                position.subaccount == subaccount
                and (tickers is None or position.ticker in tickers)
                and (events is None or position.event_ticker in events)
                and ("position" not in filters or position.position != 0)
                and ("total_traded" not in filters or position.traded != 0)
            )

        with self._lock:
            positions = self._account.positions(
                self._fills_oldest_first(),
                status="unsettled" if status is None else status,  # type: ignore[arg-type]  # one_of has checked it
                at_us=self._now_us(),
            )
            for (moved_ticker, moved_to), hundredths in self._moved.items():
                row = positions.setdefault(
                    (moved_ticker, moved_to), PracticePosition(moved_ticker, moved_to, 0)
                )
                row.position += Decimal(hundredths).scaleb(-2)
        listing = Listing(positions.values())
        page = listing.page((FIRST, LAST), cursor, limit, matches)
        rows = [listing.rows[index] for index in page.rows]
        return json_answer(
            200,
            {
                "cursor": page.cursor,
                "event_positions": event_positions(rows),
                "market_positions": [row.payload() for row in rows],
            },
        )

    def _get_limits(self, _request: Request) -> Answer:
        read = {
            "bucket_capacity": self._limits.bucket_capacity,
            "refill_rate": self._limits.refill_rate,
        }
        write = {"bucket_capacity": 100, "refill_rate": 100}
        return json_answer(
            200, {"grants": [], "read": read, "usage_tier": self._limits.tier, "write": write}
        )

    def _get_user_data_timestamp(self, _request: Request) -> Answer:
        as_of_us = self._now_us() - round(self._as_of_lag_seconds * SECOND_US)
        return json_answer(200, {"as_of_time": rfc3339(as_of_us)})

    def _get_cutoff(self) -> Answer:
        with self._lock:
            fills, orders = rfc3339(self._cutoff_us), rfc3339(self._orders_cutoff_us)
        return json_answer(
            200,
            {
                "market_positions_last_updated_ts": fills,
                "market_settled_ts": fills,
                "orders_updated_ts": orders,
                "trades_created_ts": fills,
            },
        )

    def _get_endpoint_costs(self) -> Answer:
        cheaper = [
            {"cost": 2, "method": "GET", "path": f"{PREFIX}/portfolio/orders/:order_id"},
            {"cost": 2, "method": "DELETE", "path": f"{PREFIX}/portfolio/events/orders/:order_id"},
        ]
        return json_answer(200, {"default_cost": TOKENS_PER_GET, "endpoint_costs": cheaper})

    def _get_status(self) -> Answer:
        flags = {
            "exchange_active": True,
            "trading_active": True,
            "intra_exchange_transfers_active": True,
        }
        names = ("Default", "Combos", "Crypto", "Sports")
        shards = [
            {"exchange_index": index, "description": name, **flags}
            for index, name in enumerate(names)
        ]
        return json_answer(200, {**flags, "exchange_index_statuses": shards})
