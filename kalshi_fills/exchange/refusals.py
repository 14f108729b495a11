"""Answers that are no data, and connections that fail, as sentences for the operator."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Final, NamedTuple

import requests

from kalshi_fills.errors import ExchangeError

CONNECT_SECONDS: Final = 5.0
"""How long a connection may take to be accepted."""

READ_SECONDS: Final = 20.0
"""How long an answer may be silent."""

TLS_HINT: Final = (
    "check the host and the port in KALSHI_API_URL; where a proxy of your own inspects TLS, name "
    "its certificate in REQUESTS_CA_BUNDLE"
)
"""What to do where a host does not speak TLS as it must."""

_LONGEST_ERROR_BYTES: Final = 1 << 16

_LONGEST_REASON: Final = 200


class Answer(NamedTuple):
    """One answer of the exchange, as it came."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def refusal(answer: Answer, root: str, path: str, key_id: str, now: float) -> ExchangeError:
    """Return the error for an answer that is final and no data, in the operator's terms.

    Args:
        answer: what came.
        root: root of the API.
        path: what was asked for, below the root.
        key_id: the key id of the request, which is not repeated; empty if it was not signed.
        now: seconds since the epoch, to tell how far this clock is off.
    """
    status, reason = answer.status, quoted_reason(answer.body, key_id)
    if status == 401:
        sentence, hint = _unauthorised(answer, key_id, now)
    elif status == 403:
        sentence = f"the exchange forbids this key GET {path}{reason}"
        hint = "give the key the read scope on Kalshi's API keys page, or use another key"
    elif 300 <= status < 400:
        sentence = f"the exchange at {root} redirects GET {path}, which cannot be signed"
        hint = "set KALSHI_API_URL to `prod`, `demo` or the API's root without a slash at its end"
    else:
        sentence = f"the exchange refused GET {path} with {status}{reason}"
        hint = "check KALSHI_API_URL; it ends in /trade-api/v2"
    return ExchangeError(sentence, hint=hint, status=status)


def quoted_reason(body: bytes, key_id: str) -> str:
    """Return what an answer gives as its reason, to follow a sentence; empty if it gives none.

    It is short and printable, and nothing in it could be a key id or a signature: an answer may
    repeat what it was asked.
    """
    text = ", ".join(_reasons(body))
    if key_id:
        text = text.replace(key_id, "…")
    text = re.sub(r"[A-Za-z0-9+/=_%-]{40,}", "…", text)[:_LONGEST_REASON]
    text = "".join(sign if sign.isprintable() else " " for sign in text)
    return f": {text}" if text else ""


def not_understood(body: bytes, key_id: str) -> str:
    """Return what came instead of data in an answer of status 200."""
    reason = quoted_reason(body, key_id)
    return f"answered 200{reason}" if reason else f"answered with {_kind(body)} instead of JSON"


def why_unreachable(error: Exception) -> str:
    """Return how the exchange could not be reached, to follow its name."""
    text = str(error)
    if isinstance(error, requests.exceptions.SSLError):
        return "could not be reached over TLS: its certificate or protocol was not accepted"
    if isinstance(error, requests.exceptions.ProxyError):
        return "could not be reached through the proxy of this environment"
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return f"did not accept a connection within {CONNECT_SECONDS:.0f} s"
    if isinstance(error, requests.exceptions.Timeout) or "timed out" in text:
        return f"did not answer within {READ_SECONDS:.0f} s"
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


def _unauthorised(answer: Answer, key_id: str, now: float) -> tuple[str, str]:
    body = answer.body
    if b"timestamp" in body:
        skew = _skew_seconds(answer.headers.get("Date"), now)
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
        f"the exchange refused the credentials{quoted_reason(body, key_id)}",
        "check KALSHI_API_KEY_ID and KALSHI_PRIVATE_KEY_PATH",
    )


def _skew_seconds(date: str | None, now: float) -> float | None:
    try:
        return abs(parsedate_to_datetime(date).timestamp() - now) if date else None
    except (ValueError, OverflowError):
        return None


def _kind(body: bytes) -> str:
    start = body.lstrip()[:15].lower()
    if not start:
        return "an empty body"
    return "HTML" if start.startswith((b"<!doctype", b"<html")) else "something"


def _reasons(body: bytes) -> list[str]:
    """Return the reasons in an answer, from any of the exchange's four shapes of an error."""
    if len(body) > _LONGEST_ERROR_BYTES:
        return []
    try:
        error = json.loads(body)
    except (ValueError, RecursionError):
        return []
    if isinstance(error, dict) and isinstance(error.get("error"), dict):
        error = error["error"]
    if not isinstance(error, dict):
        return []
    parts = [error.get(key) for key in ("error", "code", "message", "msg", "details")]
    return list(dict.fromkeys(part for part in parts if isinstance(part, str) and part))
