"""Requests and answers of the practice exchange, as the exchange's API words them."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from email.message import Message
from typing import Any
from urllib.parse import parse_qs

from kalshi_fills.practice.faults import Mishap

MAX_LIMIT = 1000


@dataclass(slots=True)
class Request:
    """One request whose signature was checked."""

    path: str
    headers: Message
    query: str


@dataclass(slots=True)
class Answer:
    """One answer, its body in parts."""

    status: int
    chunks: Sequence[bytes]
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    mishap: Mishap | None = None
    """`reset`, `truncate` or `endless_body`: how sending goes wrong."""


class Refused(Exception):
    """An answer, raised from where it is known."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


def json_answer(status: int, body: Any) -> Answer:
    """Return an answer with a JSON body."""
    return Answer(status, [json.dumps(body, separators=(",", ":")).encode()])


def error_answer(status: int, code: str, message: str | None = None, **more: str) -> Answer:
    """Return an error in the nested form of today."""
    error = {"code": code, "message": message or code.replace("_", " "), **more}
    return json_answer(status, {"error": error})


def unauthenticated(details: str) -> Refused:
    """Return a 401 to raise."""
    code = "authentication_error"
    return Refused(error_answer(401, code, code, details=details))


class Parameters:
    """The query of one request; a wrong one is refused as the exchange refuses it."""

    def __init__(self, operation: str, query: str) -> None:
        self._operation = operation
        self._given = {name: values[-1] for name, values in parse_qs(query).items()}

    def _refusal(self, name: str, tag: str) -> Refused:
        title = "".join(part.capitalize() for part in name.split("_"))
        message = (
            f"Parameter validation failed for {self._operation}: "
            f"Key: '{self._operation}Params.{title}' "
            f"Error:Field validation for '{title}' failed on the '{tag}' tag"
        )
        return Refused(json_answer(400, {"msg": message}))

    def text(self, name: str) -> str | None:
        """Return a parameter as it was given, None if it was not."""
        return self._given.get(name)

    def texts(self, name: str) -> frozenset[str] | None:
        """Return the parts of a comma-separated parameter."""
        given = self._given.get(name)
        return None if given is None else frozenset(given.split(","))

    def number(self, name: str, least: int = -(2**53), most: int = 2**53) -> int | None:
        """Return a whole number in a range."""
        given = self._given.get(name)
        if given is None:
            return None
        try:
            value = int(given)
        except ValueError:
            raise self._refusal(name, "numeric") from None
        if value < least:
            raise self._refusal(name, "gte")
        if value > most:
            raise self._refusal(name, "lte")
        return value

    def limit(self) -> int:
        """Return how many items a page has."""
        given = self.number("limit", 1, MAX_LIMIT)
        return 100 if given is None else given

    def filters(self) -> str:
        """Return everything that was asked for, except the page, as one text."""
        filters = {**self._given, "cursor": "", "limit": ""}
        return json.dumps(filters, sort_keys=True)

    def one_of(self, name: str, allowed: Collection[str]) -> str | None:
        """Return a parameter that is one of a few words."""
        given = self._given.get(name)
        if given is not None and given not in allowed:
            raise self._refusal(name, "oneof")
        return given
