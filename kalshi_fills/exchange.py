"""The exchange's REST API: signed GETs, paging, retries, pacing, the two tiers of fills.

It yields items as they came and knows nothing of what is inside a fill. It refuses to guess: a
walk ends on an empty cursor only, a cursor that comes back or pages without end are an error, and
nothing is followed but 200. Every attempt is signed anew.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Final, NamedTuple, NoReturn, TypeVar
from urllib.parse import urlsplit

import requests
import tenacity
from throttled import RateLimiterType, Throttled, rate_limiter
from urllib3.exceptions import HTTPError

from kalshi_fills import __version__
from kalshi_fills.errors import ExchangeError
from kalshi_fills.fills import JsonValue
from kalshi_fills.signing import Signer

log = logging.getLogger(__name__)

PAGE_LIMIT: Final = 1000
"""Items a page; the exchange refuses more."""

LIVE: Final = "live"
HISTORICAL: Final = "historical"

_FILLS_PATHS: Final = {LIVE: "/portfolio/fills", HISTORICAL: "/historical/fills"}
_CONNECT_SECONDS: Final = 5.0
_READ_SECONDS: Final = 20.0
_BODY_SECONDS: Final = 60.0
_RETRY_STATUS: Final = frozenset((429, 500, 502, 503, 504))
_STALE_PAGES: Final = 20
_SEAM_READS: Final = 5
_NOVELTY_BITS: Final = 1 << 25
_BASIC_TIER: Final = (200, 200)
_DEFAULT_COST: Final = 10
_EARLIEST_CUTOFF: Final = datetime(1971, 1, 1, tzinfo=UTC)
_MAYBE: Final = frozenset((403, 404))

T = TypeVar("T")


class Window(NamedTuple):
    """The half-open range [start, end) of event times that a run asks for, aware UTC."""

    start: datetime | None
    """None: from the account's first fill."""
    end: datetime

    def holds(self, moment: datetime) -> bool:
        """Say whether an event time lies in the window."""
        return (self.start is None or self.start <= moment) and moment < self.end


class Item(NamedTuple):
    """One element of a listing: decoded, and the very text it came as."""

    value: JsonValue
    text: str


class Page(NamedTuple):
    """One answered page of a walk, in the exchange's order (newest first, not promised)."""

    tier: str
    items: list[Item]


