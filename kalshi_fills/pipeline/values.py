"""JSON values to exact values, and what any item shows. What a fill is, is not known here.

A function returns None where a value is not of its kind. What follows from that, the caller knows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Final

import xxhash

JsonValue = object
"""Any decoded JSON value. Numbers with a fraction or an exponent are decoded to Decimal."""

EPOCH_SECONDS_END: Final = 100_000_000_000
"""Numbers from here on are no epoch seconds."""

TIME_KEYS: Final = ("created_time", "ts", "timestamp")
"""The keys of an event time, the best first."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_LARGEST_WHOLE: Final = 10**16

_LONGEST_DECIMAL: Final = 36

_DECIMAL: Final = re.compile(r"-?[0-9]{1,16}(?:\.[0-9]{1,18})?", re.ASCII).fullmatch

_INSTANT: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt](?:[01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?"
    r"(?:[Zz]|[+-][0-9]{2}:[0-9]{2})",
    re.ASCII,
).fullmatch


def _whole_number(text: str) -> int | Decimal:
    # Python refuses to parse thousands of digits; such a number is junk, and must not crash.
    return int(text) if len(text) <= 30 else Decimal(text)


def _fraction(text: str) -> Decimal:
    try:
        return Decimal(text)
    except ArithmeticError:  # an exponent beyond any decimal: junk, and must not crash
        return Decimal("NaN")


json_decoder: Final = json.JSONDecoder(
    parse_float=_fraction, parse_int=_whole_number, parse_constant=Decimal
)
"""Decodes numbers exactly, and those beyond all bounds to something that is refused later."""


def decode_item(text: str) -> JsonValue:
    """Return the value of a listed item; None where it is nested too deep to be decoded."""
    try:
        return json_decoder.decode(text)
    except (ValueError, RecursionError):
        return None


def read_decimal(value: JsonValue) -> Decimal | None:
    """Return the number that a text in plain decimal notation stands for."""
    if type(value) is str and len(value) <= _LONGEST_DECIMAL:
        return _read_decimal(value)
    return None


@lru_cache(1 << 14)
def _read_decimal(text: str) -> Decimal | None:
    # The same few prices and quantities come again and again.
    if not _DECIMAL(text):
        return None
    number = Decimal(text)
    return number or abs(number)  # no table keeps the sign of zero


def read_whole(value: JsonValue) -> Decimal | None:
    """Return a whole number, or what a text in plain decimal notation stands for."""
    if type(value) is int and -_LARGEST_WHOLE < value < _LARGEST_WHOLE:
        return Decimal(value)
    return read_decimal(value)


def read_number(value: JsonValue) -> Decimal | None:
    """Return a number, whole or not, or what a text in plain decimal notation stands for."""
    if type(value) is Decimal:
        is_within = value.is_finite() and -_LARGEST_WHOLE < value < _LARGEST_WHOLE
        return value if is_within else None
    return read_whole(value)


def read_flag(value: JsonValue) -> bool | None:
    """Return a flag: true or false as they stand."""
    return value if type(value) is bool else None


def read_small(value: JsonValue) -> int | None:
    """Return a whole number that fits in one byte."""
    return value if type(value) is int and 0 <= value <= 255 else None


def read_text(value: JsonValue) -> str | None:
    """Return a text that a table can store: one without half a character in it."""
    if type(value) is not str:
        return None
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            return None
    return value


def read_instant(value: JsonValue) -> datetime | None:
    """Return RFC 3339 with a zone, or epoch seconds or milliseconds, as aware UTC."""
    if type(value) is str:
        if not _INSTANT(value):
            return None
        try:
            moment = datetime.fromisoformat(value.upper())
            return moment if moment.tzinfo is UTC else moment.astimezone(UTC)
        except (ValueError, OverflowError):  # the 31st of February, or year 0
            return None
    if type(value) is int and 0 < value < EPOCH_SECONDS_END * 1000:
        unit = 1000 if value < EPOCH_SECONDS_END else 1
        return _EPOCH + timedelta(milliseconds=value * unit)
    return None


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


def present_values(item: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
    """Return an object without the keys that are null or empty, which are as good as absent."""
    return {key: value for key, value in item.items() if value not in (None, "", [], {})}


def event_time(item: JsonValue) -> datetime | None:
    """Return the event time of an item, where one can be read, however broken the rest is."""
    if not isinstance(item, dict):
        return None
    present = present_values(item)
    moments = (read_instant(present[key]) for key in TIME_KEYS if key in present)
    return next(filter(None, moments), None)
