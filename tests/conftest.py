"""What the tests share: both engines, a practice exchange, and the command line as a process."""

from __future__ import annotations

import os
import signal
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import settings
from support.clickhouse_server import ClickHouseServer
from support.commandline import (
    KEY_ID,
    ROOT,
    Account,
    Done,
    ServerWithUsers,
    Target,
    embedded_rows,
    serial,
)
from support.diagnosing import Desk
from support.ready import ReadyTables
from support.release_0_1 import build_release_0_1, runner
from support.syncing import Bench
from support.warm import run_command

from kalshi_fills.practice.account import PracticeAccount
from kalshi_fills.practice.exchange import PracticeExchange
from kalshi_fills.warehouse.client import Warehouse
from kalshi_fills.warehouse.embedded import open_embedded
from kalshi_fills.warehouse.server import open_server
from kalshi_fills.warehouse.statements import Tables

ENGINES = ("embedded", "server")

ENGINES_OF_PROCESSES = ("embedded", "server", "server")
"""The embedded engine starts anew with each process, which takes longer than most commands."""

_READY: dict[str, ReadyTables] = {}
"""By the class of the engine's client."""

# Examples from a fixed seed, so that a check fails by what was changed and not by luck;
# `make torture` draws new ones (--hypothesis-profile=random).
settings.register_profile("repeatable", derandomize=True, database=None, deadline=None)
settings.register_profile("random", database=None, deadline=None, print_blob=True)
settings.load_profile("repeatable")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave to `make torture` what `make check` has no time for.

    Of a long matrix, `sampled(n)` keeps every n-th case. Where there is a server, a case of both
    engines runs on one of them, always the same, unless it is marked `both_engines`.
    """
    met: Counter[str] = Counter()
    cases = {item.nodeid for item in items}
    for item in items:
        mark = item.get_closest_marker("sampled")
        if mark is not None:
            test = item.nodeid.partition("[")[0]
            if met[test] % mark.args[0]:
                item.add_marker(pytest.mark.torture)
            met[test] += 1
        elif os.environ.get("CLICKHOUSE_BINARY") and not item.get_closest_marker("both_engines"):
            engine = _engine_of(item)
            if engine:
                case = item.nodeid.replace(engine, "", 1)
                turns = ENGINES_OF_PROCESSES if "target" in item.fixturenames else ENGINES
                chosen = turns[zlib.crc32(case.encode()) % len(turns)]
                if chosen != engine and item.nodeid.replace(engine, chosen, 1) in cases:
                    item.add_marker(pytest.mark.torture)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return three workers for two cores: a test often waits for another process."""
    return (os.cpu_count() or 1) * 3 // 2


def pytest_configure() -> None:
    """Make signals end commands under test as usual, also where the tests run in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def _engine_of(item: pytest.Item) -> str | None:
    """Return the engine for which a test is one of two, None where it is not."""
    values = item.callspec.params.values() if hasattr(item, "callspec") else ()
    engines = [value for value in values if isinstance(value, str) and value in ENGINES]
    return engines[0] if len(engines) == 1 else None


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseServer]:
    """A running ClickHouse server; tests that need one skip where there is none."""
    binary = os.environ.get("CLICKHOUSE_BINARY")
    if not binary:
        pytest.skip("no ClickHouse server to test against: CLICKHOUSE_BINARY is not set")
    running = ClickHouseServer(binary, tmp_path_factory.mktemp("clickhouse"))
    running.start()
    yield running
    running.stop()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Callable[..., ClickHouseServer]]:
    """Start servers of the test's own, that it may kill; they stop with the test."""
    binary = os.environ.get("CLICKHOUSE_BINARY")
    if not binary:
        pytest.skip("no ClickHouse server to test against: CLICKHOUSE_BINARY is not set")
    running: list[ClickHouseServer] = []

    def start(folder: Path = tmp_path / "server") -> ClickHouseServer:
        server = ClickHouseServer(binary, folder)
        running.append(server)
        server.start()
        return server

    yield start
    for server in running:
        server.stop()


@pytest.fixture(scope="session")
def server_with_users(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerWithUsers]:
    """A second server, for tests of users, grants and the wrong port."""
    binary = os.environ.get("CLICKHOUSE_BINARY")
    if not binary:
        pytest.skip("no ClickHouse server to test against: CLICKHOUSE_BINARY is not set")
    running = ServerWithUsers(binary, tmp_path_factory.mktemp("clickhouse_users"))
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warehouse]:
    """The embedded engine; one folder a process is all it allows."""
    pytest.importorskip("chdb", reason="the embedded engine is not installed")
    warehouse = open_embedded(tmp_path_factory.mktemp("chdb"))
    yield warehouse
    warehouse.close()


