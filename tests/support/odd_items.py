"""Texts of items: fills of every era, junk, and all that may be odd about either."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

from kalshi_fills.pipeline.fills import KNOWN_KEYS
from kalshi_fills.practice.lookalikes import junk_items
from support.payloads import CURRENT, ERAS, SPARE

ODD_VALUES: Final[list[Any]] = [
    *(None, True, False, [], {}, [1], {"a": 1}),
    *(0, 1, -1, 63, 255, 256, 10**11, 10**20),
    *(1609459200, 1609459201, 1795185069, 1795185069123, Decimal("0.5"), Decimal("1.0")),
    *("", "x", " ", "yes", "no", "Yes", "bid", "ask", "buy", "true", "é", "\ud800", "a\0b", "\x7f"),
    *("y" * 101, "y" * 200, "y" * 201, "y" * 1025, "\u0660.\u0665", "1795185069"),
    *("0", "-0", "-0.00", "0.00", "0.001", "1.00", "1", "007.5", "00.5", "1.", ".5", "+1", "1e2"),
    *("0.5", "0.61", "0.39", "0.610000", "0.0000001", "0.1234567", "-1", "NaN", "1,5", "0.5 "),
    *("1234567890123456", "12345678901234567", "9999999999999999.99"),
    *("999999999999.999999", "1000000000000", "1000000000000.000000", "123456789012.12345"),
    *("0.10", "0.100000", "00.100000", "10000000000000000.00", "1234567890123456.7"),
    *("2026-11-20T14:31:09Z", "2026-11-20t14:31:09.1z", "2026-11-20T14:31:09.1234567Z"),
    *("2026-11-20T14:31:09.5Z", "2026-11-20T14:31:09.000000Z", "2026-11-20T14:31:09.Z"),
    *("2026-11-20T14:31:09.123456789Z", "2026-11-20T14:31:09.1234567890Z"),
    *("2026-11-20T14:31:09+02:00", "2026-11-20T14:31:09.000000+00:00", "2026-11-20T14:31:09"),
    *("20261120T143109Z", "2026-11-20 14:31:09.000000Z", "2026-11-20T14:31Z"),
    *("2026-02-31T00:00:00Z", "2026-02-29T00:00:00.000000Z", "2024-02-29T00:00:00.000000Z"),
    *("2026-13-01T00:00:00.000000Z", "2026-11-20T24:00:00.000000Z", "2026-11-20T23:60:00.000000Z"),
    *("2026-06-30T23:59:60.000000Z", "0000-01-01T00:00:00.000000Z", "2020-12-31T23:59:59Z"),
    *("2021-01-01T00:00:00.000000Z", "2021-01-01T00:00:00.000001Z", "9999-12-31T23:59:59.999999Z"),
    *("2026-11-23T12:05:00Z", "2026-11-23T12:05:00.000000Z", "2026-11-23T12:05:00.000001Z"),
]

ODD_LITERALS: Final = [
    *("NaN", "Infinity", "-Infinity", "-0", "-0.0", "1.0", "255.0", "256.0", "1e2", "1E-7"),
    *("1795185069.0", "1.795185069e9", "1e400", "1e999999999999999999999", "9" * 40, "9" * 5_000),
    *("1e1000000", "-1e1000000", "1e-1000000", "-1e-9999999"),
    *('"\\ud800"', '"\\ud83d\\ude00"', '"\\u0041"', '"a\\/b"', '"a\\u0000b"', '"a\\"b"', '"\\n"'),
    *('"é"', '"KXÅ-日本-\U0001f4b8"', '"\u2028"', '"\u0660.5"', '"buy\xa0"'),
    *('"0\\u002e5"', '"ye\\u0073"', '"2026-11-20T14:31:09.000000\\u005a"'),
    *("[[]]", '{"":{}}', "[" * 50 + "]" * 50, '{"a":' * 20 + "1" + "}" * 20),
    # No JSON at all, to Python's decoder at least.
    *('"a\nb"', '"a\x1fb"', '"a\tb"', "01", "+1", "tru", "'x'", '"\\x"', ""),
    '"2026-11-20T14:31:09.000000Z\n2026-11-20T14:31:09.000000Z"',
]
"""Values that only a text can hold, not a decoded payload."""

_ODD_ITEMS: Final = [
    *(
        "null",
        "true",
        "0",
        "-0",
        "1.50",
        "NaN",
        "-Infinity",
        "1e400",
        '"x"',
        '"\\ud800"',
        "[]",
        "{}",
    ),
    *("[1]", '[{"fill_id":"x"}]', '{"fills":[]}', "", " ", "{", "[", "nul", '{"a":1}x', '{"a":1,}'),
    *("\ufeff{}", "9" * 5_000, "[" * 3_000, "[" * 3_000 + "]" * 3_000, '{"fill_id":' * 3_000),
    *(
        '{"status":' + "[" * 3_000 + "]" * 3_000 + "}",
        '{"fill_id":' + "[" * 3_000 + "]" * 3_000 + "}",
    ),
]

_MORE_KEYS: Final = [
    *sorted(KNOWN_KEYS),
    *("status", "taker_side", "rfq_id", "market_result", "entry_price", "yes_bid", "", "é", "new"),
]

_JUNK: Final = [value for _, value in junk_items(11, 300)]

_Fields = list[tuple[str, str]]
"""The keys and values of an object, both as they are written."""


def literal(value: Any) -> str:
    """Return a value as JSON, decimals as the numbers they are."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(key)}:{literal(v)}" for key, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(literal, value)) + "]"
    if isinstance(value, Decimal):
        return str(value) if value.is_finite() else json.dumps(float("nan"))
    return json.dumps(value)


