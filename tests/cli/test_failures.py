"""How each failure is told, with its exit code and hint."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from support.clickhouse_server import ClickHouseServer, free_port
from support.commandline import ROOT, ServerWithUsers, Target
from support.commands import server_only
from support.outcomes import Cli, Serve, account_of

import kalshi_fills
import kalshi_fills.cli.commands
from kalshi_fills.cli.app import command_names
from kalshi_fills.cli.settings import OPTIONS
from kalshi_fills.warehouse.server import open_server

COMMANDS = sorted(command_names())


# Usage


@pytest.mark.sampled(9)
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["sync", "--no-such-option"], "--no-such-option"),
        (["no-such-command"], "no-such-command"),
        (["sync", "--since", "1h", "--until", "2h"], "--since"),
        (["sync", "--since", "yesterday"], "yesterday"),
        (["sync", "--until", "2026-13-01"], "2026-13-01"),
        (["sync", "--since", "2999-01-01T00:00:00Z"], "future"),
        (["sync", "--since", "1h", "--full"], "--full"),
        (["sync", "--since", "99999999d"], "calendar"),
        (["sync", "--overlap", "soon"], "soon"),
        (["sync", "--rate-share", "0"], "--rate-share"),
        (["sync", "--rate-share", "nan"], "--rate-share"),
        (["sync", "--rate-share", "much"], "--rate-share"),
        (["sync", "--since"], "--since"),
        (["sync", "surplus"], "surplus"),
        (["migrate", "--table", "a b"], "a b"),
        (["migrate", "--table", "x`; DROP TABLE y"], "--table"),
        (["migrate", "--table", "1st"], "1st"),
        (["migrate", "--cluster", "a b"], "a b"),
        (["migrate", "--format", "xml"], "xml"),
        (["migrate", "--log-format", "xml"], "xml"),
        (["migrate", "--clickhouse", "http://127.0.0.1:8123"], "clickhouse://"),
        (["migrate", "--clickhouse", "127.0.0.1:9000"], "clickhouse://"),
        (["migrate", "--clickhouse", "clickhouse://u:hunter2#x@h:9000/d"], "percent-encode"),
        (["migrate", "--clickhouse", "clickhouse://u:hunter2@/d"], "host"),
        (["migrate", "--clickhouse", "clickhouse://u:hunter2@h/a-b"], "a-b"),
        (["migrate", "--clickhouse", "chdb://"], "folder"),
        (["sync", "--api-url", "http://api.example.com/trade-api/v2"], "TLS"),
        (["sync", "--api-url", "production"], "production"),
        (["sync", "--private-key", "/no/such/key.pem"], "/no/such/key.pem"),
        (["sync", "--private-key", "/"], "private key"),
        (["sync", "--private-key", __file__], "key"),
        (["sync", "--api-key-id", "two words"], "key id"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_cannot_be_meant_ends_with_2_before_any_connection(
    cli: Cli, failed: Callable[..., str], words: list[str], said: str, tmp_path: Path
) -> None:
    asked = [] if "--format" in words or words[-1] == "--since" else ["--format", "json"]

    done = cli(*words, *asked)

    assert said in failed(done, 2)
    assert bool(done.out) == bool(asked)
    assert not (tmp_path / ".local").exists()


@pytest.mark.parametrize("words", [["sync", "--no-such-option"], ["sync", "--since", "soon"]])
def test_a_failure_is_one_json_object_where_json_was_asked_for_after_the_command(
    cli: Cli, failed: Callable[..., str], words: list[str]
) -> None:
    failed(cli(*words, "--format", "json"), 2, "sync")
    failed(cli(*words, "--format=json"), 2, "sync")


def test_a_usage_failure_names_the_command_although_options_stand_before_it(
    cli: Cli, failed: Callable[..., str]
) -> None:
    failed(cli("--format", "json", "sync", "--no-such-option"), 2, "sync")


def test_a_usage_failure_is_json_where_the_variable_asks_for_it(
    cli: Cli, failed: Callable[..., str]
) -> None:
    failed(cli("sync", "--no-such-option", env={"KALSHI_FILLS_FORMAT": "json"}), 2, "sync")


def test_all_mistakes_are_told_at_once(cli: Cli, failed: Callable[..., str]) -> None:
    told = failed(cli("sync", "--since", "soon", "--table", "a b", "--overlap", "x"), 2)

    for wrong in ("soon", "a b", "'x'"):
        assert wrong in told


def test_a_key_id_alone_and_a_key_alone_are_told(cli: Cli, failed: Callable[..., str]) -> None:
    told = failed(cli("sync", env={"KALSHI_PRIVATE_KEY_PATH": ""}), 2)
    assert "KALSHI_PRIVATE_KEY_PATH" in told
    assert "KALSHI_API_KEY_ID" in failed(cli("sync", env={"KALSHI_API_KEY_ID": ""}), 2)


def test_no_key_at_all_is_told_by_sync_and_not_missed_by_migrate(
    cli: Cli, failed: Callable[..., str], target: Target
) -> None:
    bare = {"KALSHI_API_KEY_ID": "", "KALSHI_PRIVATE_KEY_PATH": ""}

    assert cli("migrate", url=target.url, env=bare).code == 0
    told = failed(cli("sync", "--format", "json", url=target.url, env=bare), 2, "sync")
    assert "KALSHI_API_KEY_ID" in told


def test_help_shows_every_command_option_and_exit_code(cli: Cli) -> None:
    shared = [option.name for option in OPTIONS] + ["verbose", "help"]
    everywhere = cli("--help")
    assert everywhere.code == 0
    for command in COMMANDS:
        assert re.search(rf"\b{command}\b", everywhere.out)
    assert {"migrate", "sync"} <= set(COMMANDS)
    for words in ([], *([command] for command in COMMANDS)):
        done = cli(*words, "--help", env={"COLUMNS": "200"})
        assert (done.code, done.err) == (0, "")
        for name in shared:
            assert f"--{name}" in done.out
        for code in (0, 1, 2, 3, 4, 5, 6, 75, 130):
            assert re.search(rf"\b{code}\b", done.out.partition("Exit codes")[2])
        assert "\x1b" not in done.out


def test_help_shows_every_variable_and_default(cli: Cli) -> None:
    for command in COMMANDS:
        text = " ".join(cli(command, "--help", env={"COLUMNS": "300"}).out.split())
        for option in OPTIONS:
            assert (option.variable or "") in text
            assert (option.default or "") in text
        assert "KALSHI_PRIVATE_KEY" in text


@pytest.mark.parametrize(
    "option",
    ["--since", "--until", "--full", "--overlap", "--rate-share", "--accept-rejected", "--dry-run"],
)
def test_the_help_of_sync_explains_its_options(cli: Cli, option: str) -> None:
    assert re.search(rf"{option}\W+\S+ +\S+", cli("sync", "--help").out)


def test_the_version_is_shown(cli: Cli) -> None:
    done = cli("--version")

    assert (done.code, done.out) == (0, f"kalshi-fills {kalshi_fills.__version__}\n")


def test_no_command_at_all_shows_the_help(cli: Cli) -> None:
    done = cli()

    assert done.code in (0, 2)
    assert "migrate" in done.out + done.err
    assert "Traceback" not in done.err


# The exchange


@server_only
def test_a_key_that_is_not_of_the_key_id_is_explained(
    cli: Cli,
    migrated: Target,
    serve: Serve,
    tmp_path: Path,
    now: datetime,
    failed: Callable[..., str],
) -> None:
    exchange = serve(account_of(5, now))
    other = tmp_path / "other.pem"
    other.write_bytes(
        Ed25519PrivateKey.generate().private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )
    )
    other.chmod(0o600)

    done = cli(
        "sync", "--private-key", str(other), "--format", "json", "--verbose",
        url=migrated.url, api=exchange.url,
    )  # fmt: skip

    assert "does not belong to the key id" in failed(done, 4, "sync")
    assert other.read_text().splitlines()[1] not in done.out + done.err
    assert migrated.read("SELECT status, watermark FROM DB.mm_fills_runs FINAL") == [
        ("failed", None)
    ]


@server_only
def test_an_unknown_key_id_is_explained(
    cli: Cli, migrated: Target, serve: Serve, now: datetime, failed: Callable[..., str]
) -> None:
    exchange = serve(account_of(5, now))

    done = cli(
        "sync", "--api-key-id", "nobody", "--format", "json", url=migrated.url, api=exchange.url
    )

    told = failed(done, 4, "sync")
    assert "does not know this key id" in told
    assert "demo" in told


@server_only
@pytest.mark.parametrize("off", [300, -300])
def test_a_clock_that_is_off_is_explained(
    cli: Cli, migrated: Target, serve: Serve, now: datetime, failed: Callable[..., str], off: int
) -> None:
    exchange = serve(account_of(5, now), clock=lambda: time.time() + off)

    done = cli("sync", "--format", "json", url=migrated.url, api=exchange.url)

    assert "clock" in failed(done, 4, "sync")


@server_only
def test_how_far_the_clock_is_off_is_told(
    cli: Cli, migrated: Target, serve: Serve, now: datetime, failed: Callable[..., str]
) -> None:
    exchange = serve(account_of(5, now), clock=lambda: time.time() + 300)

    told = failed(cli("sync", url=migrated.url, api=exchange.url), 4)

    assert re.search(r"\b(29[6-9]|30[0-4]) seconds", told)


@server_only
def test_an_exchange_that_is_down_is_told_after_a_few_tries(
    cli: Cli, migrated: Target, failed: Callable[..., str]
) -> None:
    url = f"http://127.0.0.1:{free_port()}/trade-api/v2"

    done = cli("sync", "--format", "json", url=migrated.url, api=url)

    told = failed(done, 4, "sync")
    assert "refused" in told
    assert url in told


# ClickHouse


def test_a_schema_that_is_not_migrated_is_told(
    cli: Cli, target: Target, serve: Serve, now: datetime, failed: Callable[..., str]
) -> None:
    exchange = serve(account_of(5, now))

    done = cli("sync", "--format", "json", url=target.url, api=exchange.url)

    assert "kalshi-fills migrate" in failed(done, 5, "sync")
    assert sum(exchange.requests.values()) == 0


@pytest.mark.parametrize("command", COMMANDS)
def test_a_clickhouse_that_is_down_is_told(
    cli: Cli, failed: Callable[..., str], command: str
) -> None:
    port = free_port()
    words = {"diagnose": ["--offline"], "truncate": ["--yes"]}.get(command, [])

    done = cli(
        command, *words, "--format", "json", url=f"clickhouse://u:hunter2@127.0.0.1:{port}/kalshi"
    )

    told = failed(done, 5, command)
    assert f"127.0.0.1:{port}" in told
    assert "CLICKHOUSE_URL" in told


@pytest.mark.server
def test_a_wrong_password_is_told_without_showing_it(
    cli: Cli, server: ClickHouseServer, failed: Callable[..., str]
) -> None:
    done = cli(
        "migrate", "--format", "json", "--verbose", url=server.url("kalshi", password="hunter2!")
    )

    assert "password" in failed(done, 5, "migrate")


@pytest.mark.server
def test_a_user_that_may_not_create_the_database_is_told(
    cli: Cli, server_with_users: ServerWithUsers, failed: Callable[..., str]
) -> None:
    admin = open_server(server_with_users.url("default"))
    admin.command("CREATE USER OR REPLACE poor IDENTIFIED WITH sha256_password BY 'hunter2'")
    admin.close()

    done = cli(
        "migrate", "--format", "json", url=server_with_users.url("forbidden", "poor", "hunter2")
    )

    told = failed(done, 5, "migrate")
    assert "forbidden" in told
    assert "grant" in told.lower()


@pytest.mark.server
@pytest.mark.parametrize("there", [True, False], ids=["database there", "no database"])
def test_the_grants_that_migrate_asks_for_are_enough(
    cli: Cli,
    server_with_users: ServerWithUsers,
    serve: Serve,
    now: datetime,
    failed: Callable[..., str],
    there: bool,
) -> None:
    database, user = f"granted_{there}".lower(), f"user_{there}".lower()
    url = server_with_users.url(database, user, "hunter2")
    account = account_of(5, now)
    fill = account.fills[0]
    with contextlib.closing(open_server(server_with_users.url("default"))) as admin:
        admin.command(f"CREATE USER {user} IDENTIFIED WITH sha256_password BY 'hunter2'")
        if there:
            admin.command(f"CREATE DATABASE {database}")
        hint = failed(cli("migrate", url=url), 5).partition("GRANT ")[2]

        admin.command(f"GRANT {hint.partition(' ON ')[0]} ON {database}.* TO {user}")

        migrated = cli("migrate", url=url)
        assert migrated.code == 0, migrated.err
        admin.insert(
            f"{database}.mm_fills",
            ("ts", "fill_id", "exchange_order_id", "market_ticker", "side", "price_cents", "size"),
            [(now, fill.fill_id, fill.order_id, "KXWRONG", "yes", 41, 10)],
        )
        synced = cli("sync", url=url, api=serve(account).url)
        assert synced.code == 0, synced.err


def test_a_folder_in_use_is_told_with_75(
    cli: Cli, tmp_path: Path, failed: Callable[..., str]
) -> None:
    pytest.importorskip("chdb", reason="the embedded engine is not installed")
    folder = tmp_path / "chdb"
    hold = (
        "import sys; from pathlib import Path;"
        "from kalshi_fills.warehouse.embedded import open_embedded;"
        "w = open_embedded(Path(sys.argv[1])); print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        holder.stdout.readline()
        done = cli("migrate", "--format", "json", url=f"chdb://{folder}")
        holder.stdin.close()

    assert str(holder.pid) in failed(done, 75, "migrate")
