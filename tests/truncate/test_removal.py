"""Garbage goes by its reason, and every valid fill stays."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from support.commandline import Target
from support.legacy import (
    content,
)
from support.syncing import Bench
from support.truncating import (
    DAY,
    GARBAGE,
    HOUR,
    NOW,
    ORDER,
    TICKER,
    Cli,
    Serve,
    by_engine,
    ids,
    insert,
    leftovers,
    migrated,
    payload,
    row,
    synced_until,
    truncate,
)

from kalshi_fills.practice.account import generate_account, incident_rows
from kalshi_fills.truncate.plan import Removed
from kalshi_fills.warehouse.client import Warehouse
from kalshi_fills.warehouse.schema import require_today
from kalshi_fills.warehouse.statements import Tables

DECISION = uuid.UUID(int=77)


HOSTILE = "x`; DROP TABLE y; -- \\ '\" {a:String} \t\n\0 é\U0001f9ff"


INVALID: dict[str, tuple[dict[str, object], str]] = {
    "price 0": ({"price_cents": Decimal(0)}, "price_out_of_range"),
    "price below 0": ({"price_cents": Decimal("-1")}, "price_out_of_range"),
    "price of a dollar": ({"price_cents": Decimal(100)}, "price_out_of_range"),
    "size 0": ({"size": Decimal(0)}, "quantity_out_of_range"),
    "size below 0": ({"size": Decimal("-0.01")}, "quantity_out_of_range"),
    "no side": ({"side": ""}, "side_out_of_range"),
    "another side": ({"side": HOSTILE}, "side_out_of_range"),
    "side in capitals": ({"side": "YES"}, "side_out_of_range"),
    "no order": ({"exchange_order_id": ""}, "no_order_id"),
    "no ticker": ({"market_ticker": ""}, "ticker_empty"),
    "before there was an exchange": (
        {"ts": datetime(2020, 12, 31, tzinfo=UTC)},
        "time_too_early",
    ),
    "1970": ({"ts": datetime(1970, 1, 1, tzinfo=UTC)}, "time_too_early"),
    "in the future": ({"ts": NOW + HOUR}, "time_in_the_future"),
    "no id": ({"fill_id": ""}, "id_empty"),
    "no id, and no JSON": ({"fill_id": "", "raw_json": HOSTILE}, "id_empty"),
    "no id, and that of another order": (
        {"fill_id": "", "raw_json": payload("f9", order="other")},
        "id_empty",
    ),
    "no id, and an empty one": ({"fill_id": "", "raw_json": payload("")}, "id_empty"),
    "no id, and JSON that is no object": ({"fill_id": "", "raw_json": '["f9"]'}, "id_empty"),
}


VALID: dict[str, dict[str, object]] = {
    "lowest price": {"price_cents": Decimal("0.0001")},
    "highest price": {"price_cents": Decimal("99.9999")},
    "smallest size": {"size": Decimal("0.01")},
    "the other side": {"side": "no"},
    "just now": {"ts": NOW + timedelta(minutes=4)},
    "another order": {"exchange_order_id": "other"},
    "hostile strings": {
        "fill_id": HOSTILE,
        "exchange_order_id": HOSTILE,
        "market_ticker": HOSTILE,
        "raw_json": HOSTILE,
        "client_order_id": HOSTILE,
    },
}


def test_garbage_goes_by_its_reason_and_every_valid_fill_stays(
    warehouse: Warehouse, tables: Tables
) -> None:
    valid = [row(f"valid {name}") | changes for name, changes in VALID.items()]
    invalid = [row(f"invalid {name}") | changes for name, (changes, _) in INVALID.items()]
    invalid += [by_engine(f"engine's {name}") | entry for name, (entry, _) in INVALID.items()]
    migrated(warehouse, tables, *valid, *invalid)
    stays = warehouse.rows(
        f"SELECT * FROM {tables.name()} FINAL WHERE fill_id LIKE 'valid%' "
        "OR fill_id = {hostile:String} ORDER BY ALL",
        {"hostile": HOSTILE},
    )
    assert len(stays) == len(valid)
    everything = content(warehouse, tables.name())

    done = truncate(warehouse, tables, GARBAGE, NOW)

    assert content(warehouse, tables.name()) == sorted(stays, key=repr)
    assert done.backup is not None
    backup = f"{tables.database}.{done.backup}"
    assert sorted(content(warehouse, backup) + stays, key=repr) == everything
    expected: dict[str, int] = {}
    for _, reason in INVALID.values():
        expected[reason] = expected.get(reason, 0) + 2
    assert done.removed == [Removed(name, rows) for name, rows in sorted(expected.items())]
    assert done.rows_removed == len(invalid)
    assert (done.rows_before, done.rows_left) == (len(valid + invalid), len(valid))
    require_today(warehouse, tables)
    assert leftovers(warehouse, tables) == set()


def test_of_a_fill_under_two_tickers_the_highest_version_stays(
    warehouse: Warehouse, tables: Tables
) -> None:
    migrated(
        warehouse,
        tables,
        row("f1", market_ticker="old", version=5),
        row("f1", market_ticker="new", version=9),
        by_engine("f1", market_ticker="engine's"),
        row("f1", market_ticker="broken", version=99, price_cents=Decimal(0)),
        row("f1", exchange_order_id="the other side of the trade"),
    )
    synced_until(warehouse, tables, NOW)

    done = truncate(warehouse, tables, GARBAGE)

    assert done.removed == [Removed("price_out_of_range", 1), Removed("repeat", 2)]
    assert warehouse.rows(
        f"SELECT market_ticker, exchange_order_id FROM {tables.name()} ORDER BY ALL"
    ) == [(TICKER, "the other side of the trade"), ("new", ORDER)]


def test_an_id_in_the_payload_is_a_repeat_or_the_fill_itself(
    warehouse: Warehouse, tables: Tables
) -> None:
    links = {"client_order_id": "mine", "decision_id": DECISION}
    migrated(
        warehouse,
        tables,
        row("known"),
        by_engine("", raw_json=payload("known"), **links),
        by_engine("", raw_json=payload("lost"), price_cents=Decimal("40")),
        by_engine("", raw_json=payload("lost"), price_cents=Decimal("42"), **links),
        by_engine("", raw_json=payload("lost"), price_cents=Decimal("43")),
        by_engine("", raw_json=payload("traded", key="trade_id")),
        by_engine("", raw_json=payload("known", order="o2"), exchange_order_id="o2"),
        by_engine("", raw_json=payload("free"), price_cents=Decimal(0)),
        row("broken", price_cents=Decimal(0), version=3),
        by_engine("", raw_json=payload("broken"), price_cents=Decimal("44")),
    )
    everything = content(warehouse, tables.name())

    done = truncate(warehouse, tables, GARBAGE)

    assert warehouse.rows(
        "SELECT fill_id, exchange_order_id, price_cents, source, version, client_order_id, "
        f"decision_id FROM {tables.name()} FINAL ORDER BY 1, 2"
    ) == [
        ("broken", ORDER, Decimal("44"), "legacy", 0, "", uuid.UUID(int=0)),
        ("known", ORDER, Decimal("41"), "live", 5, "", uuid.UUID(int=0)),
        ("known", "o2", Decimal("41"), "legacy", 0, "", uuid.UUID(int=0)),
        ("lost", ORDER, Decimal("42"), "legacy", 0, "mine", DECISION),
        ("traded", ORDER, Decimal("41"), "legacy", 0, "", uuid.UUID(int=0)),
    ]
    assert done.rows_repaired == 4
    assert done.removed == [Removed("price_out_of_range", 2), Removed("repeat", 3)]
    assert (done.rows_before, done.rows_removed, done.rows_left) == (10, 5, 5)
    assert done.backup is not None
    backup = content(warehouse, f"{tables.database}.{done.backup}")
    assert len(backup) == 5
    assert all(kept in everything for kept in backup)
    again = truncate(warehouse, tables, GARBAGE)
    assert not again.acted


def test_ids_alone_to_be_mended_leave_no_backup(warehouse: Warehouse, tables: Tables) -> None:
    migrated(warehouse, tables, row("f1"), by_engine("", raw_json=payload("f2")))

    done = truncate(warehouse, tables, GARBAGE)

    assert (done.rows_removed, done.rows_repaired, done.backup, done.backups) == (0, 1, None, [])
    assert ids(warehouse, tables) == ["f1", "f2"]
    assert leftovers(warehouse, tables) == set()


def test_what_stays_keeps_every_version_and_the_one_that_counts(
    warehouse: Warehouse, tables: Tables
) -> None:
    """An engine's row that a sync replaced may hold a link that only the next sync takes over."""
    own = ("desk", "reason", "row_digest", "__from")
    versions = [row("f1"), by_engine("f1", decision_id=DECISION), row("f1", version=4)]
    ties = [by_engine("f2", client_order_id=f"row {number}") for number in range(9)]
    migrated(warehouse, tables)
    warehouse.command(f"SYSTEM STOP MERGES {tables.name()}")
    for name in own:
        warehouse.command(f"ALTER TABLE {tables.name()} ADD COLUMN {name} String AFTER ts")
    for entry in (*versions, *ties, row("junk", size=Decimal(0))):
        insert(warehouse, tables, [entry | {name: f"{name} {entry}" for name in own}])
    counts = warehouse.rows(
        f"SELECT * FROM {tables.name()} FINAL WHERE fill_id != 'junk' ORDER BY ALL"
    )

    truncate(warehouse, tables, GARBAGE)

    assert warehouse.rows(f"SELECT * FROM {tables.name()} FINAL ORDER BY ALL") == counts
    linked = warehouse.rows(f"SELECT fill_id FROM {tables.name()} WHERE decision_id = '{DECISION}'")
    assert linked == [("f1",)]
    warehouse.command(f"OPTIMIZE TABLE {tables.name()} FINAL")
    assert warehouse.rows(f"SELECT * FROM {tables.name()} ORDER BY ALL") == counts