def odd_page(rng: random.Random) -> list[str]:
    """Return a page of up to 40 items, of which few, many or all are odd."""
    share = rng.choice((0.0, 0.05, 0.3, 1.0))
    items = [
        _odd_item(rng) if rng.random() < share else _spelled(rng, _todays(rng))
        for _ in range(rng.randrange(1, 41))
    ]
    if rng.random() < 0.2:
        items += rng.choices(items, k=3)
    return items


def _fields(payload: dict[str, Any]) -> _Fields:
    return [(json.dumps(key), literal(value)) for key, value in payload.items()]


def _todays(rng: random.Random) -> _Fields:
    """Return a fill of today, as plain as they are."""
    yes, outcome = rng.randrange(1, 10_000), rng.choice(("yes", "no"))
    day = f"2026-{rng.randrange(1, 12):02}-{rng.randrange(1, 23):02}"
    seconds = f"{rng.randrange(24):02}:{rng.randrange(60):02}:{rng.randrange(60):02}"
    fraction = f".{rng.randrange(10**6):06}".rstrip("0").rstrip(".")
    payload = (SPARE if rng.random() < 0.3 else CURRENT) | {
        "fill_id": f"fill-{rng.randrange(1 << 32)}",
        "order_id": f"order-{rng.randrange(1_000)}",
        "count_fp": f"{rng.randrange(1, 10_000) / 100:.2f}",
        "created_time": f"{day}T{seconds}{fraction}Z",
        "yes_price_dollars": f"0.{yes:04}",
        "no_price_dollars": f"0.{10_000 - yes:04}",
        "outcome_side": outcome,
        "book_side": "bid" if outcome == "yes" else "ask",
        "fee_cost": f"{rng.randrange(10**5) / 10**6:.{rng.randrange(2, 7)}f}",
    }
    return _fields(payload)


def _odd_literal(rng: random.Random) -> str:
    return rng.choice(ODD_LITERALS) if rng.random() < 0.3 else literal(rng.choice(ODD_VALUES))


def _changed(rng: random.Random, fields: _Fields) -> _Fields:
    place = rng.randrange(len(fields))
    return [*fields[:place], (fields[place][0], _odd_literal(rng)), *fields[place + 1 :]]


def _lacking(rng: random.Random, fields: _Fields) -> _Fields:
    place = rng.randrange(len(fields))
    return [*fields[:place], *fields[place + 1 :]]


def _extended(rng: random.Random, fields: _Fields) -> _Fields:
    key = json.dumps(rng.choice(_MORE_KEYS), ensure_ascii=rng.random() < 0.5)
    return [*fields, (key, _odd_literal(rng))]


def _repeating(rng: random.Random, fields: _Fields) -> _Fields:
    """Return the fields with one of the keys twice, with another value or the same."""
    key, value = rng.choice(fields)
    again = (key, rng.choice((value, _odd_literal(rng), "null")))
    place = rng.randrange(len(fields) + 1)
    return [*fields[:place], again, *fields[place:]]


def _escaped(rng: random.Random, fields: _Fields) -> _Fields:
    """Return the fields with a letter of a key or of a text written as an escape."""
    place = rng.randrange(len(fields))
    texts = list(fields[place])
    part = rng.randrange(2)
    if len(texts[part]) > 2 and texts[part][0] == '"' and "\\" not in texts[part]:
        letter = rng.randrange(1, len(texts[part]) - 1)
        text = texts[part]
        texts[part] = f"{text[:letter]}\\u{ord(text[letter]) & 0xFFFF:04x}{text[letter + 1 :]}"
    return [*fields[:place], (texts[0], texts[1]), *fields[place + 1 :]]


def _turned(rng: random.Random, fields: _Fields) -> _Fields:
    """Return the fields with a direction that may contradict itself."""
    sides = {
        '"outcome_side"': ("yes", "no"),
        '"book_side"': ("bid", "ask"),
        '"side"': ("yes", "no", "bid", "ask"),
    }
    return [
        (key, f'"{rng.choice(sides[key])}"' if key in sides else value) for key, value in fields
    ]


def _shuffled(rng: random.Random, fields: _Fields) -> _Fields:
    return rng.sample(fields, len(fields))


_MUTATIONS: Final[list[Callable[[random.Random, _Fields], _Fields]]] = [
    *(_changed, _changed, _changed, _lacking, _extended, _repeating, _repeating),
    *(_escaped, _turned, _shuffled),
]


def _odd_item(rng: random.Random) -> str:
    what = rng.random()
    if what < 0.01:
        return rng.choice(_ODD_ITEMS)
    if what < 0.1:
        return literal(rng.choice(_JUNK))
    fields = _fields(rng.choice(list(ERAS.values()))) if what < 0.3 else _todays(rng)
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3))):
        if fields:
            fields = rng.choice(_MUTATIONS)(rng, fields)
    return _spelled(rng, fields)


def _spelled(rng: random.Random, fields: _Fields) -> str:
    """Return an object with spaces in one of the ways in which exchanges write them."""
    if rng.random() < 0.85:
        return "{" + ",".join([f"{key}:{value}" for key, value in fields]) + "}"
    gap, colon = rng.choice(((" ", ": "), ("\n  ", ": "), ("\t", " :\r\n")))
    inner = f",{gap}".join([f"{key}{colon}{value}" for key, value in fields])
    return rng.choice(("", " ", "\n")) + f"{{{gap}{inner}{gap}}}" + rng.choice(("", " ", "\n"))
