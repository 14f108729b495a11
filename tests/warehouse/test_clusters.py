"""On clusters that are not what they should be: shards, plain tables, replicas that lag or die."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from support.cluster import CLUSTER, GONE, HALVES, TWICE
from support.commandline import Done

from kalshi_fills.errors import WarehouseError
from kalshi_fills.practice.account import generate_account
from kalshi_fills.warehouse.client import Warehouse
from kalshi_fills.warehouse.replicas import wait_for_replicas
from kalshi_fills.warehouse.server import open_server
from kalshi_fills.warehouse.statements import Tables

pytestmark = pytest.mark.server

Cli = Callable[..., Done]

OURS = (
    "mm_fills",
    "mm_fills_migrations",
    "mm_fills_rejected",
    "mm_fills_runs",
    "mm_fills_settlements",
)
ON = ("--cluster", CLUSTER, "--format", "json")
ALONE = ("--format", "json")


def same_on(both: list[Warehouse], table: str, what: str = "count()") -> list[tuple[Any, ...]]:
    """Return an answer that both replicas give, once each has what the other has."""
    answers = []
    for warehouse in both:
        warehouse.command(f"SYSTEM SYNC REPLICA {table}")
        answers.append(warehouse.rows(f"SELECT {what} FROM {table} FINAL"))
    assert answers[0] == answers[1]
    return answers[0]


def engines(warehouse: Warehouse, database: str) -> dict[str, str]:
    return dict(
        warehouse.rows(
            "SELECT name, engine FROM system.tables WHERE database = {d:String}", {"d": database}
        )
    )


def replicated_database(both: list[Warehouse], name: str) -> None:
    for warehouse, replica in zip(both, "ab", strict=True):
        warehouse.command(
            f"CREATE DATABASE {name} ENGINE = Replicated('/databases/{name}', 'one', '{replica}')"
        )


def insert(warehouse: Warehouse, database: str, ids: range, *, version: int = 5) -> None:
    warehouse.command(
        f"INSERT INTO {database}.mm_fills (ts, fill_id, exchange_order_id, market_ticker, side, "
        "price_cents, size, source, version, raw_json) SELECT toDateTime64('2026-06-01', 6, 'UTC') "
        "+ toIntervalDay(number % 100), toString(number), 'o', 't', 'yes', 41, 1, 'live', "
        f"{version}, 'sent' FROM numbers({ids.start}, {len(ids)})"
    )


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    ("name", "told"),
    [(HALVES, "2 shards"), (TWICE, "more than once"), ("nobody", "knows no cluster")],
)
@pytest.mark.parametrize("command", ["migrate", "truncate", "sync"])
def test_a_cluster_that_would_tear_the_tables_is_refused(
    cluster, both, cli: Cli, serve, now, command: str, name: str, told: str
) -> None:
    database = f"torn_{command}"
    url = cluster.replicas[0].url(database)
    words = {"truncate": ("--yes",)}.get(command, ())
    if command != "migrate":
        both[0].command(f"DROP DATABASE IF EXISTS {database}")
        cli("migrate", url=url)
    exchange = serve(generate_account(3, 5, start=now - timedelta(days=2), end=now))

    done = cli(command, *words, "--cluster", name, "--format", "json", url=url, api=exchange.url)

    assert done.code == 2, done.err
    assert told in done.json["error"]
    if command == "migrate":
        assert engines(both[0], database) == engines(both[1], database) == {}


def test_diagnose_names_the_shards(cluster, cli: Cli) -> None:
    url = cluster.replicas[0].url("diagnosed")
    cli("migrate", url=url)

    done = cli("diagnose", "--offline", "--cluster", HALVES, "--format", "json", url=url)

    check = next(check for check in done.json["checks"] if check["name"] == "schema_migrated")
    assert check["status"] == "fail"
    assert "2 shards" in str(check)


def test_a_cluster_none_of_whose_hosts_answers_is_refused_at_once(cluster, cli: Cli) -> None:
    began = time.monotonic()

    done = cli("migrate", "--cluster", GONE, *ALONE, url=cluster.replicas[0].url("gone"))

    assert done.code == 5
    assert "down" in done.json["error"]
    assert "127.0.0.1:" in done.json["error"]
    assert time.monotonic() - began < 150


@pytest.mark.sampled(2)
@pytest.mark.parametrize("options", [ALONE, ON], ids=["alone", "with --cluster"])
def test_a_database_that_spreads_by_itself_has_replicated_tables(
    cluster, both, cli: Cli, serve, now, options: tuple[str, ...]
) -> None:
    database = "spread_" + ("on" if "--cluster" in options else "alone")
    replicated_database(both, database)
    first, second = (replica.url(database) for replica in cluster.replicas)
    exchange = serve(generate_account(3, 60, start=now - timedelta(days=3), end=now))

    made = cli("migrate", *options, url=first)
    stored = cli("sync", *options, url=first, api=exchange.url)
    again = cli("sync", *options, "--full", url=second, api=exchange.url)

    assert made.code == 0, made.err
    assert (stored.code, again.code) == (0, 0), stored.err + again.err
    for warehouse in both:
        found = engines(warehouse, database)
        assert all(found[name].startswith("Replicated") for name in OURS), found
    assert stored.json["stages"]["n_new"] == 60
    assert again.json["stages"]["n_known"] == 60
    assert cli("migrate", *options, url=second).json["changed"] is False

    gone = cli("truncate", "--yes", *options, url=second)
    assert gone.code == 0, gone.err
    assert (gone.json["rows_removed"], gone.json["watermark"]) == (60, None)
    assert same_on(both, f"{database}.mm_fills") == [(0,)]
    back = cli("truncate", "--restore", gone.json["backup"], *options, url=first)
    assert back.code == 0, back.err
    assert same_on(both, f"{database}.mm_fills") == [(60,)]
    both[0].command(
        f"INSERT INTO {database}.mm_fills (ts, fill_id, exchange_order_id, market_ticker, side, "
        "price_cents, size) VALUES ('2026-06-01', 'x', 'o', 't', 'yes', 0, 1)"
    )
    sifted = cli("truncate", "--garbage", "--yes", *options, url=second)
    assert sifted.code == 0, sifted.err
    assert (sifted.json["rows_removed"], sifted.json["rows_left"]) == (1, 60)
    assert same_on(both, f"{database}.mm_fills") == [(60,)]


def test_plain_tables_of_a_database_that_spreads_by_itself_become_replicated(
    cluster, both, cli: Cli
) -> None:
    database = "plain_spread"
    replicated_database(both, database)
    for number in range(1, 6):
        statement = Tables(database).sql(
            f"migrations/000{number}_" + ("create_migrations", "create_fills", "create_rejected",
                                          "create_runs", "create_current_view")[number - 1]
        )  # fmt: skip
        both[0].command(statement)
    insert(both[0], database, range(40))
    insert(both[1], database, range(30, 70))
    first = cluster.replicas[0].url(database)

    emptied = cli("truncate", "--yes", *ALONE, url=first)
    blind = cli("migrate", *ALONE, url=first)

    assert (emptied.code, blind.code) == (5, 5)
    assert "not replicated" in emptied.json["error"]
    assert "--cluster" in blind.json["hint"]
    assert both[0].rows(f"SELECT count() FROM {database}.mm_fills") == [(40,)]
    done = cli("migrate", *ON, url=first)
    assert done.code == 0, done.err
    for warehouse in both:
        found = engines(warehouse, database)
        assert all(found[name].startswith("Replicated") for name in OURS), found
    assert same_on(both, f"{database}.mm_fills") == [(70,)]
    assert cli("migrate", *ALONE, url=first).json["changed"] is False


def test_a_cluster_named_later_makes_every_table_replicated_and_loses_nothing(
    cluster, both, cli: Cli, serve, now
) -> None:
    database = "later"
    first, second = (replica.url(database) for replica in cluster.replicas)
    exchange = serve(generate_account(3, 60, start=now - timedelta(days=3), end=now))
    for url in (first, second):
        assert cli("migrate", url=url).code == 0
    cli("sync", *ALONE, url=first, api=exchange.url)
    insert(both[0], database, range(40))
    insert(both[1], database, range(30, 70), version=7)
    both[0].command(f"ALTER TABLE {database}.mm_fills ADD COLUMN note Tuple(Int8, String)")
    both[1].command(f"ALTER TABLE {database}.mm_fills ADD COLUMN note Tuple(Int8, String)")
    both[1].command(
        f"INSERT INTO {database}.mm_fills_rejected (fingerprint, stage, times_seen, claims_fill) "
        "VALUES ('f', 'real', 3, true)"
    )
    both[0].command(
        f"INSERT INTO {database}.mm_fills_rejected (fingerprint, stage, times_seen) "
        "VALUES ('f', 'real', 4)"
    )
    runs = f"SELECT count() FROM {database}.mm_fills_runs FINAL"
    known = both[0].rows(runs)[0][0]
    sync = cli("sync", *ON, url=first, api=exchange.url)

    done = cli("migrate", *ON, url=first)

    assert sync.code == 5
    assert "not replicated" in sync.json["error"]
    assert done.code == 0, done.err
    assert done.json["changed"] is True
    assert len(done.json["kept"]) == 5
    for warehouse in both:
        found = engines(warehouse, database)
        assert all(found[name].startswith("Replicated") for name in OURS), found
        assert warehouse.rows(f"SELECT count() FROM {database}.mm_fills_current") == [(130,)]
    assert same_on(both, f"{database}.mm_fills") == [(130,)]
    versions = "countIf(version = 7), countIf(version = 5 AND raw_json = 'sent')"
    assert same_on(both, f"{database}.mm_fills", versions) == [(40, 30)]
    assert same_on(both, f"{database}.mm_fills_rejected", "times_seen, claims_fill") == [(7, True)]
    assert same_on(both, f"{database}.mm_fills_runs") == [(known,)]
    again = cli("migrate", *ON, url=second)
    assert again.json["changed"] is False
    assert cli("sync", *ON, "--full", url=second, api=exchange.url).json["stages"]["n_known"] == 60


def test_a_gathering_that_was_killed_is_ended_by_the_next_run(cluster, both, cli: Cli) -> None:
    database = "halted"
    first, second = (replica.url(database) for replica in cluster.replicas)
    for url in (first, second):
        cli("migrate", url=url)
    insert(both[0], database, range(40))
    insert(both[1], database, range(30, 70))
    both[0].command(
        f"INSERT INTO {database}.mm_fills_rejected (fingerprint, times_seen) VALUES ('f', 4)"
    )
    for suffix in ("", "_rejected"):  # as a run leaves it that dies before the exchange
        tables = Tables(database, "mm_fills", CLUSTER)
        name = {"": "0002_create_fills", "_rejected": "0003_create_rejected"}[suffix]
        both[0].command(tables.sql(f"migrations/{name}", suffixes={suffix: suffix + "__next"}))
        both[0].command(
            f"INSERT INTO {database}.mm_fills{suffix}__next "
            f"SELECT * FROM {database}.mm_fills{suffix}"
        )
    both[0].command(  # and one that dies after it
        f"EXCHANGE TABLES {database}.mm_fills_rejected AND {database}.mm_fills_rejected__next "
        f"ON CLUSTER {CLUSTER}"
    )
    unfinished = cli("diagnose", "--offline", *ON, url=first)

    done = cli("migrate", *ON, url=second)

    assert unfinished.code == 3
    assert done.code == 0, done.err
    assert same_on(both, f"{database}.mm_fills") == [(70,)]
    assert same_on(both, f"{database}.mm_fills_rejected", "times_seen") == [(4,)]
    assert not any(name.endswith("__next") for name in engines(both[0], database))


def test_a_host_that_joins_later_becomes_another_replica(cluster, both, cli: Cli) -> None:
    database = "joined"
    first = cluster.replicas[0].url(database)
    cli("migrate", *ON, url=first)
    insert(both[0], database, range(40))
    for name in ("mm_fills_current", "mm_fills_by_market", "mm_fills_by_day", *OURS):
        both[1].command(f"DROP TABLE {database}.{name} SYNC")

    done = cli("migrate", *ON, url=first)

    assert done.code == 0, done.err
    assert done.json["changed"] is True
    assert same_on(both, f"{database}.mm_fills") == [(40,)]
    assert both[1].rows(f"SELECT count() FROM {database}.mm_fills_current") == [(40,)]
    for name in ("mm_fills_by_market", "mm_fills_by_day"):
        for one in both:
            assert one.rows(f"SELECT sum(fills) FROM {database}.{name}") == [(40,)]
    assert cli("migrate", *ON, url=first).json["changed"] is False


def test_a_run_is_not_done_before_a_living_replica_has_its_fills(
    cluster, both, cli: Cli, serve, now
) -> None:
    database = "lagging"
    first = cluster.replicas[0].url(database)
    account = generate_account(3, 60, start=now - timedelta(days=3), end=now)
    exchange = serve(account.settled())
    cli("migrate", *ON, url=first)
    both[1].command(f"SYSTEM STOP FETCHES {database}.mm_fills")
    timer = threading.Timer(5, both[1].command, (f"SYSTEM START FETCHES {database}.mm_fills",))
    timer.start()
    began = time.monotonic()

    waited = cli("sync", *ALONE, url=first, api=exchange.url)

    timer.join()
    assert waited.code == 0, waited.err
    assert time.monotonic() - began > 4
    assert both[1].rows(f"SELECT count() FROM {database}.mm_fills FINAL") == [(60,)]
    both[1].command(f"SYSTEM STOP FETCHES {database}.mm_fills")
    insert(both[0], database, range(1000, 1001))
    tables = Tables(database)
    with pytest.raises(WarehouseError, match=f"b of the replicas of {database}.mm_fills") as found:
        wait_for_replicas(both[0], tables, 1)
    assert "1 second" in found.value.message
    both[1].command(f"SYSTEM START FETCHES {database}.mm_fills")
    assert wait_for_replicas(both[0], tables, 300) == []
    settlements = f"{database}.mm_fills_settlements"
    assert both[1].rows(f"SELECT count() FROM {settlements} FINAL") == [
        (len(exchange.portfolio.rows()),)
    ]
    both[1].command(f"SYSTEM STOP FETCHES {settlements}")
    both[0].command(f"INSERT INTO {settlements} (market_ticker) VALUES ('one more')")
    with pytest.raises(WarehouseError, match=f"b of the replicas of {settlements}"):
        wait_for_replicas(both[0], tables, 1)
    both[1].command(f"SYSTEM START FETCHES {settlements}")


@pytest.mark.torture  # a run waits for a minute
def test_a_run_whose_replica_lags_on_is_not_done(cluster, both, cli: Cli, serve, now) -> None:
    database = "lagging_on"
    first = cluster.replicas[0].url(database)
    exchange = serve(generate_account(3, 60, start=now - timedelta(days=3), end=now))
    cli("migrate", *ON, url=first)
    both[1].command(f"SYSTEM STOP FETCHES {database}.mm_fills")

    late = cli("sync", *ALONE, url=first, api=exchange.url)

    assert late.code == 5
    assert "b of the replicas" in late.json["error"]
    last = f"SELECT status, watermark FROM {database}.mm_fills_runs FINAL ORDER BY started_at DESC"
    assert both[0].rows(last)[0] == ("failed", None)
    both[1].command(f"SYSTEM START FETCHES {database}.mm_fills")
    assert wait_for_replicas(both[0], Tables(database), 300) == []
    again = cli("sync", *ALONE, url=first, api=exchange.url)
    assert (again.code, again.json["stages"]["n_inserted"]) == (0, 0)


def test_a_user_who_may_not_see_the_replicas_is_told_what_to_grant(cluster, both) -> None:
    database = "unseen"
    both[0].command(f"CREATE DATABASE {database} ON CLUSTER {CLUSTER}")
    both[0].command(Tables(database, "mm_fills", CLUSTER).sql("migrations/0002_create_fills"))
    both[0].command("CREATE USER IF NOT EXISTS blind IDENTIFIED WITH no_password")
    both[0].command(f"GRANT SELECT, INSERT ON {database}.* TO blind")
    blind = open_server(cluster.replicas[0].url("default", user="blind", password=""))

    with pytest.raises(WarehouseError) as found:
        wait_for_replicas(blind, Tables(database))

    assert "system.zookeeper" in found.value.hint
    blind.close()


def test_a_replica_that_is_down_stops_no_sync_but_migrate_and_truncate(
    cluster, both, cli: Cli, serve, now
) -> None:
    """The last test of the module: it stops a host, and starts it again."""
    database, spread = "bereft", "bereft_spread"
    replicated_database(both, spread)
    exchange = serve(generate_account(3, 60, start=now - timedelta(days=3), end=now))
    for name, options in ((database, ON), (spread, ALONE)):
        assert cli("migrate", *options, url=cluster.replicas[0].url(name)).code == 0
    first = cluster.replicas[0].url(database)
    cluster.replicas[1].kill()
    try:
        refused = [cli("truncate", "--yes", *ON, url=first), cli("migrate", *ON, url=first)]
        stored = cli("sync", *ON, url=first, api=exchange.url)
        again = cli("sync", *ALONE, url=cluster.replicas[0].url(spread), api=exchange.url)
        refused += [
            cli("truncate", "--yes", *ALONE, url=cluster.replicas[0].url(spread)),
            cli("migrate", *ALONE, url=cluster.replicas[0].url(spread)),
        ]
    finally:
        cluster.replicas[1].start()
    for done in refused:
        assert done.code == 5, done.err
        assert "down" in done.json["error"]
        assert "nothing was changed" in done.json["hint"]
    assert (stored.code, again.code) == (0, 0), stored.err + again.err
    assert '"replicas_down"' in stored.err
    assert '"replicas": ["b"]' in stored.err
    back = open_server(cluster.replicas[1].url("default"))
    for name in (database, spread):
        back.command(f"SYSTEM SYNC REPLICA {name}.mm_fills")
        assert back.rows(f"SELECT count() FROM {name}.mm_fills FINAL") == [(60,)]
    back.close()


@pytest.mark.torture
def test_what_lies_on_a_dead_host_alone_does_not_hang_a_sync_on_another(
    cluster, both, cli: Cli, serve, now
) -> None:
    database = "widowed"
    first, second = (replica.url(database) for replica in cluster.replicas)
    exchange = serve(generate_account(3, 60, start=now - timedelta(days=3), end=now))
    cli("migrate", *ON, url=first)
    for name in ("mm_fills", "mm_fills_runs"):
        both[1].command(f"SYSTEM STOP FETCHES {database}.{name}")
    insert(both[0], database, range(40))
    cluster.replicas[0].kill()
    try:
        deadline = time.monotonic() + 40
        down = "SELECT active_replicas FROM system.replicas WHERE database = 'widowed'"
        while {row[0] for row in both[1].rows(down)} != {1} and time.monotonic() < deadline:
            time.sleep(0.5)
        both[1].command(f"SYSTEM START FETCHES {database}.mm_fills")
        both[1].command(f"SYSTEM START FETCHES {database}.mm_fills_runs")
        began = time.monotonic()
        done = cli("sync", *ON, url=second, api=exchange.url)
        took = time.monotonic() - began
    finally:
        cluster.replicas[0].start()
    assert done.code == 0, done.err
    assert took < 60
    assert done.json["stages"]["n_new"] == 60
    back = open_server(cluster.replicas[0].url("default"))
    assert same_on([back, both[1]], f"{database}.mm_fills") == [(100,)]
    back.close()


def test_the_cloud_s_engine_is_one_of_today() -> None:
    from kalshi_fills.warehouse.declared import todays_columns as _wanted
    from kalshi_fills.warehouse.declared import wanted_sorting_key
    from kalshi_fills.warehouse.ownership import Table
    from kalshi_fills.warehouse.schema import schema_problems as _problems

    engine = "SharedReplacingMergeTree"
    table = Table(
        "mm_fills",
        engine,
        f"{engine}('/clickhouse/tables/{{uuid}}/{{shard}}', '{{replica}}', version) ORDER BY x",
        wanted_sorting_key(),
        "",
        0,
        0,
        str(uuid.uuid4()),
    )

    assert list(_problems(_wanted(), table)) == []
    assert table.is_replicated
