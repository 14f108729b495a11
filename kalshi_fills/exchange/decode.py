"""The answer of a listing to the text of each item, and the cursor of the page that follows.

What is inside an item is not looked at.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable
from typing import Final, NamedTuple

import msgspec

from kalshi_fills.pipeline.values import JsonValue, json_decoder

LIVE: Final = "live"

HISTORICAL: Final = "historical"


class Page(NamedTuple):
    """One answered page of a walk, in the exchange's order (newest first, not promised)."""

    tier: str
    items: list[str]
    """The JSON text of each item, as it came."""
    share: float | None = None
    """Which share of the range of time is read by now; None where that is not known."""


class UnknownPaging(ValueError):
    """A listing goes on in a way that cannot be followed; the text says what the exchange did."""


class _Long(msgspec.Struct, forbid_unknown_fields=True):
    """An answer of today that lists fills or orders: the long listings."""

    fills: list[msgspec.Raw] | None = None
    orders: list[msgspec.Raw] | None = None
    cursor: str = ""


_decode_long: Final = msgspec.json.Decoder(_Long).decode

_NOT_DECODED: Final = (msgspec.MsgspecError, RecursionError)
"""What msgspec raises at a text that `json` may decode all the same: one with NaN in it, say."""

_SPACE: Final = " \t\n\r"

_marks: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{},"]').finditer


def decode_listing(text: str, name: str) -> tuple[list[str], str]:
    """Return the items of an answer: an object with a list under `name`, or a bare list.

    Returns:
        The text of each item, and the cursor, empty at the end of the walk. A null list is an
        empty one.

    Raises:
        UnknownPaging: there is no cursor, and another key that links to a next page.
        ValueError, RecursionError: it is not JSON, or there is no such list in it, or something
            beside the list is nested too deep.
    """
    with contextlib.suppress(*_NOT_DECODED):
        long = _decode_long(text)
        listed = {"fills": long.fills, "orders": long.orders}.get(name)
        if listed is not None:
            return _texts(listed), long.cursor
    text = text.strip(_SPACE)
    if text[:1] == "[":
        return _items(text), ""
    members = _members(text)
    if name not in members:
        raise ValueError(f"no list {name}")
    items = [] if members[name] == "null" else _items(members[name])
    others = {key: json_decoder.decode(text) for key, text in members.items() if key != name}
    return items, _cursor(others.pop("cursor", None)) or _end(others)


def _texts(items: Iterable[msgspec.Raw]) -> list[str]:
    return [str(item, "utf-8") for item in items]


def _items(text: str) -> list[str]:
    """Return the text of each item of a list."""
    with contextlib.suppress(*_NOT_DECODED):
        return _texts(msgspec.json.decode(text, type=list[msgspec.Raw]))
    items = _parts(text, "[]")
    for item in items:
        with contextlib.suppress(RecursionError):  # nested too deep: it is refused by itself
            json_decoder.decode(item)
    return items


def _members(text: str) -> dict[str, str]:
    """Return the text of each value of an object, by its key."""
    with contextlib.suppress(*_NOT_DECODED):
        found = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
        return dict(zip(found, _texts(found.values()), strict=True))
    members: dict[str, str] = {}
    for part in _parts(text, "{}"):
        if part[:1] != '"':
            raise ValueError("a key that is no text")
        key, end = json_decoder.raw_decode(part)
        colon_and_value = part[end:].lstrip(_SPACE)
        if colon_and_value[:1] != ":":
            raise ValueError("a key without a value")
        value = colon_and_value[1:].strip(_SPACE)
        with contextlib.suppress(RecursionError):
            json_decoder.decode(value)  # the last one of a key counts, but all must be JSON
        members[str(key)] = value
    return members


def _parts(text: str, brackets: str) -> list[str]:
    """Return the parts, separated by commas, of a text in brackets."""
    parts: list[str] = []
    depth, start = 0, 1
    for found in _marks(text):
        mark = found[0]
        if mark in ("[", "{"):
            depth += 1
        elif mark == '"':
            raise ValueError("a string without an end")
        elif mark in ("]", "}", ","):
            if depth == 1:
                parts.append(text[start : found.start()].strip(_SPACE))
                start = found.end()
            depth -= mark != ","
    if depth or start != len(text) or text[:1] + text[-1:] != brackets:
        raise ValueError(f"not a text in {brackets}")
    return [] if parts == [""] else parts


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
