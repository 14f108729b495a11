"""Hostile texts, and items of every kind."""

from __future__ import annotations

import itertools
import json
import os
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from support.commandline import Account, Target
from support.faults import Cli, Serve, refused, server_only
from support.faulty import (
    UNLIMITED,
    assert_the_truth,
    stored,
)
from support.syncing import (
    HOUR,
    MINUTE,
    NOW,
    SECOND,
    Bench,
    account_of,
    fill_at,
)

from kalshi_fills.practice.account import PracticeAccount, PracticeFill
from kalshi_fills.practice.exchange import PracticeExchange
from kalshi_fills.warehouse.client import Warehouse
from kalshi_fills.warehouse.statements import Tables

HOSTILE = {
    "quotes": "it's \"quoted\" `twice` ''",
    "backslashes": "back\\slash\\N \\' \\\\",
    "control characters": "tab\t line\n return\r nul\0 bell\a escape\x1b[31m \x7f",
    "ends of lines": "next\u0085 line\u2028 paragraph\u2029 form\f",
    "emoji": "\U0001f4b8\U0001f1e9\U0001f1ea e\u0301 \U0010ffff",
    "right to left": "\u202eabc\u202c العربية עברית \ufeff",
    "markup": "[bold red]x[/] [link=http://x]y[/link] \\[z] <b>&amp;</b>",
    "parameters": "{x:String} %s %(x)s $1 ?",
    "SQL": "'); DROP TABLE mm_fills; -- /*",
    "a null": "\\N",
    "spaces": "  at both ends  ",
    "900 characters": "x" * 900,
}


def hostile_fills(at: datetime, first: int) -> list[PracticeFill]:
    fills = []
    for number, text in enumerate(HOSTILE.values()):
        short = text[:300]
        for place, changes in enumerate(
            (
                {"ticker": text},
                {"fill_id": f"{text}{first}"},
                {"order_id": text},
                {"fill_id": f"{short}{first}", "order_id": f"{short}o", "ticker": short},
            )
        ):
            moment = at - number * MINUTE - place * SECOND
            fills.append(fill_at(moment, first + 10 * number + place, **changes))
    return fills


@pytest.fixture
def hostile(now: datetime) -> PracticeAccount:
    """An account whose texts are hostile, in the shapes of today and of a year ago."""
    today = hostile_fills(now - HOUR, 1_000)
    then = hostile_fills(datetime(2026, 3, 15, tzinfo=UTC), 2_000)
    return replace(account_of(*today, *then), eras="calendar")


# Hostile texts


def test_hostile_texts_pass_through_every_statement_unchanged(
    cli: Cli, migrated: Target, serve: Serve, now: datetime, hostile: PracticeAccount
) -> None:
    """New fills, known ones, corrected ones, one under a stale ticker, breaks and quarantine."""
    exchange = serve(hostile, limits=UNLIMITED)
    for number, text in enumerate(HOSTILE.values()):
        broken = fill_at(now - HOUR, 9_000 + number, fill_id=text, order_id=f"claim {text}")
        exchange.insert_item(broken.payload("current") | {text: text, "count_fp": text}, now - HOUR)

    first = cli("sync", "--format", "json", url=migrated.url, api=exchange.url)

    assert first.code == 3, first.err
    assert first.json["stages"]["n_new"] == len(hostile.fills)
    assert first.json["stages"]["n_rejected"] == len(HOSTILE)
    assert_the_truth(stored(migrated), hostile)
    kept = refused(migrated.read, "DB.mm_fills_rejected")
    assert {json.loads(item)["count_fp"] for item in kept} == set(HOSTILE.values())

    again = ("sync", "--full", "--same-account", "--format", "json")
    moved = replace(
        hostile,
        fills=[
            replace(fill, ticker=f"{fill.ticker[:-1]}!", count=fill.count + 1)
            for fill in hostile.fills
        ],
    )
    other = serve(moved, limits=UNLIMITED)
    second = cli(*again, url=migrated.url, api=other.url)

    assert second.code == 0, second.err
    assert second.json["stages"]["n_corrected"] == len(hostile.fills)
    assert_the_truth(stored(migrated), moved)
    half = replace(moved, fills=moved.fills[::2])
    fewer = serve(half, limits=UNLIMITED)
    third = cli(*again, url=migrated.url, api=fewer.url)
    assert third.code == 3, third.err
    assert third.json["stages"]["n_known"] == len(half.fills)
    assert {
        (one["kind"], one["fill_id"], one["order_id"], one["market_ticker"])
        for one in third.json["breaks"]
    } == {("unexpected", fill.fill_id, fill.order_id, fill.ticker) for fill in moved.fills[1::2]}


@server_only
def test_hostile_texts_do_not_steer_the_terminal(
    cli: Cli, migrated: Target, serve: Serve, hostile: PracticeAccount
) -> None:
    full = serve(hostile, limits=UNLIMITED)
    assert cli("sync", url=migrated.url, api=full.url).code == 0
    empty = serve(account_of(), limits=UNLIMITED)

    shown = cli("sync", "--full", "--same-account", url=migrated.url, api=empty.url)

    assert shown.code == 3, shown.err
    assert "unexpected" in shown.out
    told = set(shown.out + shown.err)
    assert told & {"\x1b", "\a", "\0", "\r", "\u202e", "\x7f", "\u0085"} == set()


_TEXTS = st.one_of(
    st.sampled_from(["", "yes", "no", "bid", "ask", "buy", "0.41", "0.5900", "10.00", "1e9", "x"]),
    st.text(max_size=12),
)


