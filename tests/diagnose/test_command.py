"""`kalshi-fills diagnose` as a process: its words, its exit codes, and that it never writes."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.clickhouse_server import PASSWORD, ClickHouseServer
from support.commandline import KEY_ID, Account, Done, ServerWithUsers, Target
from support.commands import FAILURE_KEYS, assert_harmless, server_only
from support.diagnosing import CHECKS, engine_row
from support.legacy import LEGACY, LEGACY_ENGINE, Users, make, snapshot
from support.syncing import fill_at

from kalshi_fills.diagnose.survey import SurveyQueries, query_names
from kalshi_fills.migrate.run import migrate
from kalshi_fills.pipeline.window import Window
from kalshi_fills.practice.account import (
    PracticeAccount,
    generate_account,
    incident_rows,
    the_incident,
)
from kalshi_fills.practice.exchange import PracticeExchange
from kalshi_fills.report.diagnose import query_json
from kalshi_fills.warehouse.client import Warehouse
from kalshi_fills.warehouse.schema import schema_of
from kalshi_fills.warehouse.server import open_server
from kalshi_fills.warehouse.statements import Tables, load

Cli = Callable[..., Done]
Serve = Callable[..., PracticeExchange]

DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
_serial = itertools.count(1)


def account_of_a_day(now: datetime, fills: int = 40) -> PracticeAccount:
    return generate_account(3, fills, start=now - 20 * HOUR, end=now - HOUR, eras="current")


def everything(target: Target) -> list[tuple[Any, ...]]:
    """Return every table of the database: how it was made, when, and how many rows it has."""
    return snapshot(lambda sql, params=None: target.read(sql, **(params or {})), target.database)


def write_incident(target: Target, now: datetime) -> None:
    """Write the incident's table with the embedded engine in another process, or on the server."""
    rows = incident_rows(now)
    names = list(rows[0])
    columns = ", ".join(f"{name} {kind}" for name, kind in LEGACY.items())
    target.read(f"CREATE DATABASE IF NOT EXISTS {target.database}")
    target.read(f"CREATE TABLE DB.mm_fills ({columns}) ENGINE = {LEGACY_ENGINE}")
    lines = "\n".join(
        json.dumps(
            {**row, "ts": row["ts"].isoformat(" ")[:23], "decision_id": str(row["decision_id"])}
        )
        for row in rows
    )
    structure = columns.replace("'", "\\'")
    target.read(
        f"INSERT INTO DB.mm_fills ({', '.join(names)}) SELECT {', '.join(names)} "
        f"FROM format(JSONEachRow, '{structure}', {{lines:String}})",
        lines=lines,
    )


# The incident


def test_the_incident_as_a_process(
    cli: Cli, target: Target, serve: Serve, api_key: Account, now: datetime
) -> None:
    write_incident(target, now)
    exchange = serve(the_incident(now))
    before = everything(target)

    table = cli("diagnose", url=target.url, api=exchange.url, env={"COLUMNS": "80"})
    told = cli("diagnose", "--format", "json", url=target.url, api=exchange.url)

    assert everything(target) == before
    assert (table.code, told.code) == (3, 3)
    for words in (
        "FAIL",
        "exchange 5, table 4,774",
        "fill_id is missing",
        "92.5%",
        "schema_never_migrated",
        "non_fills_written_as_fills",
        "same_fills_inserted_again",
        "Next: kalshi-fills migrate",
    ):
        assert words in table.out, words
    assert table.out.startswith("FAIL")
    assert max(map(len, table.out.splitlines())) <= 80
    assert [one["name"] for one in told.json["checks"]] == CHECKS
    assert told.json["root_cause"]["name"] == "schema_never_migrated"
    assert_harmless(table, api_key)
    assert_harmless(told, api_key)
    assert cli("migrate", url=target.url).code == 0
    assert cli("sync", url=target.url, api=exchange.url).code == 0
    after = cli("diagnose", url=target.url, api=exchange.url)
    assert after.code == 0
    assert after.out.startswith("PASS")
    assert "table and exchange agree" in after.out
    assert "root cause" not in after.out


# States


