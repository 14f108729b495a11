"""What can be told of any item of an answer, whatever it is: its keys and its fingerprint."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import xxhash

if TYPE_CHECKING:
    from kalshi_fills.pipeline.values import JsonValue


def keys_of(item: JsonValue) -> tuple[str, ...]:
    """Return an object's keys as text that any table can store; none for anything else."""
    if not isinstance(item, dict):
        return ()
    return tuple(key.encode(errors="backslashreplace").decode() for key in item)


def fingerprint(item: JsonValue, raw_json: str) -> str:
    """Return 32 hex digits, equal for equal content in any order of keys."""
    try:
        canonical = json.dumps(item, sort_keys=True, default=lambda number: {"number": str(number)})
    except RecursionError:  # nested almost to the decoder's limit: the text itself must do
        canonical = raw_json
    return xxhash.xxh3_128_hexdigest(canonical.encode(errors="surrogatepass"))
