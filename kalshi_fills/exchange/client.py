"""The exchange's REST API: signed GETs, paging, retries, pacing, the two tiers of fills.

It yields items as they came and knows nothing of what is inside a fill. It refuses to guess: a
walk ends on an empty cursor only, a cursor that comes back or pages without end are an error, and
nothing is followed but 200. Every attempt is signed anew.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import queue
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import parsedate_to_datetime
from http.cookiejar import DefaultCookiePolicy
from typing import Any, Final, NamedTuple, NoReturn, TypeVar
from urllib.parse import urlsplit

import requests.auth
import tenacity
from throttled import MemoryStore, RateLimiterType, Throttled, rate_limiter
from urllib3.exceptions import HTTPError

from kalshi_fills import __version__
from kalshi_fills.errors import ExchangeError
from kalshi_fills.exchange import deadline
from kalshi_fills.exchange.decode import (
    HISTORICAL,
    LIVE,
    Item,
    Page,
    UnknownPaging,
    decode_listing,
    decoder,
)
from kalshi_fills.exchange.paging import Novelty
from kalshi_fills.exchange.signing import Signer
from kalshi_fills.exchange.tiers import fetch
from kalshi_fills.pipeline.fills import EARLIEST_FILL
from kalshi_fills.pipeline.parse import event_time
from kalshi_fills.pipeline.values import JsonValue
from kalshi_fills.pipeline.window import Window

log = logging.getLogger(__name__)


PAGE_LIMIT: Final = 1000
"""Items a page; the exchange refuses more."""

MAX_ANSWER_BYTES: Final = 64 << 20
"""How large a decompressed answer may be unless it is set otherwise."""

FILLS_PATHS: Final = {LIVE: "/portfolio/fills", HISTORICAL: "/historical/fills"}
"""Where each tier's fills are listed."""

_CONNECT_SECONDS: Final = 5.0

_READ_SECONDS: Final = 20.0

_PLENTY_OF_VALUES: Final = 1_000_000

_LONG_WAIT_SECONDS: Final = 3.0

_WAIT_TOLD_EVERY_SECONDS: Final = 60.0

_LONGEST_REFILL_SECONDS: Final = 60
"""How long one request may wait for its tokens, whatever it is said to cost."""

_STALE_PAGES: Final = 20

_BASIC_TIER: Final = (200, 200)

_DEFAULT_COST: Final = 10

_LARGEST_NUMBER: Final = 10**9

_EARLIEST_CUTOFF: Final = datetime(1971, 1, 1, tzinfo=UTC)

_LONGEST_ERROR_BYTES: Final = 1 << 16

_MAYBE: Final = frozenset((403, 404))

_NO_SUCH_ENDPOINT: Final = frozenset((404,))

T = TypeVar("T")


class RetryBudget(NamedTuple):
    """How long and how often one request is tried before the pass ends with an error."""

    seconds: float = 60.0
    attempts: int = 8
    first_wait_seconds: float = 0.25
    longest_wait_seconds: float = 8.0


class _Adapter(requests.adapters.HTTPAdapter):
    """Makes connections whose answers have a deadline."""

    def init_poolmanager(self, *given: Any, **named: Any) -> None:
        super().init_poolmanager(*given, **named)
        self.poolmanager.pool_classes_by_scheme = deadline.POOLS

    def proxy_manager_for(self, *given: Any, **named: Any) -> Any:
        manager = super().proxy_manager_for(*given, **named)
        manager.pool_classes_by_scheme = deadline.POOLS
        return manager


class _NothingAdded(requests.auth.AuthBase):
    """Stands where credentials of `.netrc` would be taken from otherwise."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        return request


class _Session(requests.Session):
    """A session that sends what it is given: no credentials of `.netrc`, no cookies.

    Proxies and CA bundles of the environment count where `trust_env` is on. Redirects are neither
    followed nor looked at: the library reads their whole body to prepare the next request.
    """

    def __init__(self) -> None:
        super().__init__()
        self.auth = _NothingAdded()
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
        self.headers["Accept-Encoding"] = "gzip"
        for scheme in ("http://", "https://"):
            self.mount(scheme, _Adapter())

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Return nothing, whatever the answer says."""
        return None


