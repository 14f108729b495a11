"""An account's listings, made before anything is timed and kept in files.

A listing lies in a file in the order in which it is served, so that a page is one stretch of it.
The account is made slice by slice: however many fills it has, only one slice is in memory.
"""

from __future__ import annotations

import json
import mmap
from array import array
from bisect import bisect_left
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

from kalshi_fills.practice.account import Eras, PracticeAccount, generate_account
from kalshi_fills.practice.ledger import PracticePosition, to_us

FILLS: Final = "fills"

ORDERS: Final = "orders"

ARCHIVED_ORDERS: Final = "archived_orders"

ABOUT: Final = "about.json"

_SLICE: Final = 100_000


class About(NamedTuple):
    """What there is to know of an account besides its listings."""

    fills: int
    cutoff_us: int
    """Fills before it are in the historical tier."""
    orders_cutoff_us: int
    positions: list[dict[str, str]]
    """Each with the subaccount under `subaccount`."""
    pages: int
    """How many requests list all fills of both tiers, 1,000 a page."""


def make_account(
    folder: Path,
    fills: int,
    *,
    start: datetime,
    end: datetime,
    cutoff: datetime,
    eras: Eras = "calendar",
    with_orders: bool = False,
) -> About:
    """Write an account's listings into a folder, newest first.

    Args:
        folder: made if it is missing.
        fills: how many there are in [start, end).
        start: no fill is earlier.
        end: no fill is as late.
        cutoff: the border between the tiers, of fills and of orders.
        eras: how fills are spelled, by their date or all in one shape.
        with_orders: whether orders and positions are listed, too; without, there are none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    slices = max(1, -(-fills // _SLICE))
    step = (end - start) / slices
    cutoff_us, end_us = to_us(cutoff), to_us(end)
    held: dict[tuple[str, int], PracticePosition] = {}
    archived = 0
    with (
        _Writer(folder / FILLS) as to_fills,
        _Writer(folder / ORDERS) as to_orders,
        _Writer(folder / ARCHIVED_ORDERS) as to_archive,
    ):
        for number in reversed(range(slices)):
            count = fills // slices + (number < fills % slices)
            account = generate_account(
                number + 1,
                count,
                start=start + step * number,
                end=start + step * (number + 1),
                eras=eras,
            )
            for fill in account.fills:
                archived += fill.executed_at_us < cutoff_us
                to_fills.add(fill.executed_at_us, fill.payload_json(account.era_of(fill)))
            if with_orders:
                _add_orders(account, end_us, cutoff_us, to_orders, to_archive)
                _add_positions(account, end_us, held)
    about = About(
        fills=fills,
        cutoff_us=cutoff_us,
        orders_cutoff_us=cutoff_us,
        positions=[_position(position) for position in held.values()],
        pages=-(-(fills - archived) // 1000) + -(-archived // 1000),
    )
    (folder / ABOUT).write_text(json.dumps(about._asdict()))
    return about


def read_about(folder: Path) -> About:
    """Return what `make_account` has written."""
    return About(**json.loads((folder / ABOUT).read_text()))


def _add_orders(
    account: PracticeAccount, now_us: int, cutoff_us: int, live: _Writer, archive: _Writer
) -> None:
    for order in account.orders(at_us=now_us):
        is_archived = order.status != "resting" and order.updated_at_us < cutoff_us
        item = json.dumps(order.payload(), separators=(",", ":"))
        (archive if is_archived else live).add(order.created_at_us, item)


def _add_positions(
    account: PracticeAccount, now_us: int, held: dict[tuple[str, int], PracticePosition]
) -> None:
    """Add what a slice's fills make of the positions that are still open."""
    for key, part in account.positions(at_us=now_us).items():
        if key in held:
            held[key].position += part.position
        else:
            held[key] = part


def _position(position: PracticePosition) -> dict[str, str]:
    row: dict[str, str] = position.payload()
    row["subaccount"] = str(position.subaccount)
    return row


class _Writer:
    """Writes one listing: the items, and for each its time and where it ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("wb")
        self._times = array("q")
        self._ends = array("q", [0])

    def add(self, at_us: int, item: str) -> None:
        self._times.append(at_us)
        self._ends.append(self._ends[-1] + self._file.write(item.encode() + b","))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
        for suffix, numbers in ((".times", self._times), (".ends", self._ends)):
            with self._path.with_suffix(suffix).open("wb") as file:
                numbers.tofile(file)


class PageOfItems(NamedTuple):
    """A page: its items as they stand in JSON, and the cursor, empty at the end."""

    items: bytes
    cursor: str


class Listing:
    """A listing that `make_account` has written, newest first."""

    def __init__(self, path: Path) -> None:
        self._times = _read(path.with_suffix(".times"))
        self._ends = _read(path.with_suffix(".ends"))
        with path.open("rb") as file:
            # A file without a byte cannot be mapped.
            self._items = (
                mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if self._times else b""
            )

    def page(self, from_us: int, to_us: int, cursor: str, limit: int) -> PageOfItems:
        """Return the page that follows a cursor, of the items with from_us <= time < to_us."""
        first = bisect_left(self._times, 1 - to_us, key=lambda at_us: -at_us)
        last = bisect_left(self._times, 1 - from_us, key=lambda at_us: -at_us)
        begin = max(first, int(cursor) if cursor else 0)
        end = max(begin, min(last, begin + limit))
        items = self._items[self._ends[begin] : max(self._ends[begin], self._ends[end] - 1)]
        return PageOfItems(items, str(end) if end < last else "")


def _read(path: Path) -> array[int]:
    numbers = array("q")
    numbers.frombytes(path.read_bytes())
    return numbers
