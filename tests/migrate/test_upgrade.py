"""Tables of version 0.1, made by its own code, become today's by one `migrate`."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from support.commandline import Done, Target, run_statement
from support.faulty import assert_failed
from support.settling import SETTLED_COLUMNS, settled_truth

from kalshi_fills.practice.account import generate_account
from kalshi_fills.practice.exchange import PracticeExchange
from kalshi_fills.warehouse.statements import load

Cli = Callable[..., Done]
Serve = Callable[..., PracticeExchange]

DAY = timedelta(days=1)


def test_one_migrate_brings_tables_of_0_1_to_today(
    older: Callable[..., Done], cli: Cli, target: Target, serve: Serve
) -> None:
    now = datetime.now(UTC)
    account = generate_account(3, 20, start=now - 9 * DAY, end=now - DAY).settled()
    exchange = serve(account)
    assert older("migrate", url=target.url).code == 0
    assert older("sync", url=target.url, api=exchange.url).code == 0
    made = (
        "SELECT uuid, create_table_query FROM system.tables WHERE database = {d:String} "
        "AND name IN ('mm_fills', 'mm_fills_rejected', 'mm_fills_migrations')"
    )
    before = target.read(made, d=target.database)

    # Before migrate: sync says what is missing, diagnose, too; nothing is written.
    told = assert_failed(cli("sync", url=target.url, api=exchange.url), 5)
    assert "mm_fills_settlements does not exist" in told
    assert "kalshi-fills migrate" in told
    looked = cli("diagnose", "--format", "json", url=target.url, api=exchange.url)
    (schema,) = [one for one in looked.json["checks"] if one["name"] == "schema_migrated"]
    assert (schema["status"], schema["next"]) == ("fail", "kalshi-fills migrate")
    assert looked.json["root_cause"]["name"] == "schema_never_migrated"

    planned = cli("migrate", "--dry-run", "--format", "json", url=target.url)
    assert planned.json["changed"]
    migrated = cli("migrate", "--format", "json", url=target.url)
    acted = [step["name"] for step in migrated.json["steps"] if step["status"] == "done"]
    assert acted == [
        "0006_alter_runs",
        "0007_create_settlements",
        "0008_alter_runs",
        "0009_create_by_market_view",
        "0010_create_by_day_view",
    ]
    assert migrated.json["kept"] == []
    assert not cli("migrate", "--format", "json", url=target.url).json["changed"]
    assert target.read(made, d=target.database) == before

    done = cli("sync", "--format", "json", url=target.url, api=exchange.url)
    assert done.code == 0, done.err
    assert done.json["window"]["start"] is None
    assert (done.json["stages"]["n_new"], done.json["stages"]["n_known"]) == (0, 20)
    (note,) = done.json["notes"]
    assert "did not record which API key" in note
    settled = settled_truth(exchange)
    assert settled
    assert done.json["settlements"]["n_new"] == len(settled)
    assert settled == target.read(
        f"SELECT {SETTLED_COLUMNS} FROM DB.mm_fills_settlements FINAL ORDER BY ALL"
    )
    again = cli("sync", "--format", "json", url=target.url, api=exchange.url)
    assert again.json["notes"] == []
    assert again.json["window"]["start"] is not None
    assert cli("diagnose", "--since", "30d", url=target.url, api=exchange.url).code == 0

    refused = assert_failed(older("migrate", url=target.url), 5)
    assert "newer version" in refused


def test_a_fresh_table_is_that_of_an_upgraded_one(
    older: Callable[..., Done], cli: Cli, target: Target
) -> None:
    older("migrate", url=target.url)
    for table in ("mm_fills", "fresh"):
        assert cli("migrate", "--table", table, url=target.url).code == 0
    columns = (
        "SELECT name, type, default_expression FROM system.columns "
        "WHERE database = {d:String} AND table = {t:String} ORDER BY position"
    )

    upgraded, fresh = (
        target.read(columns, d=target.database, t=table)
        for table in ("mm_fills_runs", "fresh_runs")
    )

    assert upgraded == fresh
    assert {"environment", "key_digest", "settlements_watermark", "notes"} <= {
        row[0] for row in fresh
    }


@pytest.mark.torture
def test_a_truncate_of_0_1_on_upgraded_tables_is_taken_into_account(
    older: Callable[..., Done], cli: Cli, target: Target, serve: Serve
) -> None:
    now = datetime.now(UTC)
    exchange = serve(generate_account(3, 20, start=now - 9 * DAY, end=now - DAY))
    cli("migrate", url=target.url)
    assert cli("sync", url=target.url, api=exchange.url).code == 0
    assert older("truncate", "--before", "3d", "--yes", url=target.url).code == 0

    done = cli("sync", "--format", "json", url=target.url, api=exchange.url)

    assert done.code == 0, done.err
    assert done.json["notes"] == []
    assert target.read("SELECT count() FROM DB.mm_fills FINAL") == [(20,)]


@pytest.mark.torture
def test_a_sync_of_0_1_in_between_moves_no_watermark_of_ours(
    older: Callable[..., Done], cli: Cli, target: Target, serve: Serve
) -> None:
    now = datetime.now(UTC)
    exchange = serve(generate_account(3, 20, start=now - 9 * DAY, end=now - DAY))
    cli("migrate", url=target.url)
    first = cli("sync", "--format", "json", url=target.url, api=exchange.url).json["watermark"]
    assert older("sync", url=target.url, api=exchange.url).code == 0

    done = cli("sync", "--format", "json", url=target.url, api=exchange.url)

    start = datetime.fromisoformat(done.json["window"]["start"])
    assert start == datetime.fromisoformat(first) - timedelta(hours=1)
    assert done.json["notes"] == []


def test_a_truncate_before_migrate_works_on_the_ledger_of_0_1(
    older: Callable[..., Done], cli: Cli, target: Target, serve: Serve
) -> None:
    now = datetime.now(UTC)
    exchange = serve(generate_account(3, 20, start=now - 9 * DAY, end=now - DAY))
    older("migrate", url=target.url)
    older("sync", url=target.url, api=exchange.url)

    done = cli("truncate", "--yes", "--format", "json", url=target.url)

    assert done.code == 0, done.err
    assert done.json["rows_removed"] == 20
    cli("migrate", url=target.url)
    assert cli("sync", url=target.url, api=exchange.url).code == 0
    assert target.read("SELECT count() FROM DB.mm_fills FINAL") == [(20,)]


def test_a_ledger_of_a_newer_version_stops_a_sync(cli: Cli, target: Target, serve: Serve) -> None:
    now = datetime.now(UTC)
    exchange = serve(generate_account(3, 20, start=now - 9 * DAY, end=now - DAY))
    cli("migrate", url=target.url)
    run_statement(
        target,
        "INSERT INTO DB.mm_fills_migrations (version, name, checksum, applied_at, tool_version) "
        "SELECT * FROM (SELECT 99, '0099_of_tomorrow', 'abc', now64(6), '9.9')",
    )

    told = assert_failed(cli("sync", url=target.url, api=exchange.url), 5)

    assert "0099_of_tomorrow" in told
    assert "upgrade kalshi-fills" in told
    assert exchange.requests.total() == 0


@pytest.mark.torture
def test_a_ledger_table_that_was_dropped_is_made_whole_again(cli: Cli, target: Target) -> None:
    cli("migrate", url=target.url)
    run_statement(target, "DROP TABLE DB.mm_fills_runs SYNC")

    steps = json.loads(cli("migrate", "--format", "json", url=target.url).out)["steps"]

    assert [step["name"] for step in steps if step["status"] == "done"] == [
        "0004_create_runs",
        "0006_alter_runs",
        "0008_alter_runs",
    ]
    assert not cli("migrate", "--format", "json", url=target.url).json["changed"]


def test_the_migration_that_alters_adds_only_what_is_missing() -> None:
    text = load("migrations/0006_alter_runs").text
    assert text.count("ADD COLUMN IF NOT EXISTS") == text.count("ADD COLUMN")
    assert "MODIFY" not in text
    assert "DROP" not in text
