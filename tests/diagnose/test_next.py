"""What diagnose names as the cause, and that what it says to do next repairs it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from support.diagnosing import Desk, assert_well, causes, check, engine_row, statuses
from support.syncing import DAY, HOUR, MINUTE, NOW, SECOND, account_of, fill_at, one_day

from kalshi_fills.diagnose.removal import start_over_or_delete
from kalshi_fills.diagnose.run import Diagnosis
from kalshi_fills.pipeline.fills import FillKey
from kalshi_fills.practice.account import PracticeAccount, PracticeFill

embedded_only = pytest.mark.parametrize("warehouse", ["embedded"], indirect=True)
"""For tests of what is decided in Python; what the SQL says is tested on both engines."""

VOLUME = "volume_matches_api"
BY_HAND = "by hand: "


def without(account: PracticeAccount, *gone: PracticeFill) -> PracticeAccount:
    return account_of(*(fill for fill in account.fills if fill not in gone))


def kinds(found: Diagnosis) -> list[tuple[str, str, str | None]]:
    return sorted((one.scope, one.kind, one.fill_id) for one in found.breaks)


# Rows that somebody changed


def test_a_changed_price_is_a_row_that_was_altered(desk: Desk) -> None:
    account = one_day(30)
    desk.healthy(account)
    desk.change(account.fills[4], "price_cents = price_cents + 1")

    found = desk.diagnose()

    assert causes(found) == ["rows_altered"]
    assert "somebody changed since: 1" in found.root_cause.evidence[0]
    assert "price_cents" in found.root_cause.evidence[-1]
    day = found.root_cause.next.removeprefix("kalshi-fills sync --since ")
    desk.run(since=datetime.fromisoformat(day).replace(tzinfo=NOW.tzinfo))
    assert_well(desk.diagnose())


@embedded_only
def test_a_row_that_another_writer_wrote_otherwise_was_altered(desk: Desk) -> None:
    account = one_day(30)
    fill = account.fills[4]
    desk.healthy(account)
    desk.delete(fill)
    desk.write(engine_row(fill, fill_id=fill.fill_id, price_cents=3))

    found = desk.diagnose()

    assert causes(found) == ["rows_altered"]
    assert "another writer wrote: 1" in found.root_cause.evidence[0]


@embedded_only
def test_an_exchange_that_tells_more_than_it_did_is_nobody_s_doing(desk: Desk) -> None:
    account = one_day(30)
    desk.healthy(replace(account, eras="current_minimal"))
    desk.serve(account)

    found = desk.diagnose()

    assert check(found, VOLUME).status == "fail"
    assert causes(found) == []
    assert "as a sync wrote them" in found.root_cause.explanation
    assert found.root_cause.next.startswith("kalshi-fills sync")
    desk.run(full=True)
    assert_well(desk.diagnose())


# Trades that were busted


@pytest.mark.parametrize("count", [1, 3])
def test_a_busted_trade_is_named_and_what_removes_it(desk: Desk, count: int) -> None:
    account = one_day(30)
    busted = [replace(account.fills[5], fill_id="it's \\ a \x1b[31m\u202e fill")]
    busted += account.fills[6 : 5 + count]
    account = account_of(*account.fills[:5], *busted, *account.fills[5 + count :])
    desk.healthy(account)
    desk.serve(without(account, *busted))

    found = desk.diagnose()

    assert causes(found) == ["exchange_withdrew_fills"]
    assert kinds(found) == sorted(("fill", "unexpected", fill.fill_id) for fill in busted)
    statement = found.root_cause.next.removeprefix(BY_HAND)
    assert statement.startswith(f"ALTER TABLE {desk.tables.name()} DELETE WHERE ")
    assert statement.isprintable()
    assert check(found, VOLUME).next == found.root_cause.next
    desk.run(full=True)
    assert len(desk.diagnose().breaks) == count  # no sync removes it
    desk.warehouse.command(statement)
    assert_well(desk.diagnose())
    assert len(desk.fills()) == 30 - count


@embedded_only
def test_a_busted_trade_of_long_ago_is_found_by_its_position(desk: Desk) -> None:
    busted, other = fill_at(NOW - 9 * DAY), fill_at(NOW - 9 * DAY, 2)
    account = account_of(busted, other, fill_at(NOW - HOUR, 3))
    desk.healthy(account)
    desk.serve(without(account, busted))

    found = desk.diagnose()

    assert causes(found) == ["exchange_withdrew_fills"]
    desk.warehouse.command(check(found, VOLUME).next.removeprefix(BY_HAND))
    assert_well(desk.diagnose())


@embedded_only
def test_more_busted_trades_than_a_statement_names_start_over(desk: Desk) -> None:
    account = one_day(80)
    desk.healthy(account)
    desk.serve(account_of(*account.fills[:20]))

    found = desk.diagnose()

    assert causes(found) == ["exchange_withdrew_fills"]
    assert found.root_cause.next == check(found, VOLUME).next == "kalshi-fills truncate"


@embedded_only
def test_a_made_up_row_that_could_be_a_fill_is_not_left_to_a_command_that_leaves_it(
    desk: Desk,
) -> None:
    account = one_day(30)
    desk.healthy(account)
    desk.write(engine_row(account.fills[3], fill_id="made-up"))

    found = desk.diagnose()

    assert causes(found) == ["non_fills_written_as_fills"]
    assert check(found, VOLUME).next == found.root_cause.next
    desk.warehouse.command(found.root_cause.next.removeprefix(BY_HAND))
    assert_well(desk.diagnose())


def test_ids_that_may_be_bytes_are_named_in_both_spellings(desk: Desk) -> None:
    """What is no UTF-8 is shown as escapes; a text may look the same."""
    desk.healthy(account_of(fill_at(NOW - HOUR)))
    desk.write(*(engine_row(fill_at(NOW - HOUR), fill_id=name) for name in (r"\xffA", "left")))
    desk.warehouse.command(
        f"INSERT INTO {desk.tables.name()} (ts, fill_id, exchange_order_id, market_ticker, side, "
        f"price_cents, size) SELECT ts, unhex('FF41'), exchange_order_id, market_ticker, side, "
        f"price_cents, size FROM {desk.tables.name()} WHERE fill_id = 'left'"
    )
    order = fill_at(NOW - HOUR).order_id

    statement = start_over_or_delete(desk.tables, [FillKey(r"\xffA", order)])
    desk.warehouse.command(statement.removeprefix(BY_HAND))

    left = [row[0] for row in desk.rows("fill_id")]
    assert left == [fill_at(NOW - HOUR).fill_id, "left"]


@embedded_only
def test_a_copied_row_under_another_id_is_none_that_the_exchange_withdrew(desk: Desk) -> None:
    account = one_day(30)
    desk.healthy(account)
    desk.warehouse.command(
        f"INSERT INTO {desk.tables.name()} SELECT * REPLACE ('copied' AS fill_id) "
        f"FROM {desk.tables.name()} LIMIT 1"
    )

    assert causes(desk.diagnose()) == ["non_fills_written_as_fills"]


# Rows of equal version


def equal_version(desk: Desk, fill: PracticeFill, what: str) -> None:
    """Return a fill a second row of the version it has, with another content."""
    names = ", ".join(
        row[0]
        for row in desk.warehouse.rows(
            "SELECT name FROM system.columns WHERE database = {d:String} AND table = {t:String} "
            "ORDER BY position",
            {"d": desk.tables.database, "t": desk.tables.fills},
        )
    )
    desk.warehouse.command(
        f"INSERT INTO {desk.tables.name()} ({names}) SELECT * REPLACE ({what}) "
        f"FROM {desk.tables.name()} WHERE fill_id = {{id:String}} LIMIT 1",
        {"id": fill.fill_id},
    )


def test_rows_of_equal_version_and_other_content_are_seen(desk: Desk) -> None:
    account = one_day(30)
    desk.healthy(account)
    assert desk.diagnose(offline=True).verdict == "pass"
    desk.warehouse.command(f"SYSTEM STOP MERGES {desk.tables.name()}")
    try:
        equal_version(desk, account.fills[3], "size + toDecimal64('0.01', 2) AS size")
        equal_version(desk, account.fills[4], "size AS size")  # the same again is no harm

        for offline in (True, False):
            found = desk.diagnose(offline=offline)

            assert found.verdict == "fail"
            assert statuses(found)["no_duplicate_rows"] == "fail"
            assert "1 fill has rows of equal version" in check(found, "no_duplicate_rows").observed
            assert causes(found) == ["rows_altered"]
            assert found.root_cause.next.startswith("kalshi-fills sync --since ")
    finally:
        desk.warehouse.command(f"SYSTEM START MERGES {desk.tables.name()}")


# Orders whose fills lie on both sides of the window


def across(*ages: timedelta) -> list[PracticeFill]:
    """Return the fills of one order, of these ages."""
    return [
        fill_at(
            NOW - age,
            number,
            order_id="across",
            count=Decimal("1.00"),
            fee=Decimal("0.01") * number,
        )
        for number, age in enumerate(ages, 1)
    ]


AGES = (11 * HOUR, 10 * HOUR, 3 * HOUR, 2 * HOUR, HOUR)


def on_both_sides(desk: Desk) -> Sequence[PracticeFill]:
    """Serve an order of five fills; the window of the tests ends between the second and third."""
    fills = across(*AGES)
    desk.healthy(account_of(*fills, fill_at(NOW - 10 * HOUR, 9), fill_at(NOW - HOUR, 10)))
    assert_well(look(desk))
    return fills


def look(desk: Desk) -> Diagnosis:
    return desk.diagnose(DAY, NOW - 5 * HOUR)


def test_fills_of_an_order_missing_outside_the_window_are_named(desk: Desk) -> None:
    fills = on_both_sides(desk)
    desk.delete(*fills[2:])

    found = look(desk)

    assert kinds(found) == [("fill", "missing", fill.fill_id) for fill in fills[2:]]
    assert found.verdict == "fail"
    assert causes(found) == ["fills_missing"]
    assert found.compared.orders == 1
    day = found.root_cause.next.removeprefix("kalshi-fills sync --since ")
    desk.run(since=datetime.fromisoformat(day).replace(tzinfo=NOW.tzinfo))
    assert_well(look(desk))


@pytest.mark.parametrize(
    ("what", "field"),
    [
        ("fee_dollars = fee_dollars + toDecimal64('0.000001', 6)", "fee_dollars"),
        ("size = size + toDecimal64('0.01', 2)", "size"),
    ],
)
def test_a_wrong_fee_or_size_outside_the_window_is_named(desk: Desk, what: str, field: str) -> None:
    fills = on_both_sides(desk)
    desk.change(fills[3], what)

    found = look(desk)

    assert [(one.scope, one.kind, one.fill_id, one.field) for one in found.breaks] == [
        ("fill", "mismatch", fills[3].fill_id, field)
    ]
    assert causes(found) == ["rows_altered"]


@pytest.mark.parametrize("archived", [False, True])
def test_an_order_that_is_older_than_the_window_is_compared_whole(
    desk: Desk, archived: bool
) -> None:
    fills = across(40 * HOUR, 35 * HOUR, 3 * HOUR)
    cutoff = {"cutoff": NOW - 30 * HOUR, "orders_cutoff": NOW} if archived else {}
    account = account_of(*fills, fill_at(NOW - HOUR, 10))
    account.settles_at_us[fills[0].ticker] = 0  # no position tells of it
    desk.healthy(account, **cutoff)
    assert_well(desk.diagnose())
    assert desk.diagnose().compared.orders == 2
    desk.delete(fills[0])
    desk.change(fills[1], "fee_dollars = fee_dollars + toDecimal64('0.000001', 6)")

    found = desk.diagnose()

    assert kinds(found) == [
        ("fill", "mismatch", fills[1].fill_id),
        ("fill", "missing", fills[0].fill_id),
    ]


@embedded_only
def test_a_row_too_many_outside_the_window_is_named(desk: Desk) -> None:
    fills = on_both_sides(desk)
    desk.write(engine_row(fills[3], fill_id="made-up"))

    found = look(desk)

    assert kinds(found) == [("fill", "unexpected", "made-up")]
    assert causes(found) == ["non_fills_written_as_fills"]
    desk.warehouse.command(check(found, VOLUME).next.removeprefix(BY_HAND))
    assert_well(look(desk))


@embedded_only
def test_a_wrong_fee_of_a_fill_whose_fee_the_exchange_does_not_tell(desk: Desk) -> None:
    """The order knows its fees, the fills do not: the table's own sum is what differs."""
    fills = across(*AGES)
    account = account_of(*fills, fill_at(NOW - HOUR, 10))
    desk.healthy(account)
    desk.change(fills[3], "fee_dollars = fee_dollars + toDecimal64('0.5', 6)")
    path = "/portfolio/fills"
    inner = desk.exchange._private[path]

    def without_fees(request: object) -> object:
        given = inner(request)  # type: ignore[arg-type]
        chunks = [chunk.replace(b'"fee_cost"', b'"fee"') for chunk in given.chunks]
        return replace(given, chunks=chunks)

    desk.exchange._private[path] = without_fees  # type: ignore[assignment]

    found = look(desk)

    assert [(one.scope, one.field) for one in found.breaks] == [("order", "fees_dollars")]


