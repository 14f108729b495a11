"""Each single break is shown as exactly that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from support.diagnoses import embedded_only, fill_break, open_market, side_of
from support.diagnosing import (
    Desk,
    assert_well,
    causes,
    check,
    engine_row,
)
from support.syncing import (
    DAY,
    HOUR,
    MINUTE,
    NOW,
    SECOND,
    account_of,
    fill_at,
    one_day,
)

from kalshi_fills.diagnose.run import Diagnosis
from kalshi_fills.practice.account import (
    PracticeAccount,
    PracticeFill,
    generate_account,
)
from kalshi_fills.reconcile import reconciliation
from kalshi_fills.reconcile.breaks import Break
from kalshi_fills.report.breaks import break_json


def shown(found: Diagnosis) -> list[dict[str, str | None]]:
    """Return the breaks of a diagnosis as JSON has them."""
    return [break_json(one) for one in found.breaks]


@pytest.fixture
def well(desk: Desk) -> tuple[Desk, PracticeAccount]:
    """A healthy account with both tiers and several fills an order."""
    account = generate_account(9, 120, start=NOW - 20 * HOUR, end=NOW - HOUR, eras="current")
    cutoff = NOW - 10 * HOUR
    desk.healthy(account, cutoff=cutoff, orders_cutoff=cutoff)
    return desk, account


Well = tuple[Desk, PracticeAccount]


def some(account: PracticeAccount) -> list[PracticeFill]:
    """Return a fill of each tier, of orders with several fills."""
    many = Counter(fill.order_id for fill in account.fills)
    several = [fill for fill in account.fills if many[fill.order_id] > 1]
    return [several[5], several[-5]]


def test_one_fill_deleted(well: Well) -> None:
    desk, account = well
    for gone in some(account):
        desk.delete(gone)

        found = desk.diagnose()

        assert found.breaks == [fill_break("missing", gone, exchange=side_of(gone))]
        assert "1 missing" in check(found, "volume_matches_api").observed
        assert "exchange 120, table 119" in check(found, "volume_matches_api").observed
        assert check(found, "no_duplicate_rows").status == "pass"
        assert causes(found) == ["fills_missing"]
        desk.run(full=True)


def test_one_fill_added(well: Well) -> None:
    desk, account = well
    like = some(account)[0]
    added = replace(like, fill_id="made-up")
    desk.write(engine_row(added, fill_id="made-up"))

    found = desk.diagnose()

    assert found.breaks == [fill_break("unexpected", added, table=side_of(added))]
    assert "1 unexpected" in check(found, "volume_matches_api").observed
    assert "exchange 120, table 121" in check(found, "volume_matches_api").observed
    assert found.verdict == "fail"


def test_one_price_changed_by_a_hundredth_of_a_cent(well: Well) -> None:
    desk, account = well
    fill = some(account)[0]
    tick = Decimal("0.0001")
    cents = 100 * (fill.yes_price if fill.outcome_side == "yes" else 1 - fill.yes_price)
    step = tick * 100 if fill.outcome_side == "yes" else -tick * 100
    desk.change(
        fill,
        f"yes_price_dollars = yes_price_dollars + {tick}, "
        f"no_price_dollars = no_price_dollars - {tick}, price_cents = price_cents + {step}",
    )

    found = desk.diagnose()

    yes, no = fill.yes_price, 1 - fill.yes_price
    assert {one["field"]: (one["exchange"], one["table"]) for one in shown(found)} == {
        "price_cents": (f"{cents:.4f}", f"{cents + step:.4f}"),
        "yes_price_dollars": (f"{yes:.6f}", f"{yes + tick:.6f}"),
        "no_price_dollars": (f"{no:.6f}", f"{no - tick:.6f}"),
    }
    assert {(one.kind, one.scope, one.fill_id) for one in found.breaks} == {
        ("mismatch", "fill", fill.fill_id)
    }
    assert "1 mismatch" in check(found, "volume_matches_api").observed
    assert found.verdict == "fail"
    assert causes(found) == ["rows_altered"]
    day = datetime.fromtimestamp(fill.executed_at_us // 86_400_000_000 * 86_400, NOW.tzinfo)
    assert found.root_cause.next == f"kalshi-fills sync --since {day:%Y-%m-%d}"
    desk.run(since=day)
    assert_well(desk.diagnose())


@embedded_only
@pytest.mark.parametrize(
    ("field", "expression", "sent", "held"),
    [
        (
            "yes_price_dollars",
            "yes_price_dollars + toDecimal64('0.0001', 6)",
            lambda fill: f"{fill.yes_price:.6f}",
            lambda fill: f"{fill.yes_price + Decimal('0.0001'):.6f}",
        ),
        (
            "fee_dollars",
            "fee_dollars + toDecimal64('0.000001', 6)",
            lambda fill: f"{fill.fee:.6f}",
            lambda fill: f"{fill.fee + Decimal('0.000001'):.6f}",
        ),
        (
            "size",
            "size + toDecimal64('0.01', 2)",
            lambda fill: f"{fill.count:.2f}",
            lambda fill: f"{fill.count + Decimal('0.01'):.2f}",
        ),
        ("fee_dollars", "NULL", lambda fill: f"{fill.fee:.6f}", lambda _: ""),
        ("is_taker", "NOT is_taker", lambda fill: str(fill.is_taker).lower(), None),
        (
            "subaccount_number",
            "subaccount_number + 1",
            lambda fill: str(fill.subaccount),
            lambda fill: str(fill.subaccount + 1),
        ),
        ("action", "'sold'", None, lambda _: "sold"),
        ("book_side", "'x'", None, lambda _: "x"),
    ],
)
def test_one_field_changed(
    well: Well,
    field: str,
    expression: str,
    sent: Callable[[PracticeFill], str] | None,
    held: Callable[[PracticeFill], str] | None,
) -> None:
    desk, account = well
    fill = some(account)[0]
    desk.change(fill, f"{field} = {expression}")

    found = desk.diagnose()

    (one,) = found.breaks
    assert one == fill_break("mismatch", fill, field=field, exchange=one.exchange, table=one.table)
    (text,) = shown(found)
    if sent is not None:
        assert text["exchange"] == sent(fill)
    if held is not None:
        assert text["table"] == held(fill)
    assert found.verdict == "fail"


@embedded_only
@pytest.mark.parametrize(
    "step", [SECOND / 1_000_000, HOUR, -HOUR, 90 * MINUTE, 9 * HOUR, -DAY, -40 * DAY]
)
def test_one_time_changed_is_one_mismatch(well: Well, step: timedelta) -> None:
    desk, account = well
    fill = next(
        fill
        for fill in account.fills
        if NOW - 12 * HOUR
        < datetime.fromtimestamp(fill.executed_at_us / 1e6, NOW.tzinfo)
        < NOW - 10 * HOUR - MINUTE
    )
    was = datetime.fromtimestamp(0, NOW.tzinfo) + timedelta(microseconds=fill.executed_at_us)
    microseconds = round(step / timedelta(microseconds=1))
    desk.change(fill, f"ts = addMicroseconds(ts, {microseconds})")

    found = desk.diagnose()

    assert found.breaks == [
        fill_break("mismatch", fill, field="ts", exchange=was, table=was + step)
    ]
    texts = [moment.isoformat(" ", "microseconds")[:26] for moment in (was, was + step)]
    assert [[one["exchange"], one["table"]] for one in shown(found)] == [texts]
    assert "fills_missing" not in causes(found)
    assert "non_fills_written_as_fills" not in causes(found)


@embedded_only
def test_one_time_changed_from_before_the_window_into_it_is_one_mismatch(well: Well) -> None:
    desk, account = well
    fill = account.fills[-1]
    was = datetime.fromtimestamp(0, NOW.tzinfo) + timedelta(microseconds=fill.executed_at_us)
    since = NOW - was - SECOND
    desk.change(fill, "ts = addHours(ts, 3)")

    found = desk.diagnose(since)

    assert found.breaks == [
        fill_break("mismatch", fill, field="ts", exchange=was, table=was + 3 * HOUR)
    ]


def test_one_row_again_with_a_blank_id(well: Well) -> None:
    desk, account = well
    fill = some(account)[0]
    desk.write(engine_row(fill))

    found = desk.diagnose()

    assert found.breaks == [fill_break("unexpected", fill, fill_id="", table=side_of(fill))]
    assert check(found, "no_duplicate_rows").status == "fail"
    assert "1 fill stands in 2 rows" in check(found, "no_duplicate_rows").observed
    assert causes(found) == ["same_fills_inserted_again"]


@pytest.mark.parametrize("ticker", ["AAA-BEFORE", "zzz-after"])
def test_one_row_again_under_a_second_ticker(well: Well, ticker: str) -> None:
    desk, account = well
    fill = some(account)[0]
    desk.write(engine_row(fill, fill_id=fill.fill_id, market_ticker=ticker))

    found = desk.diagnose()

    twin = replace(fill, ticker=ticker)
    assert found.breaks == [fill_break("unexpected", twin, table=side_of(fill))]
    assert check(found, "no_duplicate_rows").status == "fail"
    assert causes(found) == ["same_fills_inserted_again"]


@embedded_only
def test_a_fill_that_stands_under_another_ticker_only(well: Well) -> None:
    desk, account = well
    fill = some(account)[0]
    desk.delete(fill)
    desk.write(engine_row(fill, fill_id=fill.fill_id, market_ticker="KXOTHER"))

    found = desk.diagnose()

    fields = {one.field: (one.exchange, one.table) for one in found.breaks}
    assert fields["market_ticker"] == (fill.ticker, "KXOTHER")
    assert {one.kind for one in found.breaks} == {"mismatch"}


def test_one_order_with_a_missing_fill(well: Well) -> None:
    """The exchange itself shows fewer fills than the order says: money is missing somewhere."""
    desk, account = well
    for fill in some(account):
        (order,) = [one for one in account.orders() if one.order_id == fill.order_id]
        more = order.fill_count + 3
        desk.exchange.change_order(order.order_id, fill_count=more)

        found = desk.diagnose()

        assert found.breaks == [
            Break(
                "mismatch",
                "order",
                None,
                order.order_id,
                order.ticker,
                "fill_count_fp",
                more,
                order.fill_count,
            )
        ]
        assert found.verdict == "fail"
        assert causes(found) == ["fills_missing"]
        assert "1 order that differs" in check(found, "volume_matches_api").observed
        desk.exchange.show_order(order.order_id)
    assert_well(desk.diagnose())


@embedded_only
def test_one_order_of_which_no_fill_is_there(well: Well) -> None:
    desk, account = well
    like = account.unfilled_orders[0] if account.unfilled_orders else account.orders()[0]
    account.unfilled_orders.append(
        replace(
            like,
            order_id="never-filled",
            created_at_us=account.fills[3].executed_at_us,
            updated_at_us=account.fills[3].executed_at_us,
        )
    )
    desk.exchange.add([])
    assert_well(desk.diagnose())
    desk.exchange.change_order("never-filled", fill_count=Decimal("7.00"))

    found = desk.diagnose()

    assert found.breaks == [
        Break(
            "missing", "order", None, "never-filled", like.ticker, "fill_count_fp", Decimal(7), None
        )
    ]
    assert causes(found) == ["fills_missing"]


@embedded_only
def test_one_order_with_another_fee(well: Well) -> None:
    desk, account = well
    fill = some(account)[0]
    (order,) = [one for one in account.orders() if one.order_id == fill.order_id]
    desk.exchange.change_order(order.order_id, maker_fees=order.maker_fees + Decimal("0.000001"))

    found = desk.diagnose()

    total = order.maker_fees + order.taker_fees
    assert found.breaks == [
        Break(
            "mismatch",
            "order",
            None,
            order.order_id,
            order.ticker,
            "fees_dollars",
            total + Decimal("0.000001"),
            total,
        )
    ]
    assert found.verdict == "fail"
    assert "position" not in found.root_cause.explanation


def test_one_position_off_by_a_hundredth(well: Well) -> None:
    desk, account = well
    ticker = open_market(account)
    held = sum(
        (fill.count if fill.outcome_side == "yes" else -fill.count)
        for fill in account.fills
        if (fill.ticker, fill.subaccount) == (ticker, 0)
    )
    desk.exchange.move_position(ticker, 0, Decimal("0.01"))

    found = desk.diagnose()

    assert found.breaks == [
        Break(
            "mismatch",
            "position",
            None,
            None,
            ticker,
            "position_fp of 0",
            held + Decimal("0.01"),
            held,
        )
    ]
    assert found.verdict == "warn"
    assert causes(found) == []
    assert "transfer" in found.root_cause.explanation


@embedded_only
def test_contracts_moved_between_subaccounts_are_explained_and_no_break(well: Well) -> None:
    desk, account = well
    ticker = open_market(account)
    desk.exchange.move_position(ticker, 0, Decimal("-4.00"))
    desk.exchange.move_position(ticker, 1, Decimal("4.00"))

    found = desk.diagnose()

    assert_well(found)
    assert any(ticker in note and "moved between subaccounts" in note for note in found.notes)


@embedded_only
def test_contracts_moved_to_a_subaccount_that_never_traded_are_a_warning(well: Well) -> None:
    """It is not asked for: the exchange lists positions one subaccount at a time."""
    desk, account = well
    ticker = open_market(account)
    desk.exchange.move_position(ticker, 0, Decimal("-4.00"))
    desk.exchange.move_position(ticker, 7, Decimal("4.00"))

    found = desk.diagnose()

    assert found.verdict == "warn"
    assert {one.scope for one in found.breaks} == {"position"}
    assert "transfer" in found.root_cause.explanation


@embedded_only
def test_a_fill_older_than_the_window_that_is_missing_is_found_by_its_position(desk: Desk) -> None:
    old = fill_at(NOW - 5 * DAY)
    account = account_of(old, fill_at(NOW - HOUR, 2))
    desk.healthy(account)
    desk.delete(old)

    found = desk.diagnose()

    assert found.breaks == [fill_break("missing", old, exchange=side_of(old))]
    assert causes(found) == ["fills_missing"]
    assert found.root_cause.next == "kalshi-fills sync --since 2026-11-17"


@embedded_only
def test_more_breaks_than_are_named_are_said_to_be_more(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciliation, "MAX_BREAKS", 10)
    account = one_day(60)
    desk.healthy(account)
    desk.delete(*account.fills[:30])

    found = desk.diagnose()

    assert found.more_breaks
    assert len(found.breaks) == 10
    assert "10 missing; and more" in check(found, "volume_matches_api").observed
