"""What stands in an SQL file besides SQL: names, includes, and what a plain client runs instead."""

from __future__ import annotations

import os
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support.clickhouse_server import PASSWORD, ClickHouseServer

from kalshi_fills.migrate.run import migrate
from kalshi_fills.warehouse.client import Warehouse
from kalshi_fills.warehouse.statements import Statement, Tables, load, names

QUERIES = Path(__file__).parents[2] / "queries"
FOLDERS = {
    "diagnose",
    "fragments",
    "migrations",
    "reconcile",
    "schema",
    "status",
    "sync",
    "truncate",
}
FOLDERS |= {"examples"}
FILES = sorted(str(path.relative_to(QUERIES).with_suffix("")) for path in QUERIES.rglob("*.sql"))
CLAUSES = {
    "final",
    "own_columns",
    "own_columns_as_read",
    "own_columns_of_stored",
    "comparable_columns",
}
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
BY_HAND = {
    "{start:DateTime64(6, 'UTC')}": "now() - INTERVAL 24 HOUR",
    "{end:DateTime64(6, 'UTC')}": "now()",
    "{database:String}": "currentDatabase()",
    "{table:String}": "'mm_fills'",
}


def in_one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


def body(statement: Statement) -> str:
    return re.sub(r"\A(?:--[^\n]*\n)*", "", statement.text)


def test_the_folders_are_the_uses() -> None:
    assert {name.split("/")[0] for name in FILES} == FOLDERS


@pytest.mark.parametrize("name", FILES)
def test_a_file_has_the_documented_marks_and_no_other(name: str) -> None:
    for mark in re.findall(r"/\*(.*?)\*/", body(load(name)), re.DOTALL):
        included = re.fullmatch(r" include (\w+) ", mark)
        if included is None:
            assert mark in (" ON CLUSTER ", " by hand: ", " end "), mark
        else:
            assert included[1] in CLAUSES or f"fragments/{included[1]}" in FILES, mark


def test_every_fragment_is_included_somewhere() -> None:
    included = {
        found for name in FILES for found in re.findall(r"/\* include (\w+) \*/", load(name).text)
    }
    assert {name.removeprefix("fragments/") for name in names("fragments")} <= included


def test_includes_are_resolved_within_fragments() -> None:
    found = Tables("d", "t").sql("sync/stored_digests")
    assert "toDecimalString(price_cents, 4)" in found  # content_digest includes content_texts
    assert "countIf(engine_version != '') > 0" in found  # needs_care includes links_lost
    assert "-- why" not in found.split("SELECT", 1)[1]


def test_an_include_takes_what_the_call_gives() -> None:
    tables = Tables("d", "t")
    own = ["mine", "mm_fills", "/* ON CLUSTER */"]
    found = tables.sql("truncate/copy_late", own_columns=own)
    assert ", `mine`, `mm_fills`, `/* ON CLUSTER */`" in found
    assert ", materialize(`mine`), materialize(`mm_fills`)" in found
    assert " FINAL" not in tables.sql("diagnose/volume_per_minute", final=False)


def test_a_table_plays_the_part_that_the_call_says() -> None:
    found = Tables("d", "t").sql("schema/exchange", suffixes={"__new": "_a", "__old": ""})
    assert "EXCHANGE TABLES `d`.`t_a` AND `d`.`t`" in found


def test_rows_of_all_replicas_are_read_where_the_call_asks() -> None:
    tables = Tables("d", "t", "c")
    suffixes = {"__counted": "_x"}
    assert "FROM `d`.`t_x`" in tables.sql("schema/count_rows", suffixes=suffixes)
    assert "FROM clusterAllReplicas(`c`, `d`, `t_x`)" in tables.sql(
        "schema/count_rows", suffixes=suffixes, everywhere=True
    )


# By hand


def test_what_runs_by_hand_is_the_same_rule() -> None:
    """The text that a plain client runs is that of the include before it, over the last day."""
    checked = 0
    for name in names("diagnose"):
        for include, text in re.findall(
            r"/\* include (\w+) \*/\s*/\* by hand: \*/(.*?)/\* end \*/", load(name).text, re.DOTALL
        ):
            rule = body(
                load("fragments/in_window" if include == "window" else f"fragments/{include}")
            )
            rule = rule.replace(
                "/* include in_window */", body(load("fragments/in_window")).strip()
            )
            for bound, by_hand in BY_HAND.items():
                rule = rule.replace(bound, by_hand)
            assert in_one_line(text) == in_one_line(rule), name
            checked += 1
    assert checked >= 10


@pytest.fixture
def a_fill(warehouse: Warehouse) -> Warehouse:
    """A migrated table of the default names with one fill of the last day."""
    tables = Tables("kalshi")
    warehouse.command("DROP DATABASE IF EXISTS kalshi")
    migrate(warehouse, tables, NOW, dry_run=False)
    warehouse.command(
        "INSERT INTO kalshi.mm_fills (ts, fill_id, exchange_order_id, market_ticker, side, action, "
        "price_cents, size, source) "
        "SELECT now64(6, 'UTC') - 60, 'f', 'o', 'KX', 'yes', 'buy', 41, 3, 'live'"
    )
    return warehouse


@pytest.mark.server
@pytest.mark.parametrize("warehouse", ["server"], indirect=True)
def test_every_diagnostic_query_runs_in_the_servers_own_client(
    a_fill: Warehouse, server: ClickHouseServer
) -> None:
    for name in names("diagnose"):
        done = subprocess.run(
            [
                os.environ["CLICKHOUSE_BINARY"],
                "client",
                "--port",
                str(server.port),
                "--password",
                PASSWORD,
                "--database",
                "kalshi",
                "--queries-file",
                str(QUERIES / f"{name}.sql"),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{name}: {done.stderr}"
        assert bool(done.stdout) == (name != "diagnose/rows_that_are_no_fills"), name
    a_fill.command("DROP DATABASE kalshi")


def test_every_diagnostic_query_runs_by_hand_in_the_embedded_engine(embedded: Warehouse) -> None:
    embedded.command("DROP DATABASE IF EXISTS kalshi")
    migrate(embedded, Tables("kalshi"), NOW, dry_run=False)
    embedded.command("USE kalshi")
    try:
        for name in names("diagnose"):
            embedded.rows(load(name).text)
    finally:
        embedded.command("USE default")
        embedded.command("DROP DATABASE kalshi")
