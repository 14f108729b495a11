"""The answer of a listing to items: numbers exactly, and each item with its own text.

What is inside an item is not looked at.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Final, NamedTuple

from kalshi_fills.pipeline.values import JsonValue

LIVE: Final = "live"

HISTORICAL: Final = "historical"


class Item(NamedTuple):
    """One element of a listing: its value, and the text that the value was decoded from."""

    value: JsonValue
    text: str


class Page(NamedTuple):
    """One answered page of a walk, in the exchange's order (newest first, not promised)."""

    tier: str
    items: list[Item]
    share: float | None = None
    """Which share of the range of time is read by now; None where that is not known."""


class UnknownPaging(ValueError):
    """A listing goes on in a way that cannot be followed; the text says what the exchange did."""


def _whole_number(text: str) -> int | Decimal:
    # Python refuses to parse thousands of digits; such a number is junk, and must not crash.
    return int(text) if len(text) <= 30 else Decimal(text)


def _fraction(text: str) -> Decimal:
    try:
        return Decimal(text)
    except ArithmeticError:  # an exponent beyond any decimal: junk, and must not crash
        return Decimal("NaN")


decoder: Final = json.JSONDecoder(
    parse_float=_fraction, parse_int=_whole_number, parse_constant=Decimal
)
"""Decodes numbers exactly, and those beyond all bounds to something that is refused later."""

_quick_decoder: Final = json.JSONDecoder(parse_float=Decimal, parse_constant=Decimal)

_spaced: Final = re.compile(r"\}[ \t\r\n]+[,\]]|,[ \t\r\n]+\{").search

_skip_space: Final = re.compile(r"[ \t\n\r]*").match


def decode_listing(text: str, name: str) -> tuple[list[Item], str]:
    """Return the items of an answer: an object with a list under `name`, or a bare list.

    Numbers with a fraction become Decimal, NaN and Infinity too; each item keeps its own text.

    Returns:
        The items, and the cursor, empty at the end of the walk. A null list is an empty one.

    Raises:
        UnknownPaging: there is no cursor, and another key that links to a next page.
        ValueError: it is not JSON, or there is no such list in it.
    """
    quick = _decode_compact(text, name)
    if quick is not None:
        return quick
    items: list[Item] | None = None
    cursor = ""
    beside: dict[str, JsonValue] = {}
    position = _space(text, 0)
    if text[position : position + 1] == "[":
        items, position = _items(text, position)
    elif text[position : position + 1] == "{":
        position = _space(text, position + 1)
        while text[position : position + 1] != "}":
            key, position = decoder.raw_decode(text, position)
            position = _space(text, position)
            if type(key) is not str or text[position : position + 1] != ":":
                raise ValueError("not an object")
            position = _space(text, position + 1)
            if key == name and text[position : position + 1] == "[":
                items, position = _items(text, position)
            else:
                value, position = decoder.raw_decode(text, position)
                if key == name:
                    items = _no_items(value)
                elif key == "cursor":
                    cursor = _cursor(value)
                else:
                    beside[key] = value
            position = _space(text, position)
            if text[position : position + 1] == ",":
                position = _space(text, position + 1)
            elif text[position : position + 1] != "}":
                raise ValueError("not an object")
        position += 1
    if items is None or _space(text, position) != len(text):
        raise ValueError(f"no list {name}")
    return items, cursor or _end(beside)


def _decode_compact(text: str, name: str) -> tuple[list[Item], str] | None:
    """Return the same for an answer of objects without spaces, several times as fast; else None.

    Between two objects of such a list stands `},{`. If that stands there as often as there are
    gaps, it stands nowhere else, and the list can be cut at it.
    """
    opening = f'"{name}":[{{'
    start = text.find(opening)
    if start < 0:
        return None
    # The expression looks at every character; most answers have no space in them at all.
    if any(space in text for space in " \t\r\n") and _spaced(text, start):
        return None
    try:
        answer = _quick_decoder.decode(text)
    except (ValueError, ArithmeticError):  # no JSON, or a number beyond all bounds
        return None
    values = answer.get(name) if isinstance(answer, dict) else None
    if not isinstance(values, list) or any(type(value) is not dict for value in values):
        return None
    start += len(opening)
    end = text.find("}]", start)
    parts = text[start:end].split("},{")
    if len(parts) != len(values) or text.find("}]", end + 2) >= 0:
        return None
    items = list(map(Item._make, zip(values, [f"{{{part}}}" for part in parts], strict=True)))
    try:
        if _quick_decoder.decode(items[0].text) != values[0]:  # a list of that name deeper inside
            return None
    except ValueError:
        return None
    cursor = _cursor(answer.get("cursor"))
    return items, cursor or _end(
        {key: answer[key] for key in answer if key not in (name, "cursor")}
    )


def _items(text: str, position: int) -> tuple[list[Item], int]:
    items: list[Item] = []
    position = _space(text, position + 1)
    if text[position : position + 1] == "]":
        return items, position + 1
    while True:
        start = position
        value, position = decoder.raw_decode(text, start)
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


def _end(beside: JsonValue) -> str:
    """Return the empty cursor, unless something beside the list links to a next page.

    Raises:
        UnknownPaging: it does.
    """
    if isinstance(beside, dict):
        for key, value in beside.items():
            if _links_on(key) and (value is True or (isinstance(value, str) and value)):
                raise UnknownPaging("sent pages that are linked by something else than `cursor`")
            _end(value)
    return ""


def _links_on(key: str) -> bool:
    word = key.lower()
    return "prev" not in word and any(mark in word for mark in ("cursor", "next", "more"))
