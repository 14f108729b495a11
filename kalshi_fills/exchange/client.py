"""Signed GETs with retries, pacing and deadlines. What is inside an answer is not known here.

Every attempt is signed anew, and no redirect is followed.
"""

from __future__ import annotations

import contextlib
import logging
import math
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple, TypeVar
from urllib.parse import urlsplit

import requests
import tenacity
from urllib3.exceptions import HTTPError

from kalshi_fills.errors import ExchangeError
from kalshi_fills.exchange import deadline
from kalshi_fills.exchange.decode import UnknownPaging
from kalshi_fills.exchange.pacing import Pace
from kalshi_fills.exchange.refusals import (
    CONNECT_SECONDS,
    READ_SECONDS,
    TLS_HINT,
    Answer,
    not_understood,
    quoted_reason,
    refusal,
    why_unreachable,
)
from kalshi_fills.exchange.session import Session
from kalshi_fills.exchange.signing import Signer

log = logging.getLogger(__name__)


MAX_ANSWER_BYTES: Final = 64 << 20
"""How large a decompressed answer may be unless it is set otherwise."""

_MANY_VALUES: Final = 1_000_000

_SPARE_WALKS: Final = 1.25
"""How many walks there may be for each one that the rate limit allows: some wait for others."""

_SHARE_OF_LATEST: Final = 0.3
"""How much the latest request counts for how long one takes."""

_WAIT_HINT: Final = (
    "what was stored stays; run the same command again later, or see KALSHI_API_URL and the "
    "exchange's status page if it stays so"
)

T = TypeVar("T")


class RetryBudget(NamedTuple):
    """How long and how often one request is tried before the pass ends with an error."""

    seconds: float = 60.0
    attempts: int = 8
    first_wait_seconds: float = 0.25
    longest_wait_seconds: float = 8.0


class _Transient(Exception):
    """An answer worth asking for again; the text says what came instead."""

    def __init__(
        self,
        reason: str,
        retry_after_seconds: float | None = None,
        hint: str = _WAIT_HINT,
    ) -> None:
        super().__init__(reason)
        self.retry_after_seconds = retry_after_seconds
        self.hint = hint
        """What to do where it stays so."""