class _Transient(Exception):
    """An answer worth asking for again; the text says what came instead."""

    def __init__(self, what: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(what)
        self.retry_after_seconds = retry_after_seconds


class _NotThere(Exception):
    """An endpoint that not every era, or not every key, has."""


class Exchange:
    """One account's view of the exchange.

    Args:
        api_url: root of the API, such as `https://external-api.kalshi.com/trade-api/v2`.
        signer: signs every request; None only reaches what is public.
        rate_share: which part of the account's own read budget this pass may use, 0 < share <= 1.
        retry: the budget of each request.
        clock: seconds since the epoch, for timestamps in signatures.
        max_answer_bytes: a larger answer, decompressed, ends the pass.
        on_wait: called with the seconds to wait where the rate limit asks for more than a few;
            by whichever thread waits.
    """

    def __init__(
        self,
        api_url: str,
        signer: Signer | None,
        *,
        rate_share: float = 0.5,
        retry: RetryBudget | None = None,
        clock: Callable[[], float] = time.time,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
        on_wait: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._root = api_url.rstrip("/")
        self._root_path = urlsplit(self._root).path
        self._signer = signer
        self._rate_share = rate_share
        self._retry = retry or RetryBudget()
        self._clock = clock
        self._max_answer_bytes = max_answer_bytes
        self._on_wait = on_wait
        self._idle_sessions: queue.LifoQueue[requests.Session] = queue.LifoQueue()
        self._counting = threading.Lock()
        self._closing = threading.Event()
        self._pace: Throttled | None = None
        self._waited_at = -math.inf
        self._costs: dict[str, int] = {}
        self._default_cost = _DEFAULT_COST
        self._most_tokens = _LARGEST_NUMBER
        self._told_of_waiting_at = -math.inf
        self.requests = 0
        """How many requests were sent, retries included."""

    def close(self) -> None:
        """Close the connections; whoever still waits for a retry gives up."""
        self._closing.set()
        with contextlib.suppress(queue.Empty):
            while True:
                self._idle_sessions.get_nowait().close()

    @contextlib.contextmanager
    def _session(self) -> Iterator[requests.Session]:
        """Lend a session that no other thread uses meanwhile."""
        try:
            session = self._idle_sessions.get_nowait()
        except queue.Empty:
            session = _Session()
            # A proxy of the environment has no business between us and this very machine.
            session.trust_env = urlsplit(self._root).scheme == "https"
            session.headers["User-Agent"] = f"kalshi-fills/{__version__}"
            session.headers["Accept"] = "application/json"
        try:
            yield session
        finally:
            if self._closing.is_set():
                session.close()
            else:
                self._idle_sessions.put(session)

    def _sleep(self, seconds: float) -> None:
        if self._closing.wait(seconds):
            raise _Transient("is no longer asked")

    def learn_limits(self) -> None:
        """Read the account's own limits and pace by them; the Basic tier's where none are told.

        Raises:
            ExchangeError: unreachable, or the key is refused.
        """
        refill, capacity = _BASIC_TIER
        try:
            told = self._get("/account/limits", {}, _object, optional=_MAYBE)
            read = told.get("read")
            if isinstance(read, dict):
                refill = _positive(read.get("refill_rate"), refill)
                capacity = _positive(read.get("bucket_capacity"), capacity)
            costs = self._get("/account/endpoint_costs", {}, _object, optional=_MAYBE)
            self._default_cost = _positive(costs.get("default_cost"), _DEFAULT_COST)
            for entry in _list(costs.get("endpoint_costs")):
                if isinstance(entry, dict) and entry.get("method") == "GET":
                    self._costs[str(entry.get("path"))] = _positive(
                        entry.get("cost"), self._default_cost
                    )
        except _NotThere:
            log.debug("limits_not_told", extra={"fields": {"refill_rate": refill}})
        # No request can cost more than the bucket holds.
        self._most_tokens = max(1, min(capacity, refill * _LONGEST_REFILL_SECONDS))
        dearest = max(self._default_cost, *self._costs.values(), 1)
        self._pace = Throttled(
            key="read",
            using=RateLimiterType.GCRA.value,
            quota=rate_limiter.per_duration(
                timedelta(seconds=100),
                limit=max(1, int(refill * self._rate_share * 100)),
                burst=max(min(dearest, self._most_tokens), int(capacity * self._rate_share)),
            ),
            store=MemoryStore(),
        )

    def as_of(self) -> datetime | None:
        """Return the time up to which the account's data are known to be current.

        None where that is not told; a time before the exchange opened tells nothing.
        """
        try:
            told = self._get("/exchange/user_data_timestamp", {}, decoder.decode, optional=_MAYBE)
        except _NotThere:
            return None
        moment = _time_or_none(told.get("as_of_time")) if isinstance(told, dict) else None
        return None if moment is None or moment < EARLIEST_FILL else moment

    def cutoff(self) -> datetime | None:
        """Give the time before which fills are only in the historical tier.

        None if the exchange tells of no such tier, as in its earlier eras; see `has_history`.
        """
        try:
            told = self._get("/historical/cutoff", {}, _object, optional=_NO_SUCH_ENDPOINT)
        except _NotThere:
            return None
        cutoff = _time_or_none(told.get("trades_created_ts"))
        if cutoff is None:
            raise ExchangeError(
                "the exchange's historical cutoff carries no trades_created_ts",
                hint="run the same command again; if it stays, upgrade kalshi-fills",
            )
        return max(cutoff, _EARLIEST_CUTOFF)

    def has_history(self) -> bool:
        """Say whether there is a historical tier at all, by asking it for one fill."""
        with contextlib.suppress(_NotThere):
            self._get("/historical/fills", {"limit": "1"}, _object, optional=_NO_SUCH_ENDPOINT)
            return True
        log.warning("no_historical_tier", extra={"fields": {"api_url": self._root}})
        return False

    def fills(self, window: Window) -> Iterator[Page]:
        """Yield every page of fills in the window, both tiers, see `fetch`. Lazy.

        Raises:
            ExchangeError: see `walk`.
        """
        return fetch(self, window)

    def fills_pages(self, tier: str, start: int | None, end: int) -> Iterator[Page]:
        """Yield the pages of one tier between two seconds.

        Raises:
            ExchangeError: see `walk`.
        """
        # Whether the exchange's bounds are inclusive is not documented: ask a second wider.
        filters = {"max_ts": str(end + 1)}
        if start is not None:
            filters["min_ts"] = str(start - 1)
        for items in self.walk(FILLS_PATHS[tier], filters, "fills"):
            yield Page(tier, items)

    def walk(self, path: str, params: Mapping[str, str], name: str) -> Iterator[list[Item]]:
        """Yield the items of every page of a listing, following cursors until an empty one.

        Args:
            path: endpoint below the API's root.
            params: filters; the same ones go with every page.
            name: the key of the list in the answer.

        Raises:
            ExchangeError: unreachable or refused within the budget, a cursor that comes back, or
                more than 20 pages in a row with nothing new.
        """
        cursors: set[int] = set()  # by hash: one may be long
        novelty = Novelty()
        stale = 0
        cursor = ""

        def read(text: str) -> tuple[list[Item], str]:
            items, following = decode_listing(text, name)
            if following and hash(following) in cursors:
                raise _Transient("gave back a cursor it had given before")
            if following and stale >= _STALE_PAGES and not novelty.any_new(items):
                raise _Transient(f"sent more than {_STALE_PAGES} pages in a row with nothing new")
            return items, following

        while True:
            query = {**params, "limit": str(PAGE_LIMIT)}
            if cursor:
                query["cursor"] = cursor
            items, cursor = self._get(path, query, read)
            stale = 0 if novelty.take(items) else stale + 1
            yield items
            if not cursor:
                return
            cursors.add(hash(cursor))

    def _get(
        self,
        path: str,
        params: Mapping[str, str],
        read: Callable[[str], T],
        *,
        optional: frozenset[int] = frozenset(),
    ) -> T:
        """GET and read one answer, again and again within the budget while it is worth it."""
        full_path = self._root_path + path
        cost = min(self._costs.get(full_path, self._default_cost), self._most_tokens)
        stale_timestamp_left = 1

        def attempt() -> T:
            nonlocal stale_timestamp_left
            self._wait_for_turn(path, cost)
            status, headers, body = self._send(path, full_path, params)
            if status == 200:
                try:
                    return read(body.decode("utf-8-sig"))
                except UnknownPaging as error:
                    raise _Transient(str(error)) from None
                except (ValueError, RecursionError):
                    raise _Transient(self._not_understood(body)) from None
            if status == 429 or status >= 500:
                raise _Transient(
                    f"answered {status}{self._said(body)}", _seconds(headers.get("Retry-After"))
                )
            if status == 401 and b"timestamp" in body and stale_timestamp_left:
                stale_timestamp_left -= 1
                raise _Transient("called our timestamp stale")
            if status in optional:
                raise _NotThere
            self._refused(path, status, headers, body)

        budget = self._retry
        wait = tenacity.wait_random_exponential(
            multiplier=budget.first_wait_seconds, max=budget.longest_wait_seconds
        )

        def pause(state: tenacity.RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            told = error.retry_after_seconds if isinstance(error, _Transient) else None
            return max(told or 0.0, wait(state))

        def note(state: tenacity.RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome else None
            log.info(
                "request_retried",
                extra={
                    "fields": {
                        "path": path,
                        "attempt": state.attempt_number,
                        "because": str(error),
                        "wait_seconds": round(state.upcoming_sleep, 2),
                    }
                },
            )

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_Transient),
            wait=pause,
            stop=tenacity.stop_after_attempt(budget.attempts)
            | tenacity.stop_before_delay(budget.seconds),
            before_sleep=note,
            sleep=self._sleep,
            reraise=True,
        )
        try:
            return retrying(attempt)
        except _Transient as last:
            raise ExchangeError(
                f"the exchange at {self._root} {last} (GET {path}, given up after "
                f"{retrying.statistics.get('attempt_number', 1)} attempts)",
                hint=_WAIT_HINT,
            ) from last

    def is_paced(self) -> bool:
        """Return whether a request had to wait for the rate limit within the last second."""
        return time.monotonic() - self._waited_at < 1

    def _wait_for_turn(self, path: str, cost: int) -> None:
        # The library's own waiting sleeps longer than a small bucket needs.
        began = time.monotonic()
        while self._pace is not None:
            answer = self._pace.limit(cost=cost, timeout=-1)
            if not answer.limited:
                return
            left = max(answer.state.retry_after, 0.001)
            now = self._waited_at = time.monotonic()
            if now - began + left > _LONG_WAIT_SECONDS:
                self._tell_of_waiting(path, cost, left)
            self._sleep(left)
            self._waited_at = time.monotonic()

    def _tell_of_waiting(self, path: str, cost: int, seconds: float) -> None:
        with self._counting:
            now = time.monotonic()
            if now - self._told_of_waiting_at < _WAIT_TOLD_EVERY_SECONDS:
                return
            self._told_of_waiting_at = now
        fields = {"path": path, "cost": cost, "wait_seconds": round(seconds, 1)}
        log.warning("rate_limit_wait", extra={"fields": fields})
        self._on_wait(seconds)

    def _send(
        self, path: str, full_path: str, params: Mapping[str, str]
    ) -> tuple[int, Mapping[str, str], bytes]:
        headers = {}
        if self._signer is not None:
            headers = self._signer.headers("GET", full_path, int(self._clock() * 1000))
        with self._counting:
            self.requests += 1
        began = time.monotonic()
        try:
            with (
                self._session() as session,
                session.get(
                    self._root + path,
                    params=params,
                    headers=headers,
                    timeout=(_CONNECT_SECONDS, _READ_SECONDS),
                    allow_redirects=False,
                    stream=True,
                ) as answer,
            ):
                body = deadline.read_body(answer.raw, self._max_answer_bytes)
                # Numbers take many times their text's length in memory.
                if body.count(b",") > max(self._max_answer_bytes // 16, _PLENTY_OF_VALUES):
                    raise deadline.AnswerTooLarge
                return answer.status_code, answer.headers, body
        except deadline.AnswerTooLarge:
            raise ExchangeError(
                f"the exchange at {self._root} answered GET {path} with more than "
                f"{self._max_answer_bytes >> 20} MiB",
                hint="check KALSHI_API_URL; if its answers are that large, raise "
                "KALSHI_FILLS_MAX_ANSWER_MIB",
            ) from None
        except deadline.Undecodable as error:
            raise _Transient(str(error)) from None
        except (requests.RequestException, HTTPError) as error:
            if time.monotonic() - began >= deadline.ANSWER_SECONDS:
                slow = f"took more than {deadline.ANSWER_SECONDS:.0f} s to send a page"
                raise _Transient(slow) from error
            raise _Transient(_why_unreachable(error)) from error

    def _refused(self, path: str, status: int, headers: Mapping[str, str], body: bytes) -> NoReturn:
        if status == 401:
            sentence, hint = self._unauthorised(headers, body)
        elif status == 403:
            sentence = f"the exchange forbids this key GET {path}{self._said(body)}"
            hint = "give the key the read scope on Kalshi's API keys page, or use another key"
        elif 300 <= status < 400:
            sentence = f"the exchange at {self._root} redirects GET {path}, which cannot be signed"
            hint = (
                "set KALSHI_API_URL to `prod`, `demo` or the API's root without a slash at its end"
            )
        else:
            sentence = f"the exchange refused GET {path} with {status}{self._said(body)}"
            hint = "check KALSHI_API_URL; it ends in /trade-api/v2"
        raise ExchangeError(sentence, hint=hint, status=status)

    def _said(self, body: bytes) -> str:
        """Return what the exchange said, short and harmless, to be put after a sentence."""
        text = ", ".join(_words(body))
        # An answer may echo what it was sent; nothing that could be a signature is passed on.
        if self._signer is not None and self._signer.key_id:
            text = text.replace(self._signer.key_id, "…")
        text = re.sub(r"[A-Za-z0-9+/=_%-]{40,}", "…", text)[:200]
        text = "".join(sign if sign.isprintable() else " " for sign in text)
        return f": {text}" if text else ""

    def _not_understood(self, body: bytes) -> str:
        said = self._said(body)
        return f"answered 200{said}" if said else f"answered with {_describe(body)} instead of JSON"

    def _unauthorised(self, headers: Mapping[str, str], body: bytes) -> tuple[str, str]:
        if b"timestamp" in body:
            skew = _skew_seconds(headers.get("Date"), self._clock())
            off = f", it is about {skew:.0f} seconds off" if skew is not None else ""
            return (
                f"the exchange calls our timestamp stale: this machine's clock is wrong{off}",
                "set the clock, with `timedatectl set-ntp true` for instance, and run it again",
            )
        if b"INCORRECT_API_KEY_SIGNATURE" in body:
            return (
                "the exchange refused the signature: the private key does not belong to the key id",
                "check that KALSHI_API_KEY_ID and KALSHI_PRIVATE_KEY_PATH are of the same key",
            )
        if b"NOT_FOUND" in body:
            return (
                "the exchange does not know this key id",
                "check KALSHI_API_KEY_ID, and that KALSHI_API_URL is the environment it was made in"
                " (prod and demo keys differ)",
            )
        return (
            f"the exchange refused the credentials{self._said(body)}",
            "check KALSHI_API_KEY_ID and KALSHI_PRIVATE_KEY_PATH",
        )

    def has_any_fill(self, not_in: Window) -> bool:
        """Return whether the live listing, asked without times for one item, has one.

        An archive that answers proves nothing of the live listing.

        Args:
            not_in: a window that was listed as empty: an item that lies in it is a contradiction.

        Raises:
            ExchangeError: unreachable or refused within the budget.
        """
        items, _ = self._get(
            FILLS_PATHS[LIVE], {"limit": "1"}, lambda text: decode_listing(text, "fills")
        )
        moments = [event_time(item.value) for item in items[:1]]
        return any(moment is None or not not_in.holds(moment) for moment in moments)


_WAIT_HINT: Final = (
    "what was stored stays; run the same command again later, or see KALSHI_API_URL and the "
    "exchange's status page if it stays so"
)


def _object(text: str) -> dict[str, JsonValue]:
    value = decoder.decode(text)
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value


def _list(value: JsonValue) -> list[JsonValue]:
    return value if isinstance(value, list) else []


def _positive(value: JsonValue, default: int) -> int:
    """Return a number above zero, never beyond all bounds; the default for anything else."""
    if type(value) is int and value > 0:
        return min(value, _LARGEST_NUMBER)
    if isinstance(value, Decimal) and value.is_finite() and value >= 1:
        return int(min(value, Decimal(_LARGEST_NUMBER)))
    return default


def _time_or_none(value: JsonValue) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
        return moment.astimezone(UTC) if moment.tzinfo else None
    except (ValueError, OverflowError):
        return None


def _seconds(header: str | None) -> float | None:
    return float(header) if header and header.isascii() and header.isdigit() else None


def _skew_seconds(date: str | None, now: float) -> float | None:
    try:
        return abs(parsedate_to_datetime(date).timestamp() - now) if date else None
    except (ValueError, OverflowError):
        return None


def _describe(body: bytes) -> str:
    start = body.lstrip()[:15].lower()
    if not start:
        return "an empty body"
    return "HTML" if start.startswith((b"<!doctype", b"<html")) else "something"


def _words(body: bytes) -> list[str]:
    """Return what an answer says, from any of the exchange's four shapes of an error."""
    if len(body) > _LONGEST_ERROR_BYTES:
        return []
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        return []
    if isinstance(told, dict) and isinstance(told.get("error"), dict):
        told = told["error"]
    if not isinstance(told, dict):
        return []
    parts = [told.get(key) for key in ("error", "code", "message", "msg", "details")]
    return list(dict.fromkeys(part for part in parts if isinstance(part, str) and part))


def _why_unreachable(error: Exception) -> str:
    text = str(error)
    if isinstance(error, requests.exceptions.SSLError):
        return "could not be reached over TLS: its certificate or protocol was not accepted"
    if isinstance(error, requests.exceptions.ProxyError):
        return "could not be reached through the proxy of this environment"
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return f"did not accept a connection within {_CONNECT_SECONDS:.0f} s"
    if isinstance(error, requests.exceptions.Timeout) or "timed out" in text:
        return f"did not answer within {_READ_SECONDS:.0f} s"
    for sign, sentence in (
        ("refused", "could not be reached: connection refused"),
        ("resolve", "could not be reached: its name does not resolve"),
        ("reset", "reset the connection"),
        ("unreachable", "could not be reached: no route"),
        ("IncompleteRead", "sent less than it announced"),
        ("without response", "closed the connection without an answer"),
    ):
        if sign in text:
            return sentence
    return f"could not be reached ({type(error).__name__})"