def test_a_link_of_a_replaced_row_outlives_a_garbage_run(bench: Bench) -> None:
    account = generate_account(3, 20, start=NOW - 3 * DAY, end=NOW - DAY, eras="current")
    bench.serve(account)
    bench.run()
    fill = account.fills[0]
    insert(
        bench.warehouse,
        bench.tables,
        [
            by_engine(
                fill.fill_id,
                exchange_order_id=fill.order_id,
                market_ticker=fill.ticker,
                decision_id=DECISION,
            ),
            by_engine("", price_cents=Decimal(0)),
        ],
    )

    truncate(bench.warehouse, bench.tables, GARBAGE)
    bench.run(full=True)

    linked = f"WHERE decision_id = '{DECISION}'"
    assert bench.rows("fill_id, source", more=linked) == [(fill.fill_id, "live")]


def test_the_incident_s_garbage_goes_and_its_five_fills_stay(
    target: Target, cli: Cli, serve: Serve, now: datetime
) -> None:
    rows = incident_rows(now)
    names = list(rows[0])
    assert cli("migrate", url=target.url).code == 0
    lines = "\n".join(json.dumps(entry, default=_plain) for entry in rows)
    target.read(
        f"INSERT INTO DB.mm_fills ({', '.join(names)}) "
        "SELECT parseDateTime64BestEffort(JSONExtractString(line, 'ts'), 6, 'UTC'), "
        + ", ".join(f"JSONExtract(line, '{name}', '{kind}')" for name, kind in _KINDS.items())
        + " FROM (SELECT arrayJoin(splitByChar('\\n', {lines:String})) AS line)",
        lines=lines,
    )

    planned = cli("truncate", "--garbage", "--dry-run", "--format", "json", url=target.url)
    done = cli("truncate", "--garbage", "--yes", "--format", "json", url=target.url)

    assert (planned.code, done.code) == (0, 0), done.err
    told = done.json
    assert told["rows_before"] == len(rows) == told["rows_removed"] + told["rows_left"]
    assert told["rows_left"] == 5
    assert planned.json["rows_removed"] == told["rows_removed"] == len(rows) - 5
    assert target.read(
        "SELECT count(), uniqExact(fill_id, exchange_order_id), min(price_cents) > 0 "
        "FROM DB.mm_fills FINAL"
    ) == [(5, 5, 1)]
    assert target.read(f"SELECT count() FROM DB.{told['backup']} FINAL") == [(len(rows) - 5,)]


_KINDS = {
    "engine_instance_id": "String",
    "engine_version": "String",
    "market_ticker": "String",
    "exchange_order_id": "String",
    "client_order_id": "String",
    "side": "String",
    "price": "Float64",
    "price_cents": "UInt16",
    "size": "UInt32",
    "fee": "Float64",
    "decision_id": "UUID",
    "raw_json": "String",
}


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