_NUMBERS = st.one_of(
    st.integers(-3, 120),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.integers(1_600_000_000, 1_800_000_000),
)


_SCALARS = st.one_of(st.none(), st.booleans(), _NUMBERS, _TEXTS)


_ANYTHING = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(_TEXTS, inner, max_size=4)
    ),
    max_leaves=6,
)


_FIELDS = sorted(
    set(fill_at(NOW).payload("current"))
    | set(fill_at(NOW).payload("transitional"))
    | {"status", "timestamp", "orderId", "rfq_id", "entry_price"}
)


_ERAS = st.sampled_from(["current", "current_minimal", "transitional", "legacy", "readme"])


@st.composite
def _near_fills(draw: Any) -> Any:
    """Draw a fill of any era with up to three fields put in, taken out or changed."""
    number = draw(st.one_of(st.integers(0, 9), st.integers(0, 100_000)))
    at = NOW - HOUR - draw(st.integers(0, 3_000)) * MINUTE
    item = fill_at(at, number).payload(draw(_ERAS))
    for _ in range(draw(st.integers(0, 3))):
        name = draw(st.sampled_from(_FIELDS))
        if draw(st.booleans()):
            item.pop(name, None)
        else:
            item[name] = draw(_ANYTHING)
    return item


_ITEMS = st.lists(st.one_of(_near_fills(), _near_fills(), _ANYTHING), min_size=1, max_size=20)


def items_of_every_kind(count: int, first_seed: int) -> Iterator[list[Any]]:
    """Yield batches of made-up items, as many in all, drawn from that seed on.

    Each batch of more than a few has a plain fill, an item that is none, and repeats: whatever
    else is drawn, something is stored, something is refused and something is a duplicate.
    """
    batch: list[Any] = []

    @settings(
        max_examples=20,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(_ITEMS)
    def collect(items: list[Any]) -> None:
        batch.extend(items)

    for number in itertools.count(first_seed):
        seed(number)(collect)()
        plain = fill_at(NOW - 2 * HOUR, 200_000).payload("current")
        whole = [plain, None, plain, *batch, *batch[::9]][:count]
        batch.clear()
        yield whole
        count -= len(whole)
        if not count:
            return


class WholeSyncs:
    """Puts items through two syncs each time, of empty tables."""

    def __init__(self, bench: Bench, api_key: Account) -> None:
        self._bench = bench
        self._keys = api_key.keys
        self.counted: Counter[str] = Counter()

    def check(self, items: list[Any]) -> None:
        try:
            self._check(items)
        except Exception as error:
            half = self._failing_half(items)
            if half is not None:
                self.check(half)
            raise AssertionError(f"{error!r} with {len(items)} items: {items!r:.2000}") from error

    def _failing_half(self, items: list[Any]) -> list[Any] | None:
        middle = len(items) // 2
        for half in (items[:middle], items[middle:]):
            try:
                if middle:
                    self._check(half)
            except Exception:
                return half
        return None

    def _check(self, items: list[Any]) -> None:
        bench = self._bench
        for suffix in ("", "_rejected", "_runs"):
            bench.warehouse.command(f"TRUNCATE TABLE {bench.tables.name(suffix)}")
        with PracticeExchange(
            account=account_of(),
            keys=self._keys,
            clock=bench.clock.seconds,
            limits=UNLIMITED,
            largest_page=100,
        ) as bench.exchange:
            for number, item in enumerate(items):
                bench.exchange.insert_item(item, NOW - HOUR - number * SECOND)
            first = bench.run()
            second = bench.run(full=True)
        counts = first.counts
        assert counts.n_api == len(items)
        assert counts.n_corrected == 0
        held = bench.rows("count(), uniqExact(fill_id, exchange_order_id)")
        assert held == [(counts.n_new, counts.n_new)]
        # A second content of a fill is kept there, too, and counts as the duplicate it is.
        refused = "WHERE reason != 'contradicts_another_report'"
        assert bench.rows("sum(times_seen)", "_rejected", refused) == [(2 * counts.n_rejected,)]
        assert second.counts.n_inserted == 0
        assert second.counts.n_known == counts.n_new
        # Items of one id that contradict each other are the only breaks there can be.
        assert {one.kind for one in first.breaks + second.breaks} <= {"mismatch"}
        told = {name: number for name, number in counts.as_dict().items() if number}
        self.counted.update(told)


@pytest.fixture
def whole_syncs(embedded: Warehouse, api_key: Account, serve: Serve) -> Iterator[WholeSyncs]:
    names = Tables(f"items_{os.getpid()}")
    yield WholeSyncs(Bench(embedded, names, api_key, serve), api_key)
    embedded.command(f"DROP DATABASE {names.database}")


# Items of every kind


def test_items_of_every_kind_are_stored_or_kept_aside(whole_syncs: WholeSyncs) -> None:
    for batch in items_of_every_kind(2_000, first_seed=1):
        whole_syncs.check(batch)

    assert whole_syncs.counted["n_api"] == 2_000
    assert {"n_new", "n_duplicate", "n_rejected"} <= whole_syncs.counted.keys()


@pytest.mark.torture
@pytest.mark.timeout(7200)
def test_two_hundred_thousand_items_of_every_kind_are_stored_or_kept_aside(
    whole_syncs: WholeSyncs,
) -> None:
    first_seed = random.randrange(10**9)
    print(f"seeds from {first_seed} on")
    for batch in items_of_every_kind(200_000, first_seed):
        whole_syncs.check(batch)

    print(dict(whole_syncs.counted))
    assert whole_syncs.counted["n_api"] == 200_000
