"""On a cluster: two replicas and a keeper, one table, whichever replica is asked."""

from __future__ import annotations

from datetime import timedelta

import pytest
from support.cluster import CLUSTER

from kalshi_fills.practice.account import generate_account, incident_rows
from kalshi_fills.warehouse.client import Warehouse

pytestmark = pytest.mark.server

LEGACY = """CREATE TABLE {name} (ts DateTime64(3,'UTC'), engine_instance_id String,
    engine_version String, market_ticker String, exchange_order_id String, client_order_id String,
    side LowCardinality(String), price Float64, price_cents UInt16, size Float64, fee Float64,
    decision_id UUID, raw_json String)
    ENGINE = MergeTree PARTITION BY toDate(ts) ORDER BY (market_ticker, ts)"""


def _same_on(both: list[Warehouse], sql: str) -> list[tuple]:
    answers = []
    for warehouse in both:
        warehouse.command(f"SYSTEM SYNC REPLICA {sql.split('FROM ')[1].split()[0]}")
        answers.append(warehouse.rows(sql))
    assert answers[0] == answers[1]
    return answers[0]


def test_a_sync_on_the_other_replica_inserts_nothing(cluster, both, cli, serve, now):
    account = generate_account(3, 400, start=now - timedelta(days=90), end=now)
    exchange = serve(account, cutoff=now - timedelta(days=60))
    first, second = (replica.url("fresh") for replica in cluster.replicas)
    options = ("--cluster", CLUSTER)

    assert cli("migrate", *options, url=first).code == 0
    stored = cli("sync", *options, "--format", "json", url=first, api=exchange.url)
    again = cli("sync", *options, "--full", "--format", "json", url=second, api=exchange.url)

    assert (stored.code, again.code) == (0, 0), stored.err + again.err
    assert stored.json["stages"]["n_inserted"] == 400
    assert again.json["stages"]["n_inserted"] == 0
    assert again.json["stages"]["n_known"] == 400
    assert again.json["breaks"] == []
    assert _same_on(both, "SELECT count() FROM fresh.mm_fills FINAL") == [(400,)]
    assert cli("migrate", *options, "--format", "json", url=second).json["changed"] is False


def test_a_truncate_on_one_replica_is_seen_on_the_other_and_a_full_sync_refills_both(
    cluster, both, cli, serve, now
):
    account = generate_account(5, 60, start=now - timedelta(days=3), end=now)
    exchange = serve(account)
    first, second = (replica.url("emptied") for replica in cluster.replicas)
    options = ("--cluster", CLUSTER, "--format", "json")
    cli("migrate", *options, url=first)
    cli("sync", *options, url=first, api=exchange.url)

    both[0].command("TRUNCATE TABLE emptied.mm_fills")
    assert _same_on(both, "SELECT count() FROM emptied.mm_fills FINAL") == [(0,)]
    again = cli("sync", *options, "--full", url=second, api=exchange.url)

    assert again.json["stages"]["n_new"] == 60
    assert _same_on(both, "SELECT count() FROM emptied.mm_fills FINAL") == [(60,)]


def test_what_truncate_removes_is_kept_and_restored_on_every_replica(
    cluster, both, cli, serve, now
):
    account = generate_account(6, 60, start=now - timedelta(days=3), end=now)
    exchange = serve(account)
    first, second = (replica.url("removed") for replica in cluster.replicas)
    options = ("--cluster", CLUSTER, "--format", "json")
    cli("migrate", *options, url=first)
    cli("sync", *options, url=first, api=exchange.url)
    digest = "count(), sum(cityHash64(toString(tuple(*))))"
    before = _same_on(both, f"SELECT {digest} FROM removed.mm_fills FINAL")
    alone = cli("truncate", "--yes", "--format", "json", url=first)

    gone = cli("truncate", "--yes", *options, url=second)

    assert (alone.code, "--cluster" in alone.json["hint"]) == (5, True)
    assert gone.code == 0, gone.err
    assert (gone.json["rows_removed"], gone.json["watermark"]) == (60, None)
    backup = gone.json["backup"]
    assert _same_on(both, "SELECT count() FROM removed.mm_fills FINAL") == [(0,)]
    assert _same_on(both, f"SELECT {digest} FROM removed.{backup} FINAL") == before
    assert f"ON CLUSTER `{CLUSTER}`" in gone.json["backups"][0]["drop"]
    back = cli("truncate", "--restore", backup, *options, url=first)
    assert back.code == 0, back.err
    assert _same_on(both, f"SELECT {digest} FROM removed.mm_fills FINAL") == before
    for warehouse in both:
        assert (
            warehouse.rows(
                "SELECT name FROM system.tables WHERE database = 'removed' AND name LIKE '%backup%'"
            )
            == []
        )
    again = cli("sync", *options, url=second, api=exchange.url)
    assert (again.json["stages"]["n_known"], again.json["breaks"]) == (60, [])