@pytest.fixture(params=["embedded", pytest.param("server", marks=pytest.mark.server)])
def warehouse(request: pytest.FixtureRequest) -> Iterator[Warehouse]:
    """A warehouse on each engine in turn."""
    if request.param == "embedded":
        yield request.getfixturevalue("embedded")
        return
    server: ClickHouseServer = request.getfixturevalue("server")
    opened = open_server(server.url("default"))
    yield opened
    opened.close()


@pytest.fixture
def tables(warehouse: Warehouse) -> Iterator[Tables]:
    """Names in a database of the test's own; the database is not made."""
    names = Tables(f"test_{os.getpid()}_{next(serial)}")
    yield names
    warehouse.command(f"DROP DATABASE IF EXISTS {names.database}")


@pytest.fixture(params=["embedded", pytest.param("server", marks=pytest.mark.server)])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Target]:
    """An empty database on each engine in turn, for commands run as processes."""
    database = f"cli_{os.getpid()}_{next(serial)}"
    if request.param == "embedded":
        pytest.importorskip("chdb", reason="the embedded engine is not installed")
        folder = tmp_path / "chdb"

        def read(sql: str, **params: Any) -> list[tuple[Any, ...]]:
            return embedded_rows(folder, sql.replace("DB.", f"{database}."), params)

        yield Target(f"chdb://{folder}?database={database}", database, read)
        return
    server: ClickHouseServer = request.getfixturevalue("server")
    opened = open_server(server.url("default"))

    def read_server(sql: str, **params: Any) -> list[tuple[Any, ...]]:
        return opened.rows(sql.replace("DB.", f"{database}."), params)

    yield Target(server.url(database), database, read_server)
    opened.command(f"DROP DATABASE IF EXISTS {database}")
    opened.close()


@pytest.fixture(scope="session")
def api_key(tmp_path_factory: pytest.TempPathFactory) -> Account:
    """A key pair: the private key in a file, the public one for the practice exchange."""
    key = Ed25519PrivateKey.generate()
    path = tmp_path_factory.mktemp("key") / "key.pem"
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    path.chmod(0o600)
    return Account(key, path)


@pytest.fixture
def serve(api_key: Account) -> Iterator[Callable[..., PracticeExchange]]:
    """Start practice exchanges that know the key; they stop with the test."""
    running: list[PracticeExchange] = []

    def start(account: PracticeAccount, **options: Any) -> PracticeExchange:
        options.setdefault("enforce_limits", False)
        exchange = PracticeExchange(account=account, keys=api_key.keys, **options)
        exchange.__enter__()
        running.append(exchange)
        return exchange

    yield start
    for exchange in running:
        exchange.__exit__(None, None, None)


@pytest.fixture
def cli(api_key: Account, tmp_path: Path) -> Callable[..., Done]:
    """Run `kalshi-fills` as a process, with a clean environment of its own."""

    def run(
        *words: str,
        url: str | None = None,
        api: str | None = None,
        env: dict[str, str] | None = None,
        timeout: float = 600,
    ) -> Done:
        state = tmp_path / "state"
        variables = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "XDG_STATE_HOME": str(state),
            "PYTHONPATH": str(ROOT),
            "COLUMNS": "100",
            "KALSHI_API_KEY_ID": KEY_ID,
            "KALSHI_PRIVATE_KEY_PATH": str(api_key.path),
        }
        if url:
            variables["CLICKHOUSE_URL"] = url
        if api:
            variables["KALSHI_API_URL"] = api
        variables.update(env or {})
        given = {name: value for name, value in variables.items() if value}
        ended = run_command(words, given, tmp_path, timeout)
        return Done(ended.code, ended.out.decode(), ended.err.decode())

    return run


@pytest.fixture(scope="session")
def release_0_1(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The code of release 0.1."""
    return build_release_0_1(tmp_path_factory.mktemp("release_0_1"))


@pytest.fixture
def older(release_0_1: Path, tmp_path: Path, api_key: Account) -> Callable[..., Done]:
    """Run a command of release 0.1 as a process."""
    return runner(release_0_1, tmp_path, api_key)


@pytest.fixture
def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def desk(
    request: pytest.FixtureRequest,
    warehouse: Warehouse,
    tables: Tables,
    api_key: Account,
    serve: Callable[..., PracticeExchange],
) -> Desk:
    return Desk(warehouse, tables, api_key, serve, lambda: request.getfixturevalue("ready"))


@pytest.fixture
def ready(warehouse: Warehouse) -> Iterator[Tables]:
    """Today's tables without a row; other tests had them before."""
    those = _READY.setdefault(type(warehouse).__name__, ReadyTables())
    yield those.take(warehouse)
    those.give_back(warehouse)


@pytest.fixture
def bench(
    warehouse: Warehouse,
    ready: Tables,
    api_key: Account,
    serve: Callable[..., PracticeExchange],
) -> Bench:
    return Bench(warehouse, ready, api_key, serve, migrated=True)