def test_no_database_at_all(cli: Cli, target: Target, serve: Serve, now: datetime) -> None:
    exchange = serve(account_of_a_day(now))

    done = cli("diagnose", "--format", "json", url=target.url, api=exchange.url)

    assert done.code == 3
    assert done.json["root_cause"]["name"] == "schema_never_migrated"
    assert done.json["root_cause"]["next"] == "kalshi-fills migrate"
    named = "SELECT count() FROM system.databases WHERE name = {name:String}"
    assert target.read(named, name=target.database) == [(0,)]
    shown = cli("diagnose", "--offline", url=target.url)
    assert shown.code == 3
    assert "Next: kalshi-fills migrate" in shown.out


def test_a_foreign_table_is_refused(cli: Cli, target: Target) -> None:
    target.read(f"CREATE DATABASE IF NOT EXISTS {target.database}")
    target.read("CREATE TABLE DB.mm_fills (x Int32) ENGINE = MergeTree ORDER BY x")
    before = everything(target)

    for words in (("--offline",), ("--query", "volume_per_minute")):
        done = cli("diagnose", *words, "--format", "json", url=target.url)

        assert done.code == 5
        assert done.json.keys() == FAILURE_KEYS
        assert "not a table of fills" in done.json["error"]
        assert "--table" in done.json["hint"]
    assert everything(target) == before


@pytest.mark.torture  # the command tries for a while
@server_only
def test_an_exchange_that_is_down_names_the_way_without_it(cli: Cli, target: Target) -> None:
    cli("migrate", url=target.url)

    done = cli(
        "diagnose", "--format", "json",
        url=target.url, api="http://127.0.0.1:9/trade-api/v2", timeout=400,
    )  # fmt: skip

    assert done.code == 4
    assert done.json.keys() == FAILURE_KEYS
    assert "diagnose --offline" in done.json["hint"]
    assert "diagnose --offline" in done.err


@server_only
def test_a_wrong_key_names_the_way_without_it(
    cli: Cli, target: Target, serve: Serve, now: datetime
) -> None:
    cli("migrate", url=target.url)
    exchange = serve(account_of_a_day(now))

    done = cli(
        "diagnose", "--format", "json",
        url=target.url, api=exchange.url, env={"KALSHI_API_KEY_ID": "somebody"},
    )  # fmt: skip

    assert done.code == 4
    assert "does not know this key id" in done.json["error"]
    assert "diagnose --offline" in done.json["hint"]


@server_only
def test_no_key_at_all_is_a_matter_of_configuration(cli: Cli, target: Target) -> None:
    cli("migrate", url=target.url)
    none = {"KALSHI_API_KEY_ID": "", "KALSHI_PRIVATE_KEY_PATH": ""}

    done = cli("diagnose", "--format", "json", url=target.url, env=none)

    assert done.code == 2
    assert "diagnose --offline" in done.json["hint"]
    offline = cli("diagnose", "--offline", "--format", "json", url=target.url, env=none)
    assert (offline.code, offline.json["verdict"]) == (0, "pass")


@server_only
def test_a_key_of_one_subaccount_is_a_warning(
    cli: Cli, target: Target, serve: Serve, now: datetime
) -> None:
    account = account_of_a_day(now)
    cli("migrate", url=target.url)
    exchange = serve(account)
    cli("sync", url=target.url, api=exchange.url)
    exchange._restricted = 1  # at the same address: another one would be another account

    done = cli("diagnose", url=target.url, api=exchange.url)

    assert done.code == 0
    assert done.out.startswith("WARN")
    assert "key_sees_one_subaccount" in done.out


@server_only
def test_clickhouse_that_is_down_is_said_so(cli: Cli, target: Target) -> None:
    url = "clickhouse://default@127.0.0.1:9/kalshi"

    done = cli("diagnose", "--offline", "--format", "json", url=url)

    assert done.code == 5
    assert done.json.keys() == FAILURE_KEYS


# Users who may only look


@pytest.fixture
def users(server_with_users: ServerWithUsers) -> Iterator[Users]:
    made = Users(server_with_users, Tables(f"lookers_{os.getpid()}_{next(_serial)}"))
    yield made
    made.admin.command(f"DROP DATABASE IF EXISTS {made.tables.database}")
    made.close()