@embedded_only
def test_fills_of_an_order_that_are_on_their_way_are_pending(desk: Desk) -> None:
    fills = across(*AGES)
    desk.healthy(account_of(*fills, fill_at(NOW - HOUR, 10)))
    desk.clock.now = NOW + 30 * MINUTE
    new = replace(fills[0], fill_id="new", executed_at_us=int((NOW + MINUTE).timestamp() * 1e6))
    desk.exchange.add([new])

    found = desk.diagnose()

    assert_well(found)
    assert "1 pending; 1 order pending" in check(found, VOLUME).observed


@embedded_only
def test_an_order_listed_twice_in_two_states_is_one_order(desk: Desk) -> None:
    """It moves between the tiers while they are read; the older listing is behind."""
    account = one_day(40)
    many = max(
        account.fills, key=lambda fill: sum(f.order_id == fill.order_id for f in account.fills)
    )
    desk.healthy(account, orders_cutoff=NOW - 30 * DAY)
    (order,) = [one for one in account.orders() if one.order_id == many.order_id]
    desk.exchange.change_order(order.order_id, fill_count=order.fill_count - many.count)
    orders = len({fill.order_id for fill in account.fills})

    def move(path: str) -> None:
        if path == "/portfolio/orders":
            desk.exchange.show_order(order.order_id)
            desk.exchange.set_orders_cutoff(NOW)

    found = desk.diagnose(after=move)

    assert_well(found)
    assert found.compared.orders == orders


