"""However the exchange lists fills and counts its cursors, every one comes, exactly once."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest
from support.commandline import KEY_ID, Account, Done

from kalshi_fills.exchange import paging
from kalshi_fills.exchange.client import RetryBudget
from kalshi_fills.exchange.decode import Page
from kalshi_fills.exchange.endpoints import Exchange
from kalshi_fills.exchange.signing import Signer
from kalshi_fills.exchange.tiers import fetch_fills
from kalshi_fills.exchange.walks import ShareMeter, Walk
from kalshi_fills.pipeline.window import Window
from kalshi_fills.practice.account import PracticeAccount, generate_account
from kalshi_fills.practice.exchange import Limits, PracticeExchange
from kalshi_fills.practice.listing import ListingMode

Cli = Callable[..., Done]
Serve = Callable[..., PracticeExchange]

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
ALL = Window(None, NOW)
DAY = timedelta(days=1)
QUICK = RetryBudget(seconds=5, attempts=3, first_wait_seconds=0.001, longest_wait_seconds=0.003)
FILLS = 12_000
MODES: tuple[ListingMode, ...] = get_args(ListingMode)


@pytest.fixture(scope="module")
def account() -> PracticeAccount:
    return generate_account(5, FILLS, start=NOW - 60 * DAY, end=NOW - DAY, eras="current")


@pytest.fixture
def connect(api_key: Account) -> Iterator[Callable[..., Exchange]]:
    opened: list[Exchange] = []

    def start(served: PracticeExchange, **options: Any) -> Exchange:
        opened.append(Exchange(served.url, Signer(KEY_ID, api_key.key), retry=QUICK, **options))
        return opened[-1]

    yield start
    for exchange in opened:
        exchange.close()


def read(exchange: Exchange, window: Window = ALL) -> Counter[str]:
    return Counter(
        json.loads(item)["fill_id"] for page in fetch_fills(exchange, window) for item in page.items
    )


@pytest.mark.sampled(7)
@pytest.mark.parametrize("window", [ALL, Window(NOW - 70 * DAY, NOW)], ids=["all", "since"])
@pytest.mark.parametrize("mode", MODES)
def test_every_fill_comes_exactly_once_however_they_are_listed(
    mode: ListingMode,
    window: Window,
    account: PracticeAccount,
    serve: Serve,
    connect: Callable[..., Exchange],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(paging, "PAGE_LIMIT", 300)
    served = serve(account, latency_seconds=0.05, listing_mode=mode, cutoff=NOW - 20 * DAY)
    came = read(connect(served), window)
    assert came.keys() == {fill.fill_id for fill in account.fills}
    assert set(came.values()) == {1}


class SlowTier(Exchange):
    """A live tier with a fill every hour for 600 days, a hundred a page, 20 ms each."""

    def __init__(self, *, paced: bool = False, page_items: int = 100) -> None:
        super().__init__("http://127.0.0.1:1", None)
        self.most_walks = 1 if paced else 99
        self.page_items = page_items
        self.days = 600
        self.walks: list[tuple[int | None, int]] = []
        self.pages = 0
        self.side_by_side = 0
        self.without_time_listed_below: int | None = None
        self.ignores_start = False
        self.page_seconds = 0.02
        self.pages_of: Counter[tuple[int | None, int]] = Counter()
        self._under_way = 0
        self._lock = threading.Lock()

    def cutoff(self, attempts: int | None = None) -> datetime | None:
        return None

    def has_history(self) -> bool:
        return False

    def has_use_for(self, walks: int, path: str) -> bool:
        assert walks
        assert path == "/portfolio/fills"
        return walks < self.most_walks

    def moments(self, start: int | None, end: int) -> list[int]:
        newest = int(NOW.timestamp()) - 1800
        low = -1 if start is None or self.ignores_start else start
        return [
            moment
            for moment in range(newest, newest - self.days * 86_400, -3600)
            if low - 1 <= moment <= end + 1
        ]

    def items(self, start: int | None, end: int) -> list[str]:
        found = [f'{{"ts":{moment},"order_id":"o"}}' for moment in self.moments(start, end)]
        below = self.without_time_listed_below
        if below is not None and start is None and end > below:
            found.insert(0, '{"note":"no time"}')
        return found

    def fills_pages(self, tier: str, start: int | None, end: int) -> Iterator[Page]:
        items = self.items(start, end)
        with self._lock:
            self.walks.append((start, end))
            self._under_way += 1
            self.side_by_side = max(self.side_by_side, self._under_way)
        try:
            for first in range(0, max(len(items), 1), self.page_items):
                time.sleep(self.page_seconds)
                with self._lock:
                    self.pages += 1
                    self.pages_of[start, end] += 1
                yield Page(tier, items[first : first + self.page_items])
        finally:
            with self._lock:
                self._under_way -= 1


def texts(tier: SlowTier, window: Window = ALL) -> Counter[str]:
    return Counter(item for page in fetch_fills(tier, window) for item in page.items)


HOURS = 600 * 24


@pytest.mark.parametrize("window", [ALL, Window(NOW - 700 * DAY, NOW)], ids=["all", "since"])
def test_slow_pages_are_read_side_by_side_at_little_cost(window: Window) -> None:
    tier = SlowTier()
    came = texts(tier, window)
    assert len(came) == HOURS
    assert set(came.values()) == {1}
    assert tier.side_by_side >= 3
    # 144 pages would do; a walk that is given up costs the pages that it had.
    assert tier.pages <= 144 * 1.3


def test_where_the_rate_limit_is_what_pages_wait_for_no_request_is_wasted() -> None:
    tier = SlowTier(paced=True)
    assert len(texts(tier)) == HOURS
    assert tier.pages == 144
    assert len(tier.walks) == 1


def test_the_parts_of_a_range_cover_all_of_it() -> None:
    tier = SlowTier()
    texts(tier)
    whole = tier.walks[0]
    parts = sorted(tier.walks[1:], key=lambda part: part[1])
    assert parts[0][0] is None
    assert max(end for _, end in parts) == whole[1]
    ends = {end for _, end in parts}
    assert all(start in ends for start, _ in parts if start is not None)


def test_a_walk_that_is_given_up_at_once_costs_one_page_and_an_empty_rest_another() -> None:
    tier = SlowTier()
    tier.page_seconds = 0.05
    came = texts(tier, Window(NOW - 30 * DAY, NOW))
    assert len(came) == 30 * 24
    assert set(came.values()) == {1}
    assert tier.pages_of[tier.walks[0]] == 1
    assert len(tier.walks) == 3  # the whole, the newest four pages, and the rest
    tier = SlowTier()
    tier.page_seconds = 0.05
    texts(tier)
    empty = [walk for walk in tier.walks if not tier.items(*walk)]
    assert len(empty) <= 8  # all but one of the parts of a rest that had few fills


def test_where_one_part_is_empty_the_older_ones_are_asked_for_together() -> None:
    tier = SlowTier()
    tier.page_seconds = 0.05
    tier.days = 45
    came = texts(tier)
    assert len(came) == 45 * 24
    assert set(came.values()) == {1}
    empty = [walk for walk in tier.walks if not tier.items(*walk)]
    assert len(empty) <= 5  # of eight parts: those that had begun, and all others in one
    assert (None, min(end for _, end in empty)) in empty


def test_a_rest_with_a_full_page_is_split_at_once_even_under_the_rate_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(paging, "PAGE_LIMIT", 50)
    tier = SlowTier(page_items=50)
    tier.page_seconds = 0.04
    tier.most_walks = 2
    came = texts(tier)
    assert len(came) == HOURS  # 288 pages: more than the first parts take
    assert set(came.values()) == {1}
    rest = [walk for walk in tier.walks if walk[0] is None]
    assert len(rest) >= 3  # the whole, its rest, and the rest of that
    assert all(tier.pages_of[walk] == 1 for walk in rest[:-1])
    assert max(tier.pages_of.values()) <= 70
    assert tier.pages <= 288 * 1.15


def test_where_the_parts_do_not_list_what_the_whole_did_the_whole_is_read_again() -> None:
    tier = SlowTier()
    # Without a lower bound an item without a time is listed, but not below a certain end.
    tier.without_time_listed_below = int(NOW.timestamp()) - 3600
    came = texts(tier)
    assert len(came) == HOURS + 1
    assert tier.walks.count(tier.walks[0]) == 2


def test_bounds_that_the_exchange_ignores_do_not_multiply_the_requests() -> None:
    tier = SlowTier()
    tier.ignores_start = True
    came = texts(tier)
    assert len(came) == HOURS
    assert tier.pages < 144 * 8


def test_what_the_exchange_lists_twice_is_passed_on_twice() -> None:
    tier = SlowTier()
    plain = tier.items

    def items(start: int | None, end: int) -> list[str]:
        return [item for item in plain(start, end) for _ in range(2)]

    tier.items = items  # type: ignore[method-assign]
    came = texts(tier)
    assert len(came) == HOURS
    # Near to the cuts a repeat cannot be told from one of our own.
    assert sum(count == 2 for count in came.values()) > HOURS * 0.98
    assert tier.side_by_side > 1


@pytest.mark.sampled(5)
@pytest.mark.parametrize("mode", ["keyset", "bound", "sharded", "unordered"])
def test_a_first_sync_is_whole_however_fills_are_listed(
    mode: ListingMode, now: datetime, serve: Serve, cli: Cli, tmp_path: Any
) -> None:
    pytest.importorskip("chdb", reason="the embedded engine is not installed")
    traded = generate_account(7, FILLS, start=now - 60 * DAY, end=now - DAY, eras="current")
    served = serve(
        traded, latency_seconds=0.05, listing_mode=mode, limits=Limits("x", 10**6, 10**6)
    )
    url = f"chdb://{tmp_path}/chdb"
    assert cli("migrate", url=url).code == 0
    done = cli("sync", "--rate-share", "1", "--format", "json", url=url, api=served.url)
    assert done.code == 0, done.err
    assert done.json["stages"]["n_new"] == FILLS
    assert done.json["stages"]["n_duplicate"] == 0


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["the older first", "the newer first"])
def test_where_the_first_fill_is_shows_once_no_older_walk_is_open(order: tuple[int, int]) -> None:
    end = int(NOW.timestamp())
    empty, oldest, newest = Walk(None, end - 900), Walk(end - 900, end - 500), Walk(end - 500, end)
    oldest.oldest = end - 800
    newest.oldest = end - 300
    meter = ShareMeter(None, NOW, ALL)
    still_open = [empty, oldest, newest]

    assert meter.share(still_open) is None
    first, second = ([empty, oldest][which] for which in order)
    meter.ended(first, still_open)
    still_open.remove(first)
    assert meter.share(still_open) is None
    meter.ended(second, still_open)
    still_open.remove(second)

    assert meter.share(still_open) == pytest.approx(1 - 200 / 800)