@pytest.mark.sampled(5)
@pytest.mark.server
@pytest.mark.parametrize("readonly", ["", "SETTINGS readonly = 1", "SETTINGS readonly = 2"])
@pytest.mark.parametrize("state", ["legacy", "today"])
def test_a_user_who_may_only_select_can_diagnose(
    users: Users, cli: Cli, serve: Serve, now: datetime, readonly: str, state: str
) -> None:
    tables = users.tables
    if state == "legacy":
        account = the_incident(now)
        make(users.admin, tables, rows=incident_rows(now, 600))
        exchange = serve(account)
    else:
        account = account_of_a_day(now)
        exchange = serve(account, cutoff=now - 9 * HOUR)
        admin = users._server.url(tables.database)
        assert cli("migrate", url=admin).code == 0
        assert cli("sync", url=admin, api=exchange.url).code == 0
        gone = account.fills[0].fill_id
        users.admin.command(
            f"ALTER TABLE {tables.name()} DELETE WHERE fill_id = '{gone}' "
            "SETTINGS mutations_sync = 2"
        )
    before = snapshot(users.admin.rows, tables.database)
    url = users.url("looker", "GRANT SELECT ON DB.* TO USER", settings=readonly)

    done = cli("diagnose", "--format", "json", url=url, api=exchange.url)

    assert done.code == 3, done.err
    if state == "today":
        assert [one["kind"] for one in done.json["breaks"]] == ["missing"]
        assert done.json["root_cause"]["name"] == "fills_missing"
    else:
        assert done.json["root_cause"]["name"] == "schema_never_migrated"
    assert cli("diagnose", "--offline", url=url).code in (0, 3)
    assert cli("diagnose", "--query", "rows_per_order", url=url).code == 0
    assert snapshot(users.admin.rows, tables.database) == before


@pytest.mark.server
def test_a_user_who_may_not_even_look_is_told_what_to_grant(users: Users, cli: Cli) -> None:
    make(users.admin, users.tables)

    done = cli("diagnose", "--offline", "--format", "json", url=users.url("nobody"))

    assert done.code in (3, 5)
    if done.code == 3:  # what a user may not see is not there for it
        assert "no table" in json.dumps(done.json["checks"])


# Options


@server_only
def test_a_query_can_be_shown_in_full(
    cli: Cli, target: Target, serve: Serve, now: datetime
) -> None:
    exchange = serve(account_of_a_day(now))
    cli("migrate", url=target.url)
    cli("sync", url=target.url, api=exchange.url)

    table = cli("diagnose", "--query", "volume_per_minute", url=target.url)
    told = cli("diagnose", "--query", "volume_per_minute", "--format", "json", url=target.url)

    assert (table.code, told.code) == (0, 0)
    assert load("diagnose/volume_per_minute").title in table.out
    assert "Normal: " in table.out
    assert told.json["query"]["name"] == "volume_per_minute"
    assert sum(row["rows"] for row in told.json["query"]["rows"]) == 40


@server_only
def test_an_unknown_query_names_those_there_are(cli: Cli, target: Target) -> None:
    done = cli("diagnose", "--query", "nonsense", "--format", "json", url=target.url)

    assert done.code == 2
    assert done.json.keys() == FAILURE_KEYS
    for name in query_names():
        assert name in done.json["hint"]


@server_only
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--since", "yesterday"), "--since"),
        (("--since", "-5h"), "--since"),
        (("--until", "soon"), "--until"),
        (("--since", "1h", "--until", "2h"), "--since is not before --until"),
        (("--since", "2999-01-01"), "--since"),
    ],
)
def test_wrong_times_are_usage(cli: Cli, target: Target, words: tuple[str, ...], said: str) -> None:
    done = cli("diagnose", "--offline", *words, "--format", "json", url=target.url)

    assert done.code == 2
    assert said in done.json["error"]
    assert done.json["hint"]


@server_only
def test_until_alone_is_no_contradiction_that_nobody_wrote(cli: Cli, target: Target) -> None:
    """The default of --since is a day back from now: what is blamed must be what was written."""
    cli("migrate", url=target.url)

    done = cli("diagnose", "--offline", "--until", "7d", "--format", "json", url=target.url)

    assert done.code == 0 or "--since" in done.json["hint"]