@pytest.mark.sampled(2)
@pytest.mark.parametrize("what", ["garbage", "before"])
def test_what_stays_stays_on_every_replica(cluster, both, cli, what):
    database = f"sifted_{what}"
    first, second = (replica.url(database) for replica in cluster.replicas)
    options = ("--cluster", CLUSTER, "--format", "json")
    cli("migrate", *options, url=first)
    both[0].command(
        f"INSERT INTO {database}.mm_fills (ts, fill_id, exchange_order_id, market_ticker, side, "
        "price_cents, size, source, version) SELECT toDateTime64('2026-06-01', 6, 'UTC') + "
        "toIntervalDay(number), toString(number), 'o', 't', 'yes', if(number < 20, 0, 41), 1, "
        "'live', 5 FROM numbers(100)"
    )
    words = ("--garbage",) if what == "garbage" else ("--before", "2026-06-21")

    done = cli("truncate", *words, "--yes", *options, url=second)

    assert done.code == 0, done.err
    assert (done.json["rows_removed"], done.json["rows_left"]) == (20, 80)
    count = "count(), min(toUInt32(fill_id)), max(toUInt32(fill_id))"
    assert _same_on(both, f"SELECT {count} FROM {database}.mm_fills FINAL") == [(80, 20, 99)]
    backup = f"{database}.{done.json['backup']}"
    assert _same_on(both, f"SELECT {count} FROM {backup} FINAL") == [(20, 0, 19)]
    for warehouse in both:
        left = warehouse.rows(
            "SELECT name FROM system.tables WHERE database = {d:String} AND name LIKE '%\\_\\_%'",
            {"d": database},
        )
        assert left == []


def test_a_user_who_may_not_run_on_the_cluster_is_told_before_anything_is_done(cluster, both, cli):
    for warehouse in both:
        warehouse.command("CREATE USER IF NOT EXISTS local IDENTIFIED WITH no_password")
        warehouse.command("GRANT SELECT, INSERT, CREATE, DROP, ALTER ON alone.* TO local")
    url = cluster.replicas[0].url("alone", user="local", password="")

    done = cli("migrate", "--cluster", CLUSTER, url=url)

    assert done.code == 5
    assert "CLUSTER" in done.err
    assert "nothing was changed" in done.err
    assert both[0].rows("SELECT count() FROM system.databases WHERE name = 'alone'") == [(0,)]


def test_a_watermark_set_on_one_replica_holds_on_the_other(cluster, cli, serve, now):
    account = generate_account(4, 50, start=now - timedelta(days=3), end=now)
    exchange = serve(account)
    first, second = (replica.url("marks") for replica in cluster.replicas)
    options = ("--cluster", CLUSTER, "--format", "json")

    cli("migrate", *options, url=first)
    stored = cli("sync", *options, url=first, api=exchange.url).json
    again = cli("sync", *options, url=second, api=exchange.url).json

    assert stored["watermark"] is not None
    assert again["window"]["start"] is not None
    assert again["window"]["start"] < stored["watermark"] <= again["watermark"]


@pytest.mark.parametrize("where", ["on one host only", "on both, with other rows"])
def test_a_legacy_table_is_rebuilt_on_every_replica(cluster, both, cli, now, where):
    database = "legacy_one" if where == "on one host only" else "legacy_both"
    rows = incident_rows(now, 600)
    names = list(rows[0])
    holders = both[:1] if where == "on one host only" else both
    for index, warehouse in enumerate(both):
        warehouse.command(f"CREATE DATABASE {database}")
        if warehouse in holders:
            warehouse.command(LEGACY.format(name=f"{database}.mm_fills"))
            share = rows[index :: len(holders)]
            warehouse.insert(f"{database}.mm_fills", names, [tuple(row.values()) for row in share])

    url = cluster.replicas[0].url(database)
    done = cli("migrate", "--cluster", CLUSTER, "--format", "json", url=url)

    assert done.code == 0, done.err
    (kept,) = done.json["kept"]
    assert _same_on(both, f"SELECT count() FROM {database}.mm_fills FINAL") == [(5,)]
    for warehouse in both:
        ((engine,),) = warehouse.rows(
            "SELECT engine FROM system.tables WHERE database = {d:String} AND name = 'mm_fills'",
            {"d": database},
        )
        assert engine == "ReplicatedReplacingMergeTree"
    kept_rows = sum(w.rows(f"SELECT count() FROM {database}.{kept}")[0][0] for w in both)
    assert kept_rows == 600
    again = cli("migrate", "--cluster", CLUSTER, "--format", "json", url=url)
    assert again.json["changed"] is False