class Client:
    """GETs answers of the API as one account, from any thread.

    Args:
        api_url: root of the API, such as `https://external-api.kalshi.com/trade-api/v2`.
        signer: signs every request; None reaches only what is public.
        rate_share: which part of the account's own read budget may be used, 0 < share <= 1.
        retry: the budget of each request.
        clock: seconds since the epoch, for timestamps in signatures.
        max_answer_bytes: a larger answer, decompressed, is an error.
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
        self.root = api_url.rstrip("/")
        """Root of the API, without a slash at its end."""
        self.pace = Pace(rate_share, self._sleep, on_wait)
        """The rate limit that requests keep to."""
        self.requests = 0
        """How many requests were made, retries included."""
        self._root_path = urlsplit(self.root).path
        self._signer = signer
        self._retry = retry or RetryBudget()
        self._clock = clock
        self._max_answer_bytes = max_answer_bytes
        self._idle_sessions: queue.LifoQueue[Session] = queue.LifoQueue()
        self._counting = threading.Lock()
        self._request_seconds = math.inf
        """How long a request takes, mostly the latest ones."""
        self._closing = threading.Event()

    def close(self) -> None:
        """Close the connections; requests that wait, for a retry or for their turn, give up."""
        self._closing.set()
        with contextlib.suppress(queue.Empty):
            while True:
                self._idle_sessions.get_nowait().close()

    def get(
        self,
        path: str,
        params: Mapping[str, str],
        decode: Callable[[str], T],
        *,
        attempts: int | None = None,
    ) -> T:
        """GET and decode one answer, again and again within the budget while that may help.

        Args:
            path: endpoint below the API's root.
            params: the query.
            decode: reads the text of an answer. A ValueError means that it is not what was asked
                for; the text of an `UnknownPaging` goes into the error.
            attempts: how often it is tried at most, instead of what the budget allows.

        Raises:
            ExchangeError: unreachable, not understood or refused within the budget.
        """
        full_path = self._root_path + path
        stale_timestamp_left = 1

        def attempt() -> T:
            nonlocal stale_timestamp_left
            self.pace.wait(path, full_path)
            answer = self._send(path, full_path, params)
            status, body = answer.status, answer.body
            if status == 200:
                try:
                    return decode(body.decode("utf-8-sig"))
                except UnknownPaging as error:
                    raise _Transient(str(error)) from None
                except (ValueError, RecursionError):
                    raise _Transient(not_understood(body, self._key_id)) from None
            if status == 429 or status >= 500:
                raise _Transient(
                    f"answered {status}{quoted_reason(body, self._key_id)}",
                    _seconds(answer.headers.get("Retry-After")),
                )
            if status == 401 and b"timestamp" in body and stale_timestamp_left:
                stale_timestamp_left -= 1
                raise _Transient("called our timestamp stale")
            raise refusal(answer, self.root, path, self._key_id, self._clock())

        budget = self._retry
        wait = tenacity.wait_random_exponential(
            multiplier=budget.first_wait_seconds, max=budget.longest_wait_seconds
        )

        def pause(state: tenacity.RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            asked = error.retry_after_seconds if isinstance(error, _Transient) else None
            return max(asked or 0.0, wait(state))

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
            stop=tenacity.stop_after_attempt(attempts or budget.attempts)
            | tenacity.stop_before_delay(budget.seconds),
            before_sleep=note,
            sleep=self._sleep,
            reraise=True,
        )
        try:
            return retrying(attempt)
        except _Transient as last:
            raise ExchangeError(
                f"the exchange at {self.root} {last} (GET {path}, given up after "
                f"{retrying.statistics.get('attempt_number', 1)} attempts)",
                hint=last.hint,
            ) from last

    def has_use_for(self, walks: int, path: str) -> bool:
        """Return whether the rate limit allows more requests than so many walks make.

        Args:
            walks: how many make one request after the other.
            path: endpoint below the API's root that they ask for.
        """
        allowed = self.pace.requests_a_second(self._root_path + path)
        return walks < allowed * self._request_seconds * _SPARE_WALKS

    @property
    def _key_id(self) -> str:
        return self._signer.key_id if self._signer is not None else ""

    @contextlib.contextmanager
    def _session(self) -> Iterator[Session]:
        """Lend a session that no other thread uses meanwhile."""
        try:
            session = self._idle_sessions.get_nowait()
        except queue.Empty:
            # A proxy of the environment is not for connections to this very machine.
            session = Session(trust_env=urlsplit(self.root).scheme == "https")
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

    def _send(self, path: str, full_path: str, params: Mapping[str, str]) -> Answer:
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
                    self.root + path,
                    params=params,
                    headers=headers,
                    timeout=(CONNECT_SECONDS, READ_SECONDS),
                    allow_redirects=False,
                    stream=True,
                ) as answer,
            ):
                body = deadline.read_body(answer.raw, self._max_answer_bytes)
                # Numbers take many times their text's length in memory.
                most_values = max(self._max_answer_bytes // 16, _MANY_VALUES)
                if len(body) > most_values < body.count(b","):
                    raise deadline.AnswerTooLarge
                self._note_seconds(time.monotonic() - began)
                return Answer(answer.status_code, answer.headers, body)
        except deadline.AnswerTooLarge:
            raise ExchangeError(
                f"the exchange at {self.root} answered GET {path} with more than "
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
            hint = TLS_HINT if isinstance(error, requests.exceptions.SSLError) else _WAIT_HINT
            raise _Transient(why_unreachable(error), hint=hint) from error

    def _note_seconds(self, seconds: float) -> None:
        before = seconds if self._request_seconds == math.inf else self._request_seconds
        self._request_seconds = before + _SHARE_OF_LATEST * (seconds - before)


def _seconds(header: str | None) -> float | None:
    return float(header) if header and header.isascii() and header.isdigit() else None
