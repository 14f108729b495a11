"""Accounts of every era, with junk and the incident."""

import json
from collections import Counter, defaultdict
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from support.practising import NOW, WEEK_AGO

from kalshi_fills.practice.account import (
    BROKEN_FILL_KINDS,
    JUNK_KINDS,
    LOOK_ALIKE_KINDS,
    PracticeFill,
    generate_account,
    incident_rows,
    junk_items,
    the_incident,
)
from kalshi_fills.practice.ledger import rfc3339, to_us

CURRENT_KEYS = set(
    "fill_id trade_id order_id ticker market_ticker outcome_side book_side count_fp "
    "yes_price_dollars no_price_dollars is_taker fee_cost exchange_index side action "
    "created_time ts subaccount_number".split()
)


README_KEYS = set(
    "action count created_time is_taker no_price order_id side ticker trade_id yes_price".split()
)


LEGACY_KEYS = README_KEYS | set(
    "fill_id market_ticker client_order_id price yes_price_fixed no_price_fixed ts".split()
)


TRANSITIONAL_KEYS = LEGACY_KEYS | set(
    "count_fp fee_cost subaccount_number yes_price_dollars no_price_dollars".split()
)


# The account


def test_an_account_follows_from_its_seed():
    def make(seed):
        return generate_account(seed, 200, start=WEEK_AGO, end=NOW, junk_share=0.1)

    assert make(1) == make(1)
    assert make(1).fills != make(2).fills