@server_only
def test_a_window_in_the_past_is_compared_as_it_was(
    cli: Cli, target: Target, serve: Serve, now: datetime
) -> None:
    account = account_of_a_day(now, 100)
    exchange = serve(account)
    cli("migrate", url=target.url)
    cli("sync", url=target.url, api=exchange.url)

    done = cli(
        "diagnose", "--since", "15h", "--until", "5h", "--format", "json",
        url=target.url, api=exchange.url,
    )  # fmt: skip

    assert (done.code, done.json["verdict"]) == (0, "pass")
    start, end = (datetime.fromisoformat(done.json["window"][side]) for side in ("start", "end"))
    assert timedelta(hours=9, minutes=59) < end - start < timedelta(hours=10, minutes=1)


@server_only
def test_hostile_texts_are_harmless_on_screen(
    cli: Cli, target: Target, serve: Serve, now: datetime, api_key: Account
) -> None:
    nasty = "\x1b]0;x\x07\x1b[31mRED [bold red]x[/] \u202e\u2028\r\n"
    fills = [
        fill_at(now - 2 * HOUR, number, ticker=f"{nasty}{'T' * 600}", order_id=f"{nasty}{number}")
        for number in range(3)
    ]
    account = PracticeAccount(fills=fills, end_us=fills[0].executed_at_us, eras="current")
    exchange = serve(account)
    cli("migrate", url=target.url)
    opened = open_server(target.url)
    rows = [
        engine_row(fill, ts=now - HOUR, market_ticker=f"{nasty}{'W' * 1_000}", raw_json=nasty)
        for fill in fills
    ] * 2
    opened.insert(f"{target.database}.mm_fills", list(rows[0]), [tuple(r.values()) for r in rows])
    opened.close()

    done = cli("diagnose", url=target.url, api=exchange.url, env={"COLUMNS": "80"})
    told = cli("diagnose", "--format", "json", url=target.url, api=exchange.url)
    query = cli("diagnose", "--query", "rows_per_order", url=target.url, env={"COLUMNS": "80"})

    assert (done.code, told.code, query.code) == (3, 3, 0)
    for shown in (done, query):
        assert max(map(len, shown.out.split("\n"))) <= 80
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2028\u2029]", shown.out)
    assert "[bold red]" in done.out
    assert_harmless(done, api_key)
    assert any(nasty in (one["market_ticker"] or "") for one in told.json["breaks"])


# The queries by hand


