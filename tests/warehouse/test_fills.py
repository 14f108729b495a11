"""A fill is stored once, and corrected where the exchange says otherwise."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from support.book import DECISION, FILL, LINKS, NOW, Book, kind, kinds, looked_at, refusal, run
from support.fills import Values

from kalshi_fills.errors import InsertUnknown, WarehouseError
from kalshi_fills.pipeline.batch import Batch
from kalshi_fills.pipeline.content import digest
from kalshi_fills.warehouse import fills as store_module
from kalshi_fills.warehouse.client import Warehouse


def many(count: int) -> list[Values]:
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
    assert kinds(book.write(*many(50))) == {"new": 50}

    again = book.write(*many(60))

    assert kinds(again) == {"known": 50, "new": 10}
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
        digest(FILL.content),
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


@pytest.mark.sampled(3)
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

    corrected = book.write(FILL._replace(**changes), at=NOW + timedelta(hours=1))

    assert kind(corrected) == "corrected"
    assert column in {difference.field for difference in looked_at(corrected).differences}
    assert book.once(column) == (value,)
    assert kind(book.write(FILL._replace(**changes))) == "known"


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

    corrected = looked_at(book.write(FILL._replace(contracts=Decimal("7.5"))))

    assert [tuple(one) for one in corrected.differences] == [("size", "10.00", "7.50")]


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

    assert kinds(book.write(FILL, other)) == {"new": 2}
    assert book.rows("exchange_order_id, side") == [(FILL.order_id, "yes"), (other.order_id, "no")]
    book.merge()
    assert book.rows("count()") == [(2,)]


def test_a_row_under_another_ticker_is_removed(book: Book) -> None:
    book.write(FILL._replace(ticker="KXWRONG"))

    corrected = book.write(FILL, at=NOW + timedelta(hours=1))

    assert kind(corrected) == "corrected"
    assert [tuple(one) for one in looked_at(corrected).differences] == [
        ("market_ticker", "KXWRONG", FILL.ticker)
    ]
    assert book.once("market_ticker") == (FILL.ticker,)
    assert book.warehouse.rows(f"SELECT count() FROM {book.tables.name()}") == [(1,)]
    assert kind(book.write(FILL)) == "known"


def test_the_last_row_of_a_move_is_newer_than_the_one_without_a_hash(book: Book) -> None:
    book.write(FILL._replace(ticker="KXWRONG"))
    moved_at = NOW + timedelta(hours=1)

    book.write(FILL, at=moved_at)

    unfinished = int(moved_at.timestamp() * 1_000_000)
    assert book.once(f"version > {unfinished}, content_hash > 0") == (True, True)


def test_a_stale_row_beside_the_right_one_is_removed_where_it_is_looked_for(book: Book) -> None:
    book.write(FILL)
    book.engine(market_ticker="KXWRONG")

    book.store(NOW + timedelta(hours=1)).write(Batch.of([FILL.fill]), everywhere=True)

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
        store.write(Batch.of([fill.fill]))

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

    again = book.write(FILL._replace(**absent), at=NOW + timedelta(hours=1))

    assert kind(again) == "known"
    assert looked_at(again).digest == digest(FILL.content)
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

    corrected = book.write(poor, at=NOW + timedelta(hours=1))

    assert [one.field for one in looked_at(corrected).differences] == ["size"]
    assert book.once(
        "size, fee_dollars, is_taker, subaccount_number, exchange_index, action, direction_inferred"
    ) == (Decimal(11), FILL.fee_dollars, True, 0, 2, "buy", False)


def test_what_the_exchange_adds_later_is_a_correction(book: Book) -> None:
    book.write(FILL._replace(fee_dollars=None, is_taker=None, direction_inferred=True))

    corrected = book.write(FILL, at=NOW + timedelta(hours=1))

    assert {one.field for one in looked_at(corrected).differences} == {
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


@pytest.mark.sampled(3)
@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_ids_are_stored_and_known_again(book: Book, what: str) -> None:
    text = HOSTILE[what]
    fill = FILL._replace(
        fill_id=f"f{text}", order_id=f"o{text}", ticker=f"t{text}", action=text, raw_json=text
    )

    assert kind(book.write(fill)) == "new"
    assert kind(book.write(fill)) == "known"
    moved = fill._replace(ticker=f"u{text}")
    assert kind(book.write(moved, at=NOW + timedelta(hours=1))) == "corrected"

    assert book.once("fill_id, exchange_order_id, market_ticker, action, raw_json") == (
        fill.fill_id,
        fill.order_id,
        moved.ticker,
        text,
        text,
    )


@pytest.mark.both_engines
def test_texts_that_hold_what_separates_the_texts_of_a_row_are_stored_exactly(book: Book) -> None:
    sign = "\x1f"
    names = ("fill_id", "order_id", "ticker", "action", "client_order_id", "raw_json")
    fills = [
        FILL._replace(fill_id=f"fill of {name}")._replace(
            **{name: f"{sign}a{sign}{sign}{name}{sign}"}
        )
        for name in names
    ]
    all_at_once = dict.fromkeys(names, f"{sign}b\0\t\n\\'{sign}")
    fills += [FILL, FILL._replace(**all_at_once), FILL._replace(fill_id=sign * 2)]

    assert kinds(book.write(*fills)) == {"new": 9}
    assert kinds(book.write(*fills)) == {"known": 9}
    changed = [fill._replace(contracts=Decimal("7.25")) for fill in fills]
    assert kinds(book.write(*changed, at=NOW + timedelta(hours=1))) == {"corrected": 9}

    assert set(
        book.rows(
            "fill_id, exchange_order_id, market_ticker, action, client_order_id, raw_json, ts, "
            "size, fee_dollars, content_hash"
        )
    ) == {
        (
            *(fill.fill_id, fill.order_id, fill.ticker, fill.action, fill.client_order_id),
            *(fill.raw_json, fill.executed_at, fill.contracts, fill.fee_dollars),
            digest(fill.content),
        )
        for fill in changed
    }


@pytest.mark.sampled(3)
@pytest.mark.parametrize("what", HOSTILE)
def test_the_table_computes_the_same_digest_as_the_tool(book: Book, what: str) -> None:
    fill = FILL._replace(ticker=f"t{HOSTILE[what]}", action=HOSTILE[what])

    book.write(fill)

    start = FILL.executed_at.replace(minute=0, second=0, microsecond=0)
    hours = book.store().hours(start, start + timedelta(hours=1))
    assert [(hour, one.fills, one.digest_sum) for hour, one in hours.items()] == [
        (start, 1, digest(fill.content))
    ]
    assert book.store().hours(None, start + timedelta(hours=1)) == hours


def test_a_block_of_several_thousand_fills_is_looked_up_at_once(book: Book) -> None:
    fills = many(5_000)
    book.write(*fills[::2])

    written = book.write(*fills)

    assert kinds(written) == {"new": 2_500, "known": 2_500}
    assert book.rows("count()") == [(5_000,)]


def test_a_dry_run_says_the_same_and_writes_nothing(book: Book) -> None:
    book.write(FILL)
    rejected = refusal({"order_id": "x", "fill_id": "y"})
    dry = book.store(dry_run=True)
    changed, new = FILL._replace(contracts=Decimal(1)), many(1)[0]

    written = dry.write(Batch.of([changed.fill, new.fill]))
    dry.quarantine([rejected], NOW)
    dry.accept_rejected()
    dry.record(run(), NOW)

    assert kinds(written) == {"corrected": 1, "new": 1}
    assert book.rows("size") == [(Decimal(10),)]
    assert book.rows("count()", "_rejected") == [(0,)]
    assert book.rows("count()", "_runs") == [(0,)]


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

    def insert_lines(
        self,
        lines: Sequence[str],
        payloads: Sequence[str],
        statement: str,
        params: Mapping[str, Any] | None = None,
    ) -> None:
        assert f"INSERT INTO {self.table}\n" in statement
        self.inserts += 1
        fate = self.fates.pop(0) if self.fates else "fine"
        if fate == "half":
            half = len(lines) // 2
            lines, payloads = lines[:half], payloads[:half]
        if fate != "lost":
            self.real.insert_lines(lines, payloads, statement, params)
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


# An insert of unknown fate


@pytest.mark.sampled(3)
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

    assert kinds(written) == {"new": 30, "corrected": 5, "known": 5}
    book.merge()
    assert book.rows("count(), uniqExact(fill_id), countIf(size = 77)") == [(40, 40, 5)]
    assert kinds(book.write(*changed, *fills[5:])) == {"known": 40}


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

    assert kind(corrected) == "corrected"
    assert book.once(LINKS) == ("engine-order", "mm-3f", "0.9.3", DECISION)
