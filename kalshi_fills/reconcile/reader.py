"""The exchange's fills as a comparison reads them: of the window, of an order, of a market."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from kalshi_fills.exchange.decode import HISTORICAL, LIVE, Page
from kalshi_fills.exchange.endpoints import FILLS_PATHS, Exchange
from kalshi_fills.exchange.tiers import fetch_fills
from kalshi_fills.pipeline.content import key_hash
from kalshi_fills.pipeline.page import PageOutcome, read_page
from kalshi_fills.pipeline.seen import SeenFills
from kalshi_fills.pipeline.stages import Counts

if TYPE_CHECKING:
    from kalshi_fills.pipeline.fills import Fill, FillKey
    from kalshi_fills.pipeline.window import Window


class ExchangeReader:
    """Reads fills of the exchange, and remembers those of any age that it met."""

    def __init__(
        self, exchange: Exchange, clock: Callable[[], datetime], cutoff: datetime | None
    ) -> None:
        self.exchange = exchange
        self.cutoff = cutoff
        """Where the archive ends and the live tier begins; None where there is no archive."""
        self._clock = clock
        self._met = SeenFills()

    def now(self) -> datetime:
        """Return the time, as the times of items are checked against it."""
        return self._clock()

    def met(self, key: FillKey) -> bool:
        """Return whether a fill came when an order or a market was asked for."""
        return key_hash(*key) in self._met

    def read(self, page: Page) -> PageOutcome:
        """Return the fills of a page, and what was refused."""
        return read_page(page.items, page.tier, self._clock(), Counts())

    def pages(self, window: Window) -> Iterator[Page]:
        """Yield the pages of a range, of both tiers."""
        return fetch_fills(self.exchange, window)

    def fills_of_window(self, window: Window) -> Iterator[Fill]:
        """Yield the fills of a range, possibly twice."""
        for page in self.pages(window):
            yield from self.read(page).batch.fills()

    def fills_of_order(
        self, order_id: str, ticker: str, created_at: datetime | None = None
    ) -> Iterator[Fill]:
        """Yield every fill of an order, in both tiers."""
        yield from self._walk(LIVE, {"order_id": order_id})
        if self.cutoff is None or (created_at is not None and created_at >= self.cutoff):
            return
        asked = {"ticker": ticker}
        if created_at is not None:
            asked["min_ts"] = str(int(created_at.timestamp()) - 1)
        # The archive knows no filter by order.
        for fill in self._walk(HISTORICAL, asked):
            if fill.key.order_id == order_id:
                yield fill

    def fills_of_market(self, ticker: str) -> Iterator[Fill]:
        """Yield every fill of a market there ever was."""
        yield from self._walk(LIVE, {"ticker": ticker})
        if self.cutoff is not None:
            yield from self._walk(HISTORICAL, {"ticker": ticker})

    def _walk(self, tier: str, asked: dict[str, str]) -> Iterator[Fill]:
        for items in self.exchange.walk(FILLS_PATHS[tier], asked, "fills"):
            batch = self.read(Page(tier, items)).batch
            self._met.add_all(batch.key_hash, batch.digest)
            yield from batch.fills()


def open_reader(exchange: Exchange, clock: Callable[[], datetime]) -> ExchangeReader:
    """Return a reader that keeps to the account's limits and knows where the archive ends.

    Raises:
        ExchangeError: the exchange could not be asked.
    """
    exchange.learn_limits()
    return ExchangeReader(exchange, clock, exchange.cutoff())