@embedded_only
def test_one_fill_sent_with_two_contents_is_no_break_of_the_table(desk: Desk) -> None:
    """The table holds the one that knows more, or by its content; which comes first is chance."""
    plain = fill_at(NOW - 2 * HOUR, 3)
    for number, other in enumerate((Decimal("0.4200"), Decimal("0.4000"))):
        one = replace(plain, fill_id=f"f{number}", order_id=f"o{number}")
        desk.tables = replace(desk.tables, fills=f"two_contents_{number}")
        desk.healthy(account_of(one, replace(one, yes_price=other), fill_at(NOW - HOUR, 9)))

        # The order and the position of the practice account count it twice.
        assert "fill" not in {found.scope for found in desk.diagnose().breaks}


@embedded_only
def test_one_market_of_many_fills_is_looked_at_whole(desk: Desk) -> None:
    fills = [
        fill_at(NOW - 9 * DAY + number * SECOND, number, order_id=f"order-{number // 9}")
        for number in range(3_000)
    ]
    desk.healthy(account_of(*fills, fill_at(NOW - HOUR, 10_000)))
    desk.delete(fills[1_234])

    found = desk.diagnose()

    assert kinds(found) == [("fill", "missing", fills[1_234].fill_id)]


@embedded_only
def test_rows_of_another_account_are_not_called_missing(desk: Desk) -> None:
    ours, theirs = one_day(20, seed=5), one_day(10, seed=6)
    desk.healthy(theirs)
    desk.serve(ours)
    desk.run(full=True)

    found = desk.diagnose()

    assert {one.kind for one in found.breaks if one.scope == "fill"} == {"unexpected"}
    assert causes(found) == ["exchange_withdrew_fills"]
    assert "another account" in found.root_cause.explanation