class RetryBudget(NamedTuple):
    """How long and how often one request is tried before the pass ends with an error."""

    seconds: float = 60.0
    attempts: int = 8
    first_wait_seconds: float = 0.25
    longest_wait_seconds: float = 8.0


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
    """

    def __init__(
        self,
        api_url: str,
        signer: Signer | None,
        *,
        rate_share: float = 0.5,
        retry: RetryBudget | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._root = api_url.rstrip("/")
        self._root_path = urlsplit(self._root).path
        self._signer = signer
        self._rate_share = rate_share
        self._retry = retry or RetryBudget()
        self._clock = clock
        self._session = requests.Session()
        self._session.headers["User-Agent"] = f"kalshi-fills/{__version__}"
        self._session.headers["Accept"] = "application/json"
        self._pace: Throttled | None = None
        self._costs: dict[str, int] = {}
        self._default_cost = _DEFAULT_COST
        self.requests = 0
        """How many requests were sent, retries included."""

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

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
        dearest = max(self._default_cost, *self._costs.values(), 1)
        self._pace = Throttled(
            key="read",
            using=RateLimiterType.GCRA.value,
            quota=rate_limiter.per_duration(
                timedelta(seconds=100),
                limit=max(1, int(refill * self._rate_share * 100)),
                burst=max(dearest, int(capacity * self._rate_share)),
            ),
            timeout=3600,
        )

    def as_of(self) -> datetime | None:
        """Give the time up to which the account's data are known to be current, or None."""
        try:
            told = self._get("/exchange/user_data_timestamp", {}, _object, optional=_MAYBE)
        except _NotThere:
            return None
        return _time_or_none(told.get("as_of_time"))

    def cutoff(self) -> datetime | None:
        """Give the time before which fills are only in the historical tier; None: no such tier."""
        try:
            told = self._get("/historical/cutoff", {}, _object, optional=frozenset((404,)))
        except _NotThere:
            return None
        cutoff = _time_or_none(told.get("trades_created_ts"))
        if cutoff is None:
            raise ExchangeError(
                "the exchange's historical cutoff carries no trades_created_ts",
                hint="run the same command again; if it stays, upgrade kalshi-fills",
            )
        return max(cutoff, _EARLIEST_CUTOFF)

    def fills(self, window: Window) -> Iterator[Page]:
        """Yield every page of fills in the window, live tier first, then the historical one.

        Fills move from live to historical only, so that order misses none. If the cutoff moved
        meanwhile, the seam between the tiers is read again. Lazy; the same fill may come twice.

        Raises:
            ExchangeError: see `walk`.
        """
        before = self.cutoff()
        yield from self._tier(LIVE, window)
        after = self.cutoff()
        if after is not None and (window.start is None or window.start < after):
            yield from self._tier(HISTORICAL, window)
            after = self.cutoff()
        for _ in range(_SEAM_READS):
            if after is None or before is None or after == before:
                return
            log.info(
                "cutoff_moved",
                extra={"fields": {"from": before.isoformat(), "to": after.isoformat()}},
            )
            second = timedelta(seconds=1)
            seam = Window(min(before, after) - second, max(before, after) + second)
            yield from self._tier(LIVE, seam)
            yield from self._tier(HISTORICAL, seam)
            before, after = after, self.cutoff()

    def walk(self, path: str, params: Mapping[str, str], name: str) -> Iterator[list[Item]]:
        """Yield the items of every page of a listing, following cursors until an empty one.

        Args:
            path: endpoint below the API's root.
            params: filters; they go with every page.
            name: the key of the list in the answer.

        Raises:
            ExchangeError: unreachable or refused within the budget, a cursor that comes back, or
                more than 20 pages in a row with nothing new.
        """
        cursors: set[str] = set()
        novelty = _Novelty()
        stale = 0
        cursor = ""

        def read(text: str) -> tuple[list[Item], str]:
            items, following = decode_listing(text, name)
            if following and following in cursors:
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
            cursors.add(cursor)

    def _tier(self, tier: str, window: Window) -> Iterator[Page]:
        # Whether the exchange's bounds are inclusive is not documented: ask a second wider.
        params = {"max_ts": str(_ceil_seconds(window.end) + 1)}
        if window.start is not None:
            params["min_ts"] = str(int(window.start.timestamp()) - 1)
        for items in self.walk(_FILLS_PATHS[tier], params, "fills"):
            yield Page(tier, items)

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
        cost = self._costs.get(full_path, self._default_cost)
        stale_timestamp_left = 1

        def attempt() -> T:
            nonlocal stale_timestamp_left
            if self._pace is not None:
                self._pace.limit(cost=cost)
            status, headers, body = self._send(path, full_path, params)
            if status == 200:
                try:
                    return read(body.decode())
                except (ValueError, RecursionError):
                    raise _Transient(f"answered with {_describe(body)} instead of JSON") from None
            if status in _RETRY_STATUS:
                raise _Transient(
                    f"answered {status}{_said(body)}", _seconds(headers.get("Retry-After"))
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

    def _send(
        self, path: str, full_path: str, params: Mapping[str, str]
    ) -> tuple[int, Mapping[str, str], bytes]:
        headers = {}
        if self._signer is not None:
            headers = self._signer.headers("GET", full_path, int(self._clock() * 1000))
        self.requests += 1
        try:
            with self._session.get(
                self._root + path,
                params=params,
                headers=headers,
                timeout=(_CONNECT_SECONDS, _READ_SECONDS),
                allow_redirects=False,
                stream=True,
            ) as answer:
                # The read time-out holds for one read: a server that drips needs a deadline.
                deadline = time.monotonic() + _BODY_SECONDS
                blocks = []
                # What has come is taken at once: a large read would wait for a dripping server.
                while block := answer.raw.read1(1 << 18, decode_content=True):
                    blocks.append(block)
                    if time.monotonic() > deadline:
                        raise _Transient(f"took more than {_BODY_SECONDS:.0f} s to send a page")
                return answer.status_code, answer.headers, b"".join(blocks)
        except (requests.RequestException, HTTPError) as error:
            raise _Transient(_why_unreachable(error)) from error

    def _refused(self, path: str, status: int, headers: Mapping[str, str], body: bytes) -> NoReturn:
        if status == 401:
            sentence, hint = self._unauthorised(headers, body)
        elif status == 403:
            sentence = f"the exchange forbids this key GET {path}{_said(body)}"
            hint = "give the key the read scope on Kalshi's API keys page, or use another key"
        elif 300 <= status < 400:
            sentence = f"the exchange at {self._root} redirects GET {path}, which cannot be signed"
            hint = (
                "set KALSHI_API_URL to `prod`, `demo` or the API's root without a slash at its end"
            )
        else:
            sentence = f"the exchange refused GET {path} with {status}{_said(body)}"
            hint = "check KALSHI_API_URL; it ends in /trade-api/v2"
        raise ExchangeError(sentence, hint=hint)

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
            f"the exchange refused the credentials{_said(body)}",
            "check KALSHI_API_KEY_ID and KALSHI_PRIVATE_KEY_PATH",
        )