def by_hand(server: ClickHouseServer, database: str, name: str) -> list[dict[str, Any]]:
    """Run a file as it is, as an operator does, with the client."""
    path = Path(__file__).parents[2] / "queries" / "diagnose" / f"{name}.sql"
    done = subprocess.run(
        [
            os.environ["CLICKHOUSE_BINARY"], "client",
            "--host", "127.0.0.1", "--port", str(server.port), "--password", PASSWORD,
            "--database", database, "--format", "JSONCompactEachRow",
            "--queries-file", str(path),
        ],
        capture_output=True,
        text=True,
        timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def plain(value: object) -> object:
    """Write a value as the client does."""
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", value):
        return value.replace("T", " ").rstrip("Z").partition(".")[0]
    return str(value)


def told_plainly(value: object) -> object:
    text = str(value)
    return text.partition(".")[0] if re.fullmatch(r"\d{4}-\d\d-\d\d [\d:.]+", text) else text


STATES = ("today", "today, empty", "legacy", "legacy, empty", "legacy with an id")


@pytest.mark.sampled(3)
@pytest.mark.server
@pytest.mark.parametrize("state", STATES)
def test_every_query_runs_by_hand_and_gives_what_the_tool_gives(
    server: ClickHouseServer, now: datetime, state: str
) -> None:
    tables = Tables(f"by_hand_{os.getpid()}_{next(_serial)}")
    opened: Warehouse = open_server(server.url("default"))
    account = account_of_a_day(now)
    if state.startswith("today"):
        migrate(opened, tables, now)
        rows = [engine_row(fill) for fill in account.fills]
        rows += [engine_row(fill, fill_id=fill.fill_id) for fill in account.fills] * 2
        rows.append(engine_row(account.fills[0], price_cents=0, raw_json='{"status":"resting"}'))
        if state == "today":
            names = [*rows[0], "fill_id"]
            opened.insert(
                tables.name(), names, [tuple(row.get(name, "") for name in names) for row in rows]
            )
    else:
        types = LEGACY | ({"fill_id": "String"} if state.endswith("id") else {})
        make(opened, tables, types, () if state.endswith("empty") else incident_rows(now, 900))
    window = Window(now - DAY, now)
    evidence = SurveyQueries(opened, tables, schema_of(opened, tables), window)
    try:
        for name in query_names():
            statement = load(f"diagnose/{name}")
            assert statement.title
            assert statement.shows
            assert statement.normal
            answer = evidence.query(name)
            ran = query_json(answer)["rows"]
            assert isinstance(ran, list)
            hand = by_hand(server, tables.database, name)
            assert [list(map(told_plainly, row)) for row in hand] == [
                list(map(plain, row.values())) for row in ran
            ], name
            if "empty" not in state and name != "decision_id_coverage":
                assert hand or (name == "rows_that_are_no_fills" and state == "today, empty")
    finally:
        opened.command(f"DROP DATABASE {tables.database}")
        opened.close()


# Size


_MEASURED = """
import re, sys
from kalshi_fills.__main__ import main
try:
    main()
finally:
    # Not getrusage, whose peak a process inherits from the one that started it.
    peak = re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())
    print("MiB", int(peak.group(1)) // 1024, file=sys.stderr)
"""


@pytest.mark.torture
@pytest.mark.server
@pytest.mark.timeout(7200)
def test_three_breaks_in_a_million_fills_are_found_in_bounded_memory(
    server: ClickHouseServer, serve: Serve, api_key: Account, now: datetime, tmp_path: Path
) -> None:
    peaks = {}
    for fills in (100_000, 1_000_000):
        found, peaks[fills], seconds = _three_breaks(server, serve, api_key, now, tmp_path, fills)
        print(f"{fills:,} fills: {seconds:.0f} s, {found['requests']} requests, {peaks[fills]} MiB")
        assert Counter(one["kind"] for one in found["breaks"]) == Counter(
            ("missing", "unexpected", "mismatch")
        )
        assert {one["scope"] for one in found["breaks"]} == {"fill"}
        assert f"exchange {fills:,}, table {fills:,}" in found["checks"][0]["observed"]
    assert peaks[1_000_000] - peaks[100_000] < 80


def _three_breaks(
    server: ClickHouseServer,
    serve: Serve,
    api_key: Account,
    now: datetime,
    folder: Path,
    fills: int,
) -> tuple[dict[str, Any], int, float]:
    """Sync an account, hide three breaks in the table, diagnose; give JSON, MiB and seconds."""
    database = f"large_{os.getpid()}_{fills}"
    account = generate_account(8, fills, start=now - 30 * DAY, end=now - HOUR, eras="current")
    exchange = serve(account, cutoff=now - 15 * DAY, orders_cutoff=now - 14 * DAY, cached_rows=0)
    variables = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "HOME": str(folder),
        "CLICKHOUSE_URL": server.url(database),
        "KALSHI_API_URL": exchange.url,
        "KALSHI_API_KEY_ID": KEY_ID,
        "KALSHI_PRIVATE_KEY_PATH": str(api_key.path),
        "KALSHI_FILLS_FORMAT": "json",
    }

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", _MEASURED, *words]
        return subprocess.run(command, env=variables, capture_output=True, text=True, cwd=folder)

    opened = open_server(server.url("default"))
    try:
        assert run("migrate").returncode == 0
        assert run("sync", "--rate-share", "1").returncode == 0
        gone, dearer, like = account.fills[fills // 7], account.fills[fills // 2], account.fills[-9]
        table = f"{database}.mm_fills"
        for change in (
            f"DELETE WHERE fill_id = '{gone.fill_id}'",
            "UPDATE fee_dollars = fee_dollars + toDecimal64('0.000001', 6) "
            f"WHERE fill_id = '{dearer.fill_id}'",
        ):
            opened.command(f"ALTER TABLE {table} {change} SETTINGS mutations_sync = 2")
        row = engine_row(like, fill_id="made-up")
        opened.insert(table, list(row), [tuple(row.values())])
        began = time.monotonic()
        done = run("diagnose", "--since", "40d")
        seconds = time.monotonic() - began
        assert done.returncode == 3, done.stderr[-2_000:]
        return json.loads(done.stdout), int(done.stderr.rsplit("MiB", 1)[1]), seconds
    finally:
        opened.command(f"DROP DATABASE IF EXISTS {database}")
        opened.close()
