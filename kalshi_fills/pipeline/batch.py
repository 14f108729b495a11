"""Many items at once, at a fraction of the cost of one at a time, and the counts of what they are.

What a fill is, `parse.read_item` alone decides. It reads one item of each kind; the fill it returns
is the pattern of all others of that kind, which have the same keys, and the same values but in a
few keys that do not depend on each other, such as ids and times. Where anything in a run of items
is in doubt, the entire run is read item by item.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from itertools import groupby
from typing import Any, Final, NamedTuple

from kalshi_fills.pipeline.fills import CLOCK_TOLERANCE, EARLIEST_FILL, Fill, Rejected, Stage
from kalshi_fills.pipeline.parse import good_contracts, good_fee, read_item
from kalshi_fills.pipeline.stages import Counts
from kalshi_fills.pipeline.values import JsonValue, read_instant

_FEWEST: Final = 8
"""Shorter runs are not worth laying out as columns."""

_SHAPES_KEPT: Final = 8

_KINDS_KEPT: Final = 1 << 12

_LONGEST_TEXT: Final = 200
"""Three texts of this length are well within what `fills.gate` allows for all together."""

_LONGEST_OTHER_TEXTS: Final = 400

_PLAIN_TYPES: Final = frozenset((str, int, bool, type(None)))

_LARGEST_NUMBER: Final = 255

_EARLIEST_SECOND: Final = int(EARLIEST_FILL.timestamp())

_LATEST_SECOND: Final = 100_000_000_000

_Item = tuple[JsonValue, str]

_Column = Sequence[Any]
"""The values of one key, or of one field of the fills, all of a type that its reader knows."""

_Shape = tuple[tuple[str, ...], tuple[type, ...]]
"""The keys of an object and the types of its values, in order: `true` is not 1 here."""


class Classified(NamedTuple):
    """The outcome of many items."""

    fills: list[Fill]
    """In the order they came; the same one may be there twice."""
    rejected: list[Rejected]


def classify(items: Iterable[_Item], source: str, now: datetime, counts: Counts) -> Classified:
    """Return which items are fills and which are refused, and count them.

    Args:
        items: decoded items, each with the text it was decoded from.
        source: the tier they came from.
        now: the clock against which event times are gated, aware UTC.
        counts: the counts of the pass, which are added to.
    """
    kept: list[Fill] = []
    rejected: list[Rejected] = []
    for outcome in read_items(items, source, now):
        if isinstance(outcome, Fill):
            kept.append(outcome)
        else:
            rejected.append(outcome)
    passed = len(kept)
    refused = dict.fromkeys(Stage, 0)
    for refusal in rejected:
        refused[refusal.stage] += 1
    counts.n_gated += passed
    counts.n_valid += passed + refused[Stage.GATED]
    counts.n_real += passed + refused[Stage.GATED] + refused[Stage.VALID]
    counts.n_raw += passed + len(rejected) - refused[Stage.RAW]
    counts.n_api += passed + len(rejected)
    counts.n_rejected += len(rejected)
    return Classified(kept, rejected)


def read_items(items: Iterable[_Item], source: str, now: datetime) -> list[Fill | Rejected]:
    """Take items through the stages raw, real, valid and gated, as `parse.read_item` does.

    Args:
        items: decoded items, each with the text it was decoded from.
        source: the tier they came from.
        now: the clock against which event times are gated, aware UTC.

    Returns:
        What became of each item, in their order.
    """
    outcomes: list[Fill | Rejected] = []
    for shape, run in groupby(items, key=_shape):
        alike = list(run)
        outcomes += _read_together(shape, alike, source, now) or [
            read_item(value, text, source, now) for value, text in alike
        ]
    return outcomes


def _shape(item: _Item) -> _Shape | None:
    value = item[0]
    return (tuple(value), tuple(map(type, value.values()))) if type(value) is dict else None


def _read_together(
    shape: _Shape | None, alike: Sequence[_Item], source: str, now: datetime
) -> list[Fill] | None:
    """Read items of one shape; None if it is not certain that all of them are fills."""
    if shape is None or len(alike) < _FEWEST or not _PLAIN_TYPES.issuperset(shape[1]):
        return None
    values, texts = zip(*alike, strict=True)
    common: dict[str, _Column] = dict(
        zip(shape[0], zip(*map(dict.values, values), strict=True), strict=True)
    )
    own: dict[str, _Column] = {"source": [source] * len(alike), "raw_json": texts}
    for key, kind in zip(*shape, strict=True):
        if (key, kind) in _OWN:
            field, read = _OWN[key, kind]
            column = read(common.pop(key))
            if column is None:
                return None
            own[field] = column
    if not _NEEDED.issubset(own):
        return None
    moments = own["executed_at"]
    if min(moments) <= EARLIEST_FILL or max(moments) > now + CLOCK_TOLERANCE:
        return None
    patterns = _patterns(shape, common, alike, now)
    if patterns is None:
        return None
    columns = dict(zip(Fill._fields, zip(*patterns, strict=True), strict=True)) | own
    return list(map(Fill._make, zip(*[columns[field] for field in Fill._fields], strict=True)))


def _patterns(
    shape: _Shape, common: Mapping[str, _Column], alike: Sequence[_Item], now: datetime
) -> list[Fill] | None:
    """Return a fill of its kind for each item; None if one of the items is no fill."""
    known = _known_patterns(shape)
    patterns: list[Fill] = []
    kinds = zip(*common.values(), strict=True) if common else [()] * len(alike)
    for kind, (value, text) in zip(kinds, alike, strict=True):
        pattern = known.get(kind)
        if pattern is None:
            read = read_item(value, text, "", now)
            if isinstance(read, Rejected):
                return None
            if len(read.action) + len(read.client_order_id) > _LONGEST_OTHER_TEXTS:
                return None
            if len(known) >= _KINDS_KEPT:
                known.clear()
            known[kind] = pattern = read._replace(raw_json="")
        patterns.append(pattern)
    return patterns


@lru_cache(_SHAPES_KEPT)
def _known_patterns(_shape: _Shape) -> dict[tuple[JsonValue, ...], Fill]:
    return {}


def _moments(column: _Column) -> _Column | None:
    moments = list(map(read_instant, column))
    return moments if all(moments) else None


def _seconds(column: _Column) -> _Column | None:
    return column if min(column) > _EARLIEST_SECOND and max(column) < _LATEST_SECOND else None


def _small_numbers(column: _Column) -> _Column | None:
    return column if min(column) >= 0 and max(column) <= _LARGEST_NUMBER else None


def _texts(column: _Column) -> _Column | None:
    plain = all(column) and all(map(str.isascii, column))
    return column if plain and max(map(len, column)) <= _LONGEST_TEXT else None


def _decimals(read: Callable[[str], object]) -> Callable[[_Column], _Column | None]:
    def of(column: _Column) -> _Column | None:
        decimals = list(map(read, column))
        return None if type(None) in set(map(type, decimals)) else decimals

    return of


_OWN: Final[Mapping[tuple[str, type], tuple[str, Callable[[_Column], _Column | None]]]] = {
    ("created_time", str): ("executed_at", _moments),
    ("ts", int): ("", _seconds),
    ("fill_id", str): ("fill_id", _texts),
    ("trade_id", str): ("", _texts),
    ("order_id", str): ("order_id", _texts),
    ("ticker", str): ("ticker", _texts),
    ("market_ticker", str): ("", _texts),
    ("count_fp", str): ("contracts", _decimals(good_contracts)),
    ("fee_cost", str): ("fee_dollars", _decimals(good_fee)),
    ("is_taker", bool): ("is_taker", lambda column: column),
    ("subaccount_number", int): ("subaccount_number", _small_numbers),
    ("exchange_index", int): ("exchange_index", _small_numbers),
}
"""The values in which fills of a kind differ: the field of `Fill` they are read for, empty for a
legacy alias, and what reads them, or returns None where `parse.read_item` must decide."""

_NEEDED: Final = frozenset(("executed_at", "fill_id", "order_id", "ticker", "contracts"))
"""The fields that a pattern cannot supply."""
