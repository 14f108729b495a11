"""The tables as a pass uses them: what is new, known or corrected, and what a row keeps."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from kalshi_fills.errors import InsertUnknown, WarehouseError
from kalshi_fills.migrate.run import migrate
from kalshi_fills.pipeline.content import content, digest
from kalshi_fills.pipeline.fills import Fill, Rejected
from kalshi_fills.pipeline.parse import read_item
from kalshi_fills.pipeline.stages import Counts
from kalshi_fills.warehouse import fills as store_module
from kalshi_fills.warehouse.client import Column, Warehouse
from kalshi_fills.warehouse.fills import NO_UUID, Written
from kalshi_fills.warehouse.runs import Run
from kalshi_fills.warehouse.statements import Tables
from kalshi_fills.warehouse.store import FillStore

pytestmark = pytest.mark.both_engines

NOW = datetime(2026, 11, 22, 12, 0, 0, 123456, tzinfo=UTC)
DECISION = uuid.UUID("5b0d2a1f-51c3-4d0b-9f57-8e0f7a3e9c11")

ENGINE_COLUMNS = (
    "ts engine_instance_id engine_version market_ticker exchange_order_id client_order_id side "
    "price_cents size decision_id fill_id raw_json"
).split()
LINKS = "client_order_id, engine_instance_id, engine_version, decision_id"

FILL = Fill(
    executed_at=datetime(2026, 11, 22, 10, 0, 0, 417, tzinfo=UTC),
    fill_id="3f2a0000-0000-0000-0000-000000000001",
    order_id="9c1b0000-0000-0000-0000-000000000001",
    ticker="KXHIGHNY-26NOV23-B52.5",
    outcome="yes",
    action="buy",
    yes_price_dollars=Decimal("0.4100"),
    no_price_dollars=Decimal("0.5900"),
    contracts=Decimal("10.00"),
    fee_dollars=Decimal("0.169330"),
    is_taker=True,
    subaccount_number=0,
    exchange_index=2,
    direction_inferred=False,
    id_synthetic=False,
    client_order_id="",
    source="live",
    raw_json='{"fill_id": "one"}',
)


class Book:
    """The tables of one account, migrated; every write is a run of its own."""

    def __init__(self, warehouse: Warehouse, tables: Tables) -> None:
        self.warehouse = warehouse
        self.tables = tables
        migrate(warehouse, tables, NOW)

    def store(
        self,
        at: datetime = NOW,
        *,
        dry_run: bool = False,
        warehouse: Warehouse | None = None,
        run_id: uuid.UUID | None = None,
    ) -> FillStore:
        return FillStore(
            warehouse or self.warehouse, self.tables, run_id or uuid.uuid4(), at, dry_run
        )

    def write(self, *fills: Fill, **how: Any) -> dict[str, Written]:
        written = self.store(**how).write({fill.key: fill for fill in fills})
        return {one.fill.fill_id: one for one in written}

    def engine(self, fill: Fill = FILL, **changes: Any) -> None:
        """Write a row as an engine does, with its own column list."""
        row = {
            "ts": fill.executed_at.replace(microsecond=0),
            "engine_instance_id": "mm-3f",
            "engine_version": "0.9.3",
            "market_ticker": fill.ticker,
            "exchange_order_id": fill.order_id,
            "client_order_id": "engine-order",
            "side": fill.outcome,
            "price_cents": 41,
            "size": 10,
            "decision_id": DECISION,
            "fill_id": fill.fill_id,
            "raw_json": "{}",
        } | changes
        self.insert(row)

    def insert(self, *rows: Mapping[str, Any]) -> None:
        names = list(rows[0])
        self.warehouse.insert(self.tables.name(), names, [list(row.values()) for row in rows])

    def rows(self, what: str, suffix: str = "", order: str = "ALL") -> list[tuple[Any, ...]]:
        return self.warehouse.rows(
            f"SELECT {what} FROM {self.tables.name(suffix)} FINAL ORDER BY {order}"
        )

    def merge(self, suffix: str = "") -> None:
        self.warehouse.command(f"OPTIMIZE TABLE {self.tables.name(suffix)} FINAL")

    def once(self, what: str) -> tuple[Any, ...]:
        """Give the only row there is, the same before and after a merge."""
        before = self.rows(what)
        self.merge()
        assert self.rows(what) == before
        assert len(before) == 1
        return before[0]


@pytest.fixture
def book(warehouse: Warehouse, tables: Tables) -> Book:
    return Book(warehouse, tables)


def kind(written: Written) -> str:
    return "new" if written.before is None else "corrected" if written.differences else "known"


def many(count: int) -> list[Fill]:
    return [
        FILL._replace(
            fill_id=f"{number:08x}-0000-4000-8000-000000000000",
            order_id=f"{number // 3:08x}-0000-4000-8000-00000000000a",
            ticker=f"KXT-{number % 7}",
            executed_at=FILL.executed_at + timedelta(microseconds=number),
        )
        for number in range(count)
    ]


# What is new, known or corrected


def test_a_fill_is_new_once_and_known_from_then_on(book: Book) -> None:
    assert [kind(one) for one in book.write(*many(50)).values()] == ["new"] * 50

    again = book.write(*many(60))

    assert [kind(one) for one in again.values()].count("known") == 50
    assert [kind(one) for one in again.values()].count("new") == 10
    assert book.rows("count(), uniqExact(fill_id)") == [(60, 60)]


def test_every_column_holds_what_the_fill_says(book: Book) -> None:
    run_id = uuid.uuid4()

    book.write(FILL, run_id=run_id)

    assert book.once(
        "ts, fill_id, exchange_order_id, market_ticker, side, action, outcome_side, book_side, "
        "price_cents, yes_price_dollars, no_price_dollars, size, fee_dollars, is_taker, "
        "subaccount_number, exchange_index, direction_inferred, id_synthetic, source, run_id, "
        "content_hash, raw_json, version"
    ) == (
        FILL.executed_at,
        FILL.fill_id,
        FILL.order_id,
        FILL.ticker,
        "yes",
        "buy",
        "yes",
        "bid",
        Decimal("41.0000"),
        Decimal("0.410000"),
        Decimal("0.590000"),
        Decimal("10.00"),
        Decimal("0.169330"),
        True,
        0,
        2,
        False,
        False,
        "live",
        run_id,
        digest(content(FILL)),
        FILL.raw_json,
        int(NOW.timestamp() * 1_000_000),
    )


def test_the_price_is_that_of_the_outcome_acquired(book: Book) -> None:
    book.write(
        FILL._replace(
            outcome="no",
            yes_price_dollars=Decimal("0.9950"),
            no_price_dollars=Decimal("0.0050"),
        )
    )

    assert book.once("side, book_side, price_cents, price") == (
        "no",
        "ask",
        Decimal("0.5000"),
        0.005,
    )


@pytest.mark.parametrize(
    ("changes", "column", "value"),
    [
        (
            {"yes_price_dollars": Decimal("0.42"), "no_price_dollars": Decimal("0.58")},
            "price_cents",
            Decimal(42),
        ),
        ({"contracts": Decimal("10.01")}, "size", Decimal("10.01")),
        ({"fee_dollars": Decimal("0.169331")}, "fee_dollars", Decimal("0.169331")),
        ({"is_taker": False}, "is_taker", False),
        ({"subaccount_number": 63}, "subaccount_number", 63),
        ({"exchange_index": 0}, "exchange_index", 0),
        ({"action": "sell"}, "action", "sell"),
        (
            {"executed_at": datetime(2026, 11, 22, 10, 0, 0, 418, tzinfo=UTC)},
            "ts",
            datetime(2026, 11, 22, 10, 0, 0, 418, tzinfo=UTC),
        ),
    ],
)
def test_a_stored_row_that_differs_is_corrected_and_the_field_is_named(
    book: Book, changes: dict[str, Any], column: str, value: Any
) -> None:
    book.write(FILL)

    corrected = book.write(FILL._replace(**changes), at=NOW + timedelta(hours=1))[FILL.fill_id]

    assert kind(corrected) == "corrected"
    assert column in {difference.field for difference in corrected.differences}
    assert book.once(column) == (value,)
    assert kind(book.write(FILL._replace(**changes))[FILL.fill_id]) == "known"


def test_a_side_that_was_wrong_is_corrected(book: Book) -> None:
    book.write(FILL)

    book.write(FILL._replace(outcome="no"), at=NOW + timedelta(hours=1))

    assert book.once("side, outcome_side, book_side, price_cents") == (
        "no",
        "no",
        "ask",
        Decimal(59),
    )


def test_a_difference_shows_both_values(book: Book) -> None:
    book.write(FILL)

    found = book.write(FILL._replace(contracts=Decimal("7.5")))[FILL.fill_id].differences

    assert [tuple(one) for one in found] == [("size", "10.00", "7.50")]


def test_a_corrected_time_leaves_one_row(book: Book) -> None:
    midnight = datetime(2026, 10, 1, tzinfo=UTC)
    book.write(FILL._replace(executed_at=midnight - timedelta(microseconds=1)))

    book.write(
        FILL._replace(executed_at=midnight + timedelta(microseconds=1)),
        at=NOW + timedelta(seconds=1),
    )

    assert book.once("ts") == (midnight + timedelta(microseconds=1),)
    assert book.rows("count()") == [(1,)]
    september = f"ts FROM {book.tables.name()} FINAL WHERE ts < '2026-10-01 00:00:00'"
    assert book.warehouse.rows(f"SELECT {september}") == []


def test_an_id_shared_by_two_orders_is_two_fills(book: Book) -> None:
    other = FILL._replace(order_id="9c1b0000-0000-0000-0000-000000000002", outcome="no")

    written = book.store().write({FILL.key: FILL, other.key: other})

    assert [kind(one) for one in written] == ["new", "new"]
    assert book.rows("exchange_order_id, side") == [(FILL.order_id, "yes"), (other.order_id, "no")]
    book.merge()
    assert book.rows("count()") == [(2,)]


def test_a_row_under_another_ticker_is_removed(book: Book) -> None:
    book.write(FILL._replace(ticker="KXWRONG"))

    corrected = book.write(FILL, at=NOW + timedelta(hours=1))[FILL.fill_id]

    assert kind(corrected) == "corrected"
    assert [tuple(one) for one in corrected.differences] == [
        ("market_ticker", "KXWRONG", FILL.ticker)
    ]
    assert book.once("market_ticker") == (FILL.ticker,)
    assert book.warehouse.rows(f"SELECT count() FROM {book.tables.name()}") == [(1,)]
    assert kind(book.write(FILL)[FILL.fill_id]) == "known"


def test_a_stale_row_beside_the_right_one_is_removed_where_it_is_looked_for(book: Book) -> None:
    book.write(FILL)
    book.engine(market_ticker="KXWRONG")

    book.store(NOW + timedelta(hours=1)).write({FILL.key: FILL}, everywhere=True)

    assert book.once(f"market_ticker, {LINKS}") == (
        FILL.ticker,
        "engine-order",
        "mm-3f",
        "0.9.3",
        DECISION,
    )


def test_removing_a_row_under_another_ticker_touches_no_other_row(book: Book) -> None:
    others = many(20)
    shared = FILL._replace(order_id="another-order", ticker="KXWRONG")
    book.write(*others, FILL._replace(ticker="KXWRONG"))
    book.write(shared)

    book.write(FILL, at=NOW + timedelta(hours=1))

    assert book.rows("count()") == [(22,)]
    assert (
        book.rows("market_ticker", order="exchange_order_id, market_ticker").count(("KXWRONG",))
        == 1
    )


def test_the_version_grows_although_the_clock_goes_back(book: Book) -> None:
    versions = []
    for hours, contracts in ((0, "1"), (-24, "2"), (-48, "3"), (-24, "4"), (1, "5")):
        book.write(FILL._replace(contracts=Decimal(contracts)), at=NOW + timedelta(hours=hours))
        found = book.rows("version, size")
        assert [row[1] for row in found] == [Decimal(contracts)]
        versions.append(found[0][0])

    assert versions == sorted(set(versions))
    book.merge()
    assert book.rows("size") == [(Decimal(5),)]


def test_two_corrections_of_one_run_both_count(book: Book) -> None:
    store = book.store()
    for contracts in ("1", "2", "3"):
        fill = FILL._replace(contracts=Decimal(contracts))
        store.write({fill.key: fill})

    assert book.once("size") == (Decimal(3),)


@pytest.mark.parametrize(
    ("column", "absent"),
    [
        ("fee_dollars", {"fee_dollars": None}),
        ("is_taker", {"is_taker": None}),
        ("subaccount_number", {"subaccount_number": None}),
        ("exchange_index", {"exchange_index": None}),
        ("action", {"action": ""}),
        ("direction_inferred", {"direction_inferred": True}),
    ],
)
def test_what_the_exchange_leaves_out_this_time_is_kept(
    book: Book, column: str, absent: dict[str, Any]
) -> None:
    book.write(FILL)
    before = book.rows(f"{column}, version")

    again = book.write(FILL._replace(**absent), at=NOW + timedelta(hours=1))[FILL.fill_id]

    assert kind(again) == "known"
    assert again.digest == digest(content(FILL))
    assert book.rows(f"{column}, version") == before


def test_a_correction_keeps_what_the_exchange_leaves_out(book: Book) -> None:
    book.write(FILL)
    poor = FILL._replace(
        contracts=Decimal("11.00"),
        fee_dollars=None,
        is_taker=None,
        subaccount_number=None,
        exchange_index=None,
        action="",
        direction_inferred=True,
    )

    corrected = book.write(poor, at=NOW + timedelta(hours=1))[FILL.fill_id]

    assert [one.field for one in corrected.differences] == ["size"]
    assert book.once(
        "size, fee_dollars, is_taker, subaccount_number, exchange_index, action, direction_inferred"
    ) == (Decimal(11), FILL.fee_dollars, True, 0, 2, "buy", False)


def test_what_the_exchange_adds_later_is_a_correction(book: Book) -> None:
    book.write(FILL._replace(fee_dollars=None, is_taker=None, direction_inferred=True))

    corrected = book.write(FILL, at=NOW + timedelta(hours=1))[FILL.fill_id]

    assert {one.field for one in corrected.differences} == {
        "fee_dollars",
        "is_taker",
        "direction_inferred",
    }
    assert book.once("fee_dollars, is_taker, direction_inferred") == (FILL.fee_dollars, True, False)


def test_an_unknown_fee_is_not_zero(book: Book) -> None:
    zero = FILL._replace(fill_id="zero", fee_dollars=Decimal(0))

    book.write(FILL._replace(fill_id="unknown", fee_dollars=None), zero)

    assert book.rows("fill_id, fee_dollars") == [("unknown", None), ("zero", Decimal(0))]


HOSTILE = {
    "quote": "it's",
    "backslash": "back\\slash\\",
    "controls": "tab\tline\nreturn\rnul\0",
    "backtick": "`; DROP TABLE x; --",
    "brackets": "['a', 'b'], {x:String} %s",
    "unicode": "KXÅ-日本-\U0001f4b8-\u2028",
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_ids_are_stored_and_known_again(book: Book, what: str) -> None:
    text = HOSTILE[what]
    fill = FILL._replace(
        fill_id=f"f{text}", order_id=f"o{text}", ticker=f"t{text}", action=text, raw_json=text
    )

    assert kind(book.write(fill)[fill.fill_id]) == "new"
    assert kind(book.write(fill)[fill.fill_id]) == "known"
    moved = fill._replace(ticker=f"u{text}")
    assert kind(book.write(moved, at=NOW + timedelta(hours=1))[fill.fill_id]) == "corrected"

    assert book.once("fill_id, exchange_order_id, market_ticker, action, raw_json") == (
        fill.fill_id,
        fill.order_id,
        moved.ticker,
        text,
        text,
    )


@pytest.mark.parametrize("what", HOSTILE)
def test_the_table_computes_the_same_digest_as_the_tool(book: Book, what: str) -> None:
    fill = FILL._replace(ticker=f"t{HOSTILE[what]}", action=HOSTILE[what])

    book.write(fill)

    start = FILL.executed_at.replace(minute=0, second=0, microsecond=0)
    hours = book.store().hours(start, start + timedelta(hours=1))
    assert [(hour, one.fills, one.digest_sum) for hour, one in hours.items()] == [
        (start, 1, digest(content(fill)))
    ]
    assert book.store().hours(None, start + timedelta(hours=1)) == hours


def test_a_block_of_several_thousand_fills_is_looked_up_at_once(book: Book) -> None:
    fills = many(5_000)
    book.write(*fills[::2])

    written = book.write(*fills)

    kinds = [kind(one) for one in written.values()]
    assert (kinds.count("new"), kinds.count("known")) == (2_500, 2_500)
    assert book.rows("count()") == [(5_000,)]


def test_a_dry_run_says_the_same_and_writes_nothing(book: Book) -> None:
    book.write(FILL)
    rejected = refusal({"order_id": "x", "fill_id": "y"})
    dry = book.store(dry_run=True)
    changed, new = FILL._replace(contracts=Decimal(1)), many(1)[0]

    written = dry.write({one.key: one for one in (changed, new)})
    dry.quarantine([rejected], NOW)
    dry.accept_rejected()
    dry.record(run(), NOW)

    assert {kind(one) for one in written} == {"corrected", "new"}
    assert book.rows("size") == [(Decimal(10),)]
    assert book.rows("count()", "_rejected") == [(0,)]
    assert book.rows("count()", "_runs") == [(0,)]


# Rows of other writers


def test_an_engines_row_is_replaced_by_the_exchanges_which_keeps_its_links(book: Book) -> None:
    book.engine(price_cents=0, size=0)
    assert book.rows("version") == [(0,)]

    corrected = book.write(FILL)[FILL.fill_id]

    assert kind(corrected) == "corrected"
    assert book.once(f"ts, price_cents, size, raw_json, source, {LINKS}") == (
        FILL.executed_at,
        Decimal(41),
        Decimal(10),
        FILL.raw_json,
        "live",
        "engine-order",
        "mm-3f",
        "0.9.3",
        DECISION,
    )


def test_the_exchanges_own_client_order_id_wins_over_the_engines(book: Book) -> None:
    book.engine()

    book.write(FILL._replace(client_order_id="from-the-exchange"))

    assert book.once("client_order_id, decision_id") == ("from-the-exchange", DECISION)


def test_links_outlive_several_corrections(book: Book) -> None:
    book.engine()
    for hours, contracts in ((0, "1"), (1, "2"), (2, "3")):
        book.write(FILL._replace(contracts=Decimal(contracts)), at=NOW + timedelta(hours=hours))
        book.merge()

    assert book.once(LINKS) == ("engine-order", "mm-3f", "0.9.3", DECISION)


def test_an_engines_row_that_comes_late_gives_its_links_at_the_next_write(book: Book) -> None:
    book.write(FILL)
    book.engine()

    corrected = book.write(FILL, at=NOW + timedelta(hours=1))[FILL.fill_id]

    assert kind(corrected) == "corrected"
    assert book.once(f"ts, {LINKS}") == (
        FILL.executed_at,
        "engine-order",
        "mm-3f",
        "0.9.3",
        DECISION,
    )
    assert kind(book.write(FILL)[FILL.fill_id]) == "known"


@pytest.mark.parametrize("link", ["client_order_id", "engine_instance_id", "engine_version"])
def test_one_late_link_alone_is_taken_too(book: Book, link: str) -> None:
    nothing = {"client_order_id": "", "engine_instance_id": "", "engine_version": ""}
    book.write(FILL)
    book.engine(**(nothing | {"decision_id": NO_UUID, link: "the link"}))

    book.write(FILL, at=NOW + timedelta(hours=1))

    assert book.once(link) == ("the link",)


def test_an_engines_row_alone_does_not_count_over_the_exchanges(book: Book) -> None:
    book.write(FILL)

    book.engine(price_cents=1, size=999)

    assert book.once("price_cents, size") == (Decimal(41), Decimal(10))


@pytest.mark.parametrize("named", [True, False], ids=["named", "left out"])
def test_rows_with_a_blank_id_never_collapse(book: Book, named: bool) -> None:
    row = {
        "ts": FILL.executed_at,
        "market_ticker": FILL.ticker,
        "exchange_order_id": FILL.order_id,
        "side": "yes",
        "price_cents": Decimal(41),
        "size": Decimal(10),
    }
    if named:
        row["fill_id"] = ""
    for _ in range(3):
        book.insert(row, row)

    assert book.rows("count()") == [(6,)]
    book.merge()
    assert book.rows("count()") == [(6,)]


def test_rows_with_a_blank_id_stay_when_the_fill_itself_comes(book: Book) -> None:
    book.engine(fill_id="")
    book.engine(fill_id="")

    assert kind(book.write(FILL)[FILL.fill_id]) == "new"

    book.merge()
    assert book.rows("count(), countIf(fill_id = '')") == [(3, 2)]


@pytest.mark.parametrize(
    ("side", "cents", "yes", "no"),
    [
        ("yes", "41", "0.41", "0.59"),
        ("no", "63", "0.37", "0.63"),
        ("yes", "0.5", "0.005", "0.995"),
        ("no", "99.5", "0.005", "0.995"),
        ("yes", "0.0001", "0.000001", "0.999999"),
        ("yes", "0", "0", "0"),
        ("no", "100", "0", "0"),
        ("", "41", "0", "0"),
    ],
)
def test_the_two_prices_of_an_engines_row_follow_from_its_own(
    book: Book, side: str, cents: str, yes: str, no: str
) -> None:
    book.engine(side=side, price_cents=Decimal(cents))

    assert book.once("yes_price_dollars, no_price_dollars") == (Decimal(yes), Decimal(no))


def test_the_old_floats_of_an_engines_row_have_defaults(book: Book) -> None:
    book.engine(price_cents=63)

    assert book.once("price, fee, fee_dollars") == (0.63, 0.0, None)


def test_an_engine_may_still_write_the_old_floats_itself(book: Book) -> None:
    book.engine(price=0.63, fee=0.07, price_cents=63)

    assert book.once("price, fee") == (0.63, 0.07)


@pytest.mark.parametrize(("fee", "shown"), [("0.169330", 0.16933), ("0", 0.0), (None, 0.0)])
def test_the_old_floats_of_our_rows_are_price_and_fee(
    book: Book, fee: str | None, shown: float
) -> None:
    book.write(FILL._replace(fee_dollars=None if fee is None else Decimal(fee)))

    assert book.once("price, fee") == (0.41, shown)


def test_the_view_shows_each_fill_once(book: Book) -> None:
    book.engine()
    book.write(FILL)
    book.write(FILL._replace(contracts=Decimal(3)), at=NOW + timedelta(hours=1))

    found = book.warehouse.rows(f"SELECT size, decision_id FROM {book.tables.name('_current')}")

    assert found == [(Decimal(3), DECISION)]


# An insert of unknown fate


class Unreliable:
    """A warehouse whose inserts into the fills table lose their answers.

    Each of `fates` is how one insert goes: `stored`, `lost`, `half` (of its rows) or `fine`; what
    comes after them is fine.
    """

    def __init__(self, real: Warehouse, table: str, fates: Iterable[str]) -> None:
        self.real = real
        self.table = table
        self.fates = list(fates)
        self.inserts = 0
        self.failing_lookups = 0

    def rows(self, *asked: Any, **more: Any) -> list[tuple[Any, ...]]:
        if self.inserts and self.failing_lookups:
            self.failing_lookups -= 1
            raise WarehouseError("ClickHouse could not be reached", hint="wait")
        return self.real.rows(*asked, **more)

    def command(self, sql: str, params: Mapping[str, object] | None = None) -> None:
        self.real.command(sql, params)

    def insert(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        self.real.insert(table, columns, rows)

    def insert_columns(
        self, table: str, columns: Sequence[Column], statement: str | None = None
    ) -> None:
        assert table == self.table
        self.inserts += 1
        fate = self.fates.pop(0) if self.fates else "fine"
        if fate == "half":
            half = len(columns[0].values) // 2
            columns = [column._replace(values=column.values[:half]) for column in columns]
        if fate != "lost":
            self.real.insert_columns(table, columns, statement)
        if fate != "fine":
            raise InsertUnknown("the connection was lost during an insert", hint="run it again")

    def close(self) -> None:
        self.real.close()


@pytest.fixture
def unreliable(book: Book, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Unreliable]:
    monkeypatch.setattr(store_module, "_LOOKUP_WAIT_SECONDS", 0.0)

    def make(*fates: str) -> Unreliable:
        return Unreliable(book.warehouse, book.tables.name(), fates)

    return make


@pytest.mark.parametrize(
    "fates",
    [["stored"], ["lost"], ["half"], ["lost", "lost", "half", "stored"], ["half", "half", "half"]],
    ids="-".join,
)
def test_after_a_lost_answer_every_row_is_there_once_and_told_right(
    book: Book, unreliable: Callable[..., Unreliable], fates: list[str]
) -> None:
    fills = many(40)
    book.write(*fills[:10])
    changed = [fill._replace(contracts=Decimal(77)) for fill in fills[:5]]

    written = book.write(
        *changed, *fills[5:], at=NOW + timedelta(hours=1), warehouse=unreliable(*fates)
    )

    kinds = [kind(one) for one in written.values()]
    assert [kinds.count(name) for name in ("new", "corrected", "known")] == [30, 5, 5]
    book.merge()
    assert book.rows("count(), uniqExact(fill_id), countIf(size = 77)") == [(40, 40, 5)]
    assert {kind(one) for one in book.write(*changed, *fills[5:]).values()} == {"known"}


def test_what_was_stored_is_not_sent_again(
    book: Book, unreliable: Callable[..., Unreliable]
) -> None:
    shaky = unreliable("stored")

    book.write(*many(40), warehouse=shaky)

    assert shaky.inserts == 1


def test_looking_up_what_was_stored_outlasts_a_restart(
    book: Book, unreliable: Callable[..., Unreliable]
) -> None:
    shaky = unreliable("lost")
    shaky.failing_lookups = 5

    book.write(*many(40), warehouse=shaky)

    assert book.rows("count()") == [(40,)]


def test_looking_up_what_was_stored_ends_when_the_server_stays_away(
    book: Book, unreliable: Callable[..., Unreliable], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "_LOOKUP_SECONDS", 0.2)
    shaky = unreliable("lost")
    shaky.failing_lookups = 10**9

    with pytest.raises(WarehouseError):
        book.write(*many(3), warehouse=shaky)


def test_an_insert_that_never_succeeds_ends_the_write(
    book: Book, unreliable: Callable[..., Unreliable], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "_LOOKUP_SECONDS", 0.2)
    shaky = unreliable(*["lost"] * 300)

    with pytest.raises(WarehouseError):
        book.write(*many(3), warehouse=shaky)

    assert shaky.inserts < 300


def test_late_links_are_taken_although_the_answer_was_lost_and_nothing_stored(
    book: Book, unreliable: Callable[..., Unreliable]
) -> None:
    book.write(FILL)
    book.engine()

    corrected = book.write(FILL, at=NOW + timedelta(hours=1), warehouse=unreliable("lost"))

    assert kind(corrected[FILL.fill_id]) == "corrected"
    assert book.once(LINKS) == ("engine-order", "mm-3f", "0.9.3", DECISION)


# Quarantine


def refusal(item: object, text: str | None = None) -> Rejected:
    raw = json.dumps(item) if text is None else text
    refused = read_item(json.loads(raw, parse_float=Decimal), raw, "live", NOW)
    assert isinstance(refused, Rejected)
    return refused


CLAIM = {"order_id": "o", "fill_id": "f", "created_time": "2026-11-22T10:00:00Z", "novel_key": 1}


def test_a_refused_item_is_kept_whole_with_its_reason(book: Book) -> None:
    raw = '{"order_id": "it\'s",\t"fill_id": "日本", "ä b": null, "n": 1.10}'
    run_id = uuid.uuid4()

    book.store(run_id=run_id).quarantine([refusal(None, raw)], NOW)

    assert book.rows(
        "stage, reason, keys, raw_json, claims_fill, accepted, first_seen, last_seen, times_seen, "
        "run_id",
        "_rejected",
    ) == [
        (
            "real",
            "no_event_time",
            ["order_id", "fill_id", "ä b", "n"],
            raw,
            True,
            False,
            NOW,
            NOW,
            1,
            run_id,
        )
    ]


@pytest.mark.parametrize("key", ["it's", "a\\b", "tab\t, line\n", "nul\0", "`", "", "'], ['"])
def test_a_refused_item_may_have_any_keys(book: Book, key: str) -> None:
    item = CLAIM | {key: 1, "after": 2}

    book.store().quarantine([refusal(item)], NOW)

    assert book.rows("keys", "_rejected") == [(list(item),)]


@pytest.mark.parametrize("item", [None, 0, "text", [1, None], {}, True])
def test_whatever_was_refused_is_one_row(book: Book, item: object) -> None:
    book.store().quarantine([refusal(item)], NOW)

    found = book.rows("raw_json, keys, claims_fill", "_rejected")
    assert found == [(json.dumps(item), [], False)]


def test_an_item_that_comes_back_is_counted_not_repeated(book: Book) -> None:
    item = refusal(CLAIM)
    other_order = refusal(dict(reversed(CLAIM.items())))
    later, earlier = NOW + timedelta(days=1), NOW - timedelta(days=1)

    book.store().quarantine([item, refusal("junk"), item], NOW)
    book.store().quarantine([other_order], later)
    book.store().quarantine([item], earlier)

    for _ in ("before a merge", "after it"):
        assert book.rows(
            "reason, times_seen, first_seen, last_seen", "_rejected", "times_seen"
        ) == [
            ("not_an_object", 1, NOW, NOW),
            ("no_quantity", 4, earlier, later),
        ]
        book.merge("_rejected")


def test_items_that_differ_are_rows_of_their_own(book: Book) -> None:
    items = [CLAIM, CLAIM | {"order_id": "p"}, CLAIM | {"novel_key": "1"}, [CLAIM], None, "null"]

    book.store().quarantine([refusal(item) for item in items], NOW)

    assert book.rows("count(), uniqExact(fingerprint)", "_rejected") == [(6, 6)]


def test_an_accepted_item_stays_accepted_however_often_it_comes_back(book: Book) -> None:
    claim, junk = refusal(CLAIM), refusal({"status": "resting"})
    book.store().quarantine([claim, junk], NOW)
    assert book.store().accepted([claim, junk]) == set()

    book.store().accept_rejected()
    book.store().quarantine([claim, junk], NOW + timedelta(hours=1))

    for _ in ("before a merge", "after it"):
        assert book.store().accepted([claim, junk]) == {claim.fingerprint}
        assert book.rows("claims_fill, accepted, times_seen, last_seen", "_rejected") == [
            (False, False, 2, NOW + timedelta(hours=1)),
            (True, True, 2, NOW + timedelta(hours=1)),
        ]
        book.merge("_rejected")


def test_what_is_refused_after_an_acceptance_is_not_accepted(book: Book) -> None:
    book.store().accept_rejected()
    claim = refusal(CLAIM)

    book.store().quarantine([claim], NOW)

    assert book.store().accepted([claim]) == set()


def test_nothing_refused_asks_and_writes_nothing(book: Book) -> None:
    book.store().quarantine([], NOW)

    assert book.store().accepted([]) == set()
    assert book.rows("count()", "_rejected") == [(0,)]


# The ledger of runs


def run(**changes: Any) -> Run:
    return Run(
        run_id=uuid.UUID(int=7),
        status="running",
        started_at=NOW,
        finished_at=None,
        window_start=None,
        window_end=NOW,
        watermark=None,
        counts=Counts(),
        host="host",
        pid=4711,
    )._replace(**changes)


def test_a_run_is_one_row_that_says_how_it_ended(book: Book) -> None:
    counts = Counts(
        n_api=12, n_raw=11, n_real=10, n_valid=9, n_gated=8, n_new=3, n_corrected=2, n_known=2,
        n_duplicate=1, n_rejected=4,
    )  # fmt: skip
    end = NOW + timedelta(seconds=3)
    book.store().record(run(), NOW)

    book.store().record(
        run(status="done", finished_at=end, watermark=NOW, counts=counts, error="it's"), end
    )

    for _ in ("before a merge", "after it"):
        assert book.rows(
            "run_id, status, started_at, finished_at, window_start, window_end, watermark, n_api, "
            "n_raw, n_real, n_valid, n_gated, n_new, n_corrected, n_known, n_duplicate, "
            "n_rejected, n_inserted, host, pid, error, tool_version != ''",
            "_runs",
        ) == [
            (
                uuid.UUID(int=7), "done", NOW, end, None, NOW, NOW,
                12, 11, 10, 9, 8, 3, 2, 2, 1, 4, 5, "host", 4711, "it's", 1,
            )
        ]  # fmt: skip
        book.merge("_runs")


def test_the_watermark_is_that_of_the_last_finished_run(book: Book) -> None:
    store = book.store()
    assert store.last_watermark() is None

    ends = [
        ("done", NOW - timedelta(hours=3)),
        ("done", NOW - timedelta(hours=2)),
        ("failed", NOW - timedelta(hours=1)),
        ("running", NOW),
    ]
    for number, (status, watermark) in enumerate(ends):
        store.record(
            run(run_id=uuid.UUID(int=number + 1), status=status, watermark=watermark),
            NOW + timedelta(minutes=number),
        )

    assert store.last_watermark() == NOW - timedelta(hours=2)


def test_unfinished_runs_are_those_of_any_host_that_still_run(book: Book) -> None:
    store = book.store()
    for number, (status, host) in enumerate(
        [("running", "host"), ("done", "host"), ("failed", "host"), ("running", "elsewhere")]
    ):
        store.record(run(run_id=uuid.UUID(int=number + 1), status=status, host=host), NOW)

    found = sorted(store.unfinished())

    assert [(one.run_id, one.host, one.pid, one.started_at) for one in found] == [
        (uuid.UUID(int=1), "host", 4711, NOW),
        (uuid.UUID(int=4), "elsewhere", 4711, NOW),
    ]


def test_a_correction_takes_the_operators_own_columns_along(book: Book) -> None:
    table = book.tables.name()
    book.warehouse.command(
        f"ALTER TABLE {table} ADD COLUMN strategy String, ADD COLUMN edge Float64"
    )
    book.engine(strategy="mine", edge=0.25, price_cents=Decimal(99))

    ((_, written),) = book.write(FILL).items()

    assert kind(written) == "corrected"
    assert book.rows("strategy, edge, yes_price_dollars") == [
        ("mine", 0.25, FILL.yes_price_dollars)
    ]
