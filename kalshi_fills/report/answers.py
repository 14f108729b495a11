"""Answers of diagnostic queries, their rows read by the names of the columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kalshi_fills.diagnose.survey import QueryResult

Record = TypeVar("Record", bound=NamedTuple)


def records(query: QueryResult) -> list[dict[str, object]]:
    """Return the rows of an answer, each as its values by column."""
    return [dict(zip(query.columns, row, strict=True)) for row in query.rows]


def answer(queries: Sequence[QueryResult], name: str) -> QueryResult | None:
    """Return the answer of one query among many, or None if it was not asked."""
    return next((query for query in queries if query.name == name), None)


def select_from(query: QueryResult | None, row_type: type[Record]) -> list[Record]:
    """Return the rows of an answer, each as a NamedTuple of the columns its fields name."""
    return [] if query is None else query.select(row_type)