_WAIT_HINT: Final = (
    "what was stored stays; run the same command again later, or see KALSHI_API_URL and the "
    "exchange's status page if it stays so"
)


class _Novelty:
    """Which items a walk has seen, in a fixed few megabytes.

    One bit an item. Two items may share a bit, so that a new one may count as seen; for a page, let
    alone for twenty in a row, to count as seen that way is out of the question.
    """

    def __init__(self) -> None:
        self._bits = bytearray(_NOVELTY_BITS >> 3)

    def any_new(self, items: list[Item]) -> bool:
        """Say whether an item was not seen before."""
        bits = self._bits
        for item in items:
            bit = hash(item.text) % _NOVELTY_BITS
            if not bits[bit >> 3] & (1 << (bit & 7)):
                return True
        return False

    def take(self, items: list[Item]) -> bool:
        """Remember the items; say whether there was a new one among them."""
        bits = self._bits
        new = False
        for item in items:
            bit = hash(item.text) % _NOVELTY_BITS
            mask = 1 << (bit & 7)
            if not bits[bit >> 3] & mask:
                bits[bit >> 3] |= mask
                new = True
        return new


def _whole_number(text: str) -> int | Decimal:
    # Python refuses to parse thousands of digits at once; such a number is junk, not a crash.
    return int(text) if len(text) <= 30 else Decimal(text)


def _fraction(text: str) -> Decimal:
    try:
        return Decimal(text)
    except ArithmeticError:  # an exponent no decimal can hold: junk, not a crash
        return Decimal("NaN")


_decoder: Final = json.JSONDecoder(
    parse_float=_fraction, parse_int=_whole_number, parse_constant=Decimal
)
_quick_decoder: Final = json.JSONDecoder(parse_float=Decimal, parse_constant=Decimal)
_spaced: Final = re.compile(r"\}[ \t\r\n]+[,\]]|,[ \t\r\n]+\{").search
_skip_space: Final = re.compile(r"[ \t\n\r]*").match


def decode_listing(text: str, name: str) -> tuple[list[Item], str]:
    """Read an answer that holds a list: an object with the list under `name`, or a bare list.

    Numbers with a fraction become Decimal, NaN and Infinity too; each item keeps its own text.

    Returns:
        The items, and the cursor, empty at the end of the walk. A null list is an empty one.

    Raises:
        ValueError: it is not JSON, or there is no such list in it.
    """
    quick = _decode_compact(text, name)
    if quick is not None:
        return quick
    items: list[Item] | None = None
    cursor = ""
    position = _space(text, 0)
    if text[position : position + 1] == "[":
        items, position = _items(text, position)
    elif text[position : position + 1] == "{":
        position = _space(text, position + 1)
        while text[position : position + 1] != "}":
            key, position = _decoder.raw_decode(text, position)
            position = _space(text, position)
            if type(key) is not str or text[position : position + 1] != ":":
                raise ValueError("not an object")
            position = _space(text, position + 1)
            if key == name and text[position : position + 1] == "[":
                items, position = _items(text, position)
            else:
                value, position = _decoder.raw_decode(text, position)
                if key == name:
                    items = _no_items(value)
                elif key == "cursor":
                    cursor = _cursor(value)
            position = _space(text, position)
            if text[position : position + 1] == ",":
                position = _space(text, position + 1)
            elif text[position : position + 1] != "}":
                raise ValueError("not an object")
        position += 1
    if items is None or _space(text, position) != len(text):
        raise ValueError(f"no list {name}")
    return items, cursor


