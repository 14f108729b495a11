"""Refused items that claim to be fills, and the fills that close them.

A claim is closed by the pass that stores its fill, or finds it stored: the exchange sends it in a
way that can be read again, or the tool has learned to read it. Pure: no HTTP, no SQL, no clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from kalshi_fills.pipeline.fills import FillKey
from kalshi_fills.pipeline.values import json_decoder

_ORDER_KEYS = ("order_id", "orderId")

_FILL_KEYS = ("fill_id", "trade_id")


class Claim(NamedTuple):
    """A refused item in quarantine that claims to be a fill."""

    fingerprint: str
    fill_ids: frozenset[str]
    """Its `fill_id` and `trade_id`, as far as it has them."""
    order_id: str
    """Empty where it has none."""


def read_claim(fingerprint: str, raw_json: str) -> Claim:
    """Return a claim from its row in quarantine; without ids where the payload is unreadable."""
    try:
        item = json_decoder.decode(raw_json)
    except (ValueError, RecursionError):
        item = None
    fields = item if isinstance(item, dict) else {}
    # An id that came as a number is refused, and may come back as the text that it should be.
    texts = {
        key: str(fields[key]) for key in (*_FILL_KEYS, *_ORDER_KEYS) if _is_id(fields.get(key))
    }
    return Claim(
        fingerprint,
        frozenset(texts[key] for key in _FILL_KEYS if key in texts),
        next((texts[key] for key in _ORDER_KEYS if key in texts), ""),
    )


def _is_id(value: object) -> bool:
    return (type(value) is str and value != "") or type(value) is int


def closed_claims(
    claims: Sequence[Claim],
    met: Callable[[FillKey], bool],
    keys_of: Callable[[list[str]], Iterable[FillKey]],
) -> list[str]:
    """Return the fingerprints of the claims whose fill a pass met.

    Args:
        claims: what is to be looked at.
        met: returns whether the pass met a fill.
        keys_of: looks up the stored fills with one of these ids, for claims without an order id.
    """
    orderless = sorted({one for claim in claims if not claim.order_id for one in claim.fill_ids})
    known = {key.fill_id for key in keys_of(orderless) if met(key)} if orderless else set()
    return [
        claim.fingerprint
        for claim in claims
        if (
            any(met(FillKey(fill_id, claim.order_id)) for fill_id in claim.fill_ids)
            if claim.order_id
            else claim.fill_ids & known
        )
    ]
