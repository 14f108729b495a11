"""The answer of a listing to the text of each item, and the cursor of the page that follows.

What is inside an item is not looked at.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping
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


class _Fills(msgspec.Struct, forbid_unknown_fields=True):
    """All that an answer of today has that lists fills."""

    items: list[msgspec.Raw] = msgspec.field(name="fills")
    cursor: str = ""


class _Orders(msgspec.Struct, forbid_unknown_fields=True):
    """All that an answer of today has that lists orders."""

    items: list[msgspec.Raw] = msgspec.field(name="orders")
    cursor: str = ""


_decoders: Final[Mapping[str, Callable[[str], _Fills | _Orders]]] = {
    "fills": msgspec.json.Decoder(_Fills).decode,
    "orders": msgspec.json.Decoder(_Orders).decode,
}
"""Of the long listings, by the key of the list."""

_decode_object: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode

_decode_list: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode

_brackets_and_strings: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]').finditer

_skip_space: Final = re.compile(r"[ \t\n\r]*").match


def decode_listing(text: str, name: str) -> tuple[list[str], str]:
    """Return the items of an answer: an object with a list under `name`, or a bare list.

    Returns:
        The text of each item, and the cursor, empty at the end of the walk. A null list is an
        empty one.

    Raises:
        UnknownPaging: there is no cursor, and another key that links to a next page.
        ValueError: it is not JSON, or there is no such list in it.
    """
    if decode := _decoders.get(name):
        with contextlib.suppress(msgspec.MsgspecError, RecursionError):
            listing = decode(text)
            return _texts(listing.items), listing.cursor
    # Else it is an answer that `json` may take all the same.
    with contextlib.suppress(msgspec.MsgspecError, RecursionError):
        if text[:1] == "[":
            return _texts(_decode_list(text)), ""
        answer = _decode_object(text)
        if name not in answer:
            raise ValueError(f"no list {name}")
        items = _texts(_decode_list(answer[name])) if bytes(answer[name]) != b"null" else []
        others = {key: _value(raw) for key, raw in answer.items() if key != name}
        return items, _cursor(others.pop("cursor", None)) or _end(others)
    return _decode_leniently(text, name)


def _texts(items: list[msgspec.Raw]) -> list[str]:
    return [str(item, "utf-8") for item in items]


def _value(raw: msgspec.Raw) -> JsonValue:
    return json_decoder.decode(str(raw, "utf-8"))


def _decode_leniently(text: str, name: str) -> tuple[list[str], str]:
    """Return the same for all that Python's own decoder takes: NaN, and halves of characters."""
    items: list[str] | None = None
    cursor = ""
    beside: dict[str, JsonValue] = {}
    position = _space(text, 0)
    if text[position : position + 1] == "[":
        items, position = _items(text, position)
    elif text[position : position + 1] == "{":
        position = _space(text, position + 1)
        while text[position : position + 1] != "}":
            key, position = json_decoder.raw_decode(text, position)
            position = _space(text, position)
            if type(key) is not str or text[position : position + 1] != ":":
                raise ValueError("not an object")
            position = _space(text, position + 1)
            if key == name and text[position : position + 1] == "[":
                items, position = _items(text, position)
            else:
                value, position = json_decoder.raw_decode(text, position)
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


def _items(text: str, position: int) -> tuple[list[str], int]:
    items: list[str] = []
    position = _space(text, position + 1)
    if text[position : position + 1] == "]":
        return items, position + 1
    while True:
        start = position
        position = _end_of_item(text, start)
        items.append(text[start:position])
        position = _space(text, position)
        following = text[position : position + 1]
        position = _space(text, position + 1)
        if following == "]":
            return items, position
        if following != ",":
            raise ValueError("not a list")


def _end_of_item(text: str, start: int) -> int:
    """Return where an item ends; one that is nested too deep to be decoded costs no page."""
    try:
        return json_decoder.raw_decode(text, start)[1]
    except RecursionError:
        depth = 0
        for found in _brackets_and_strings(text, start):
            if found[0] in ("[", "{"):
                depth += 1
            elif found[0] in ("]", "}"):
                depth -= 1
                if depth == 0:
                    return found.end()
        raise ValueError("not a list") from None


def _space(text: str, position: int) -> int:
    match = _skip_space(text, position)
    assert match is not None
    return match.end()


def _no_items(value: JsonValue) -> list[str]:
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