def _decode_compact(text: str, name: str) -> tuple[list[Item], str] | None:
    """Read an answer written without spaces, of objects only, several times as fast; else None.

    Between two objects of such a list stands `},{`. If that stands there as often as there are
    gaps, it stands nowhere else, and the list can be cut at it.
    """
    opening = f'"{name}":[{{'
    start = text.find(opening)
    if start < 0 or _spaced(text, start):
        return None
    try:
        told = _quick_decoder.decode(text)
    except (ValueError, ArithmeticError):  # no JSON, or a number beyond all bounds
        return None
    values = told.get(name) if isinstance(told, dict) else None
    if not isinstance(values, list) or any(type(value) is not dict for value in values):
        return None
    start += len(opening)
    end = text.find("}]", start)
    parts = text[start:end].split("},{")
    if len(parts) != len(values) or text.find("}]", end + 2) >= 0:
        return None
    items = [Item(value, f"{{{part}}}") for value, part in zip(values, parts, strict=True)]
    try:
        if _quick_decoder.decode(items[0].text) != values[0]:  # a list of that name deeper inside
            return None
    except ValueError:
        return None
    return items, _cursor(told.get("cursor"))


def _items(text: str, position: int) -> tuple[list[Item], int]:
    items: list[Item] = []
    position = _space(text, position + 1)
    if text[position : position + 1] == "]":
        return items, position + 1
    while True:
        start = position
        value, position = _decoder.raw_decode(text, start)
        items.append(Item(value, text[start:position]))
        position = _space(text, position)
        following = text[position : position + 1]
        position = _space(text, position + 1)
        if following == "]":
            return items, position
        if following != ",":
            raise ValueError("not a list")


def _space(text: str, position: int) -> int:
    match = _skip_space(text, position)
    assert match is not None
    return match.end()


def _no_items(value: JsonValue) -> list[Item]:
    if value is None:
        return []
    raise ValueError("not a list")


def _cursor(value: JsonValue) -> str:
    if not value:
        return ""
    if isinstance(value, str):
        value.encode()  # half a character could not be sent back
        return value
    raise ValueError("a cursor that is no text")


def _object(text: str) -> dict[str, JsonValue]:
    value = _decoder.decode(text)
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value


def _list(value: JsonValue) -> list[JsonValue]:
    return value if isinstance(value, list) else []


def _positive(value: JsonValue, default: int) -> int:
    return value if type(value) is int and value > 0 else default


def _time_or_none(value: JsonValue) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
        return moment.astimezone(UTC) if moment.tzinfo else None
    except (ValueError, OverflowError):
        return None


def _ceil_seconds(moment: datetime) -> int:
    whole = int(moment.timestamp())
    return whole + 1 if moment.microsecond else whole


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


def _said(body: bytes) -> str:
    """Give what the exchange said, from any of its four error shapes, short and harmless."""
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    if isinstance(told, dict) and isinstance(told.get("error"), dict):
        told = told["error"]
    if not isinstance(told, dict):
        return ""
    parts = [told.get(key) for key in ("error", "code", "message", "msg", "details")]
    words = list(dict.fromkeys(part for part in parts if isinstance(part, str) and part))
    # An answer may echo what it was sent; nothing that could be a signature is passed on.
    text = re.sub(r"[A-Za-z0-9+/=_-]{40,}", "…", ", ".join(words))[:200]
    text = "".join(sign if sign.isprintable() else " " for sign in text)
    return f": {text}" if text else ""


def _why_unreachable(error: Exception) -> str:
    text = str(error)
    if isinstance(error, requests.exceptions.SSLError):
        return "could not be reached over TLS: its certificate or protocol was not accepted"
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