def test_an_account_has_what_real_ones_have(account):
    start_us, end_us = to_us(WEEK_AGO), to_us(NOW)
    assert len(account.fills) == 2_345
    assert len({fill.fill_id for fill in account.fills}) == 2_345
    assert account.fills == sorted(account.fills, key=lambda fill: fill.place, reverse=True)
    assert all(start_us <= fill.executed_at_us < end_us for fill in account.fills)
    assert all(0 < fill.yes_price < 1 and fill.count > 0 <= fill.fee for fill in account.fills)
    assert all(fill.executed_at_us < account.settles_at_us[fill.ticker] for fill in account.fills)
    prices = {fill.payload("current")["yes_price_dollars"] for fill in account.fills}
    assert {"0.0050", "0.9950", "0.000100"} <= prices
    sizes = Counter(str(fill.count) for fill in account.fills)
    assert sizes["0.01"] > 0 < sizes["2.50"]
    assert max(Counter(fill.order_id for fill in account.fills).values()) > 3
    assert max(Counter(fill.executed_at_us for fill in account.fills).values()) > 1
    assert {fill.subaccount for fill in account.fills} == {0, 1}
    by_hour = Counter(fill.executed_at_us // 3_600_000_000 % 24 for fill in account.fills)
    assert sum(by_hour[hour] for hour in range(5, 12)) < len(account.fills) / 7


def test_junk_takes_its_share_of_the_listing():
    account = generate_account(3, 900, start=WEEK_AGO, end=NOW, junk_share=0.1)
    assert (len(account.fills), len(account.junk)) == (900, 100)


@pytest.mark.parametrize(
    "wrong", [{"start": NOW}, {"junk_share": 1.0}, {"start": NOW.replace(tzinfo=None)}]
)
def test_impossible_accounts_are_refused(wrong):
    with pytest.raises(ValueError, match=r"span|junk_share|time zone"):
        generate_account(1, 5, **{"start": WEEK_AGO, "end": NOW} | wrong)


def test_orders_tie_out_to_fills(account):
    counts, fees = defaultdict(Decimal), defaultdict(Decimal)
    for fill in account.fills:
        counts[fill.order_id] += fill.count
        fees[fill.order_id, fill.is_taker] += fill.fee
    orders = account.orders()
    assert {order.order_id for order in orders if order.fill_count} == set(counts)
    assert any(not order.fill_count for order in orders)
    for order in orders:
        body = order.payload()
        assert Decimal(body["fill_count_fp"]) == counts[order.order_id]
        assert Decimal(body["taker_fees_dollars"]) == fees[order.order_id, True]
        assert Decimal(body["maker_fees_dollars"]) == fees[order.order_id, False]
        if body["status"] == "resting":
            total = Decimal(body["remaining_count_fp"]) + order.fill_count
            assert total == Decimal(body["initial_count_fp"])
        else:
            assert body["remaining_count_fp"] == "0.00"
    assert {order.status for order in orders} == {"resting", "canceled", "executed"}


def test_an_order_and_its_fills_agree_on_direction_but_not_on_action(account):
    orders = {order.order_id: order.payload() for order in account.orders()}
    actions = Counter()
    for fill in account.fills:
        item, order = fill.payload("current"), orders[fill.order_id]
        assert item["side"] == item["outcome_side"] == order["outcome_side"]
        assert item["book_side"] == order["book_side"]
        bought_yes = (order["action"], order["side"]) in (("buy", "yes"), ("sell", "no"))
        assert bought_yes == (order["book_side"] == "bid")
        actions[item["book_side"], item["action"]] += 1
    assert actions["bid", "sell"] == 0 < actions["ask", "buy"] < actions["ask", "sell"]


def test_positions_tie_out_to_fills(account):
    sums = defaultdict(Decimal)
    for fill in account.fills:
        sign = 1 if fill.outcome_side == "yes" else -1
        sums[fill.ticker, fill.subaccount] += sign * fill.count
    every = account.positions(status="all")
    assert {key: position.position for key, position in every.items()} == sums
    unsettled = account.positions()
    assert 0 < len(unsettled) < len(every)
    assert {key for key in sums if account.settles_at_us[key[0]] > to_us(NOW)} == set(unsettled)


def test_a_position_counts_dollars_at_average_cost():
    base = PracticeFill(
        "f", "o", "T-1", "yes", Decimal("10.00"), Decimal("0.4000"), Decimal("0.010000"),
        False, 0, 0, to_us(NOW),
    )  # fmt: skip
    sold = replace(base, outcome_side="no", count=Decimal("4.00"), yes_price=Decimal("0.6000"))
    account = replace(the_incident(NOW), fills=[sold, base])
    body = account.positions()["T-1", 0].payload()
    assert body["position_fp"] == "6.00"
    assert body["market_exposure_dollars"] == "2.400000"
    assert body["realized_pnl_dollars"] == "0.800000"
    assert body["fees_paid_dollars"] == "0.020000"


# Eras


@pytest.mark.parametrize(
    ("era", "keys"),
    [
        ("current", CURRENT_KEYS),
        ("current_minimal", CURRENT_KEYS - {"side", "action", "ts", "subaccount_number"}),
        ("transitional", TRANSITIONAL_KEYS),
        ("legacy", LEGACY_KEYS),
        ("readme", README_KEYS),
    ],
)
def test_an_era_has_its_keys(era, keys):
    account = generate_account(5, 300, start=WEEK_AGO, end=NOW, eras=era)
    for fill in account.fills:
        item = fill.payload(era)
        assert set(item) == keys
        assert item["trade_id"] == fill.fill_id
        assert item["created_time"] == rfc3339(fill.executed_at_us)
        if "count_fp" in item:
            assert item["count_fp"] == f"{fill.count:.2f}"
        if "yes_price_dollars" in item:
            legs = Decimal(item["yes_price_dollars"]), Decimal(item["no_price_dollars"])
            assert legs == (fill.yes_price, 1 - fill.yes_price)
        if era in ("legacy", "readme"):
            assert item["count"] == fill.count
            assert (
                item["yes_price"] + item["no_price"]
                == 100
                == 100 * fill.yes_price + (item["no_price"])
            )
        if era == "legacy":
            assert round(item["price"] * 100) == item[f"{fill.outcome_side}_price"]
        if "ts" in item:
            assert item["ts"] == fill.executed_at_us // 1_000_000


def test_transitional_integers_are_null_or_truncated():
    account = generate_account(5, 600, start=WEEK_AGO, end=NOW, eras="transitional")
    items = [fill.payload("transitional") for fill in account.fills]
    given = [item for item in items if item["count"] is not None]
    assert 0 < len(given) < len(items)
    assert all(item["count"] == int(Decimal(item["count_fp"])) for item in given)
    assert any(item["count"] != Decimal(item["count_fp"]) for item in given)
    assert any(item["yes_price"] + item["no_price"] == 99 for item in given)


def test_the_calendar_decides_the_era():
    def eras_of(day):
        start = datetime(*day, tzinfo=UTC)
        account = generate_account(1, 40, start=start, end=start + timedelta(days=1))
        return {account.era_of(fill) for fill in account.fills}, account

    assert eras_of((2024, 6, 1))[0] == {"readme"}
    eras, account = eras_of((2025, 11, 2))
    assert eras == {"legacy"}
    assert {fill.subaccount for fill in account.fills} == {0}
    for fill in account.fills:
        fill.payload_json("legacy")
    assert eras_of((2026, 3, 11))[0] == {"transitional"}
    assert eras_of((2026, 11, 2))[0] == {"current"}


def test_what_an_era_cannot_hold_is_refused(small):
    fill = replace(small.fills[0], count=Decimal("2.50"))
    with pytest.raises(ValueError, match=r"2\.50 contracts .* do not fit"):
        fill.payload_json("legacy")


def test_instants_drop_trailing_zeros():
    at_us = to_us(datetime(2026, 11, 20, 15, 2, 11, 482_190, tzinfo=UTC))
    assert rfc3339(at_us) == "2026-11-20T15:02:11.48219Z"
    assert rfc3339(at_us - 482_190) == "2026-11-20T15:02:11Z"


def test_hostile_texts_stay_valid_json(small):
    name = "KX\"\\\n\u2028{}\x00'; DROP"
    fill = replace(small.fills[0], ticker=name, order_id=name, fill_id=name)
    item = fill.payload("current")
    assert item["ticker"] == item["order_id"] == item["fill_id"] == name


# Junk and the incident


def test_junk_comes_in_every_kind_and_is_valid_json():
    items = list(junk_items(1, len(JUNK_KINDS)))
    assert [kind for kind, _ in items] == list(JUNK_KINDS)
    assert len(LOOK_ALIKE_KINDS) >= 18
    assert json.loads(json.dumps(items)) == [list(item) for item in items]
    assert list(junk_items(1, 50)) == list(junk_items(1, 50)) != list(junk_items(2, 50))


def test_look_alikes_are_no_fills_and_broken_fills_look_like_fills():
    for _, value in junk_items(1, 100, kinds=LOOK_ALIKE_KINDS):
        identified = isinstance(value, dict) and {"fill_id", "trade_id"} <= set(value)
        assert not identified
    for _, value in junk_items(1, 100, kinds=BROKEN_FILL_KINDS):
        assert set(value) == CURRENT_KEYS


def test_the_incident_has_five_fills_in_the_last_hour():
    account = the_incident(NOW, junk=30)
    assert len(account.fills) == 5
    assert len(account.junk) == 30
    hour_ago = to_us(NOW - timedelta(hours=1))
    assert all(hour_ago < fill.executed_at_us < to_us(NOW) for fill in account.fills)


def test_the_incident_rows_are_what_the_broken_engine_wrote():
    rows = incident_rows(NOW)
    assert len(rows) == 4774
    assert list(rows[0]) == [
        "ts", "engine_instance_id", "engine_version", "market_ticker", "exchange_order_id",
        "client_order_id", "side", "price", "price_cents", "size", "fee", "decision_id",
        "raw_json",
    ]  # fmt: skip
    free = sum(row["price"] == 0 for row in rows) / len(rows)
    assert round(free, 3) == 0.925
    assert Counter(row["exchange_order_id"] for row in rows).most_common(1)[0][1] > 1500
    per_minute = Counter(row["ts"].replace(second=0) for row in rows)
    assert len(per_minute) == 60
    assert set(per_minute.values()) == {79, 80}
    real = {fill.fill_id: fill for fill in the_incident(NOW).fills}
    written = Counter()
    for row in rows:
        fill = real.get(json.loads(row["raw_json"]).get("fill_id"))
        assert (fill is None) == (row["price"] == 0)
        if fill is not None:
            written[fill.fill_id] += 1
            assert to_us(row["ts"]) >= fill.executed_at_us
            assert row["size"] == fill.count
    assert set(written) == set(real)
    assert min(written.values()) > 40
    assert rows == incident_rows(NOW)
    assert len(incident_rows(NOW, count=100)) == 100
    with pytest.raises(ValueError, match="too few"):
        incident_rows(NOW, count=50)
