"""sync is killed at random moments, its server in mid-insert, and it is started twice at once."""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.clickhouse_server import ClickHouseServer
from support.commandline import KEY_ID, ROOT, Account, Done, Target
from support.faulty import COLUMNS, UNLIMITED, assert_failed, assert_the_truth, stored
from support.settling import SETTLED_COLUMNS, settled_truth

from kalshi_fills.practice.account import PracticeAccount, generate_account
from kalshi_fills.practice.exchange import PracticeExchange
from kalshi_fills.warehouse.server import open_server

pytestmark = pytest.mark.both_engines

Cli = Callable[..., Done]
Serve = Callable[..., PracticeExchange]
Start = Callable[..., subprocess.Popen[str]]

DAY = timedelta(days=1)
FINGERPRINT = (
    "SELECT count(), uniqExact(fill_id, exchange_order_id), "
    f"sum(cityHash64(toString(tuple({COLUMNS})))) FROM DB.mm_fills FINAL"
)

SETTLED = (
    "SELECT count(), uniqExact(market_ticker, subaccount_number), "
    f"sum(cityHash64(toString(tuple({SETTLED_COLUMNS})))) FROM DB.mm_fills_settlements FINAL"
)
TABLES = ("", "_rejected", "_runs", "_settlements")

SYNC = ("sync", "--format", "json")

server_only = pytest.mark.parametrize(
    "target", [pytest.param("server", marks=pytest.mark.server)], indirect=True
)


def account_of(fills: int, now: datetime) -> PracticeAccount:
    return generate_account(17, fills, start=now - 200 * DAY, end=now - DAY).settled(0.7)


@pytest.fixture
def start(api_key: Account, tmp_path: Path) -> Iterator[Start]:
    """Start `kalshi-fills sync` without waiting for it; what is left of it ends with the test."""
    running: list[subprocess.Popen[str]] = []

    def run(
        url: str, api: str, *words: str, state: str = "state", host: str = ""
    ) -> subprocess.Popen[str]:
        variables = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "XDG_STATE_HOME": str(tmp_path / state),
            "PYTHONPATH": str(ROOT),
            "KALSHI_API_KEY_ID": KEY_ID,
            "KALSHI_PRIVATE_KEY_PATH": str(api_key.path),
            "CLICKHOUSE_URL": url,
            "KALSHI_API_URL": api,
        }
        process = subprocess.Popen(
            [*renamed(host), sys.executable, "-m", "kalshi_fills", *SYNC, *words],
            env=variables,
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        return process

    yield run
    for process in running:
        process.kill()
        process.communicate()


def renamed(host: str) -> list[str]:
    """Return what makes a command believe that its host has that name."""
    if not host:
        return []
    prefix = ["unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', host]
    try:
        subprocess.run([*prefix, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("a process cannot be given another host name here")
    return prefix


def ended(process: subprocess.Popen[str], seconds: float = 3000) -> Done:
    out, err = process.communicate(timeout=seconds)
    return Done(process.returncode, out, err)


def wait_for(what: Callable[[], bool], seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.002)


# The process is killed


class Backfill:
    """An account's first sync, into empty tables each time, killed at random moments."""

    def __init__(self, target: Target, start: Start, cli: Cli, folder: Path) -> None:
        self._target = target
        self._start = start
        self._random = random.Random(target.url.partition(":")[0])
        kinds = ("writing the rest", "any moment", "writing the rest", "reading")
        self._kinds = itertools.cycle(kinds)
        self._folder = folder
        self._kept = folder.with_name("kept")
        assert cli("migrate", url=target.url).code == 0
        if self._embedded:
            shutil.copytree(folder, self._kept, symlinks=True)
        self.left: Counter[str] = Counter()
        """What the kills left behind."""
        self.through = 0
        """Runs that were through before the kill came."""
        self.truth: list[tuple[Any, ...]] = []

    @property
    def _embedded(self) -> bool:
        return self._target.url.startswith("chdb")

    def reset(self) -> None:
        if self._embedded:
            shutil.rmtree(self._folder)
            shutil.copytree(self._kept, self._folder, symlinks=True)
            return
        for suffix in TABLES:
            self._target.read(f"TRUNCATE TABLE DB.mm_fills{suffix}")

    def measure(self, exchange: PracticeExchange, account: PracticeAccount) -> None:
        """Wait for one run to end by itself, to know how long its parts take and what it leaves."""
        self._exchange, self._fills = exchange, len(account.fills)
        began = time.monotonic()
        process = self._start(self._target.url, exchange.url)
        served = exchange.served_items
        wait_for(lambda: exchange.served_items - served >= self._fills)
        self._read = time.monotonic() - began
        assert ended(process).code == 0
        self._all = time.monotonic() - began
        assert_the_truth(stored(self._target), account)
        assert settled(self._target) == settled_truth(exchange)
        self.truth = self._what_is_stored()

    def _what_is_stored(self) -> list[tuple[Any, ...]]:
        return self._target.read(FINGERPRINT) + self._target.read(SETTLED)

    def kill_one(self) -> bool:
        """Start a run and kill it: at any moment, while it reads, or while it writes the rest.

        Returns:
            Whether it was still alive then.
        """
        served = self._exchange.served_items
        process = self._start(self._target.url, self._exchange.url)
        kind = self._random.random()
        if kind < 0.3:
            time.sleep(self._random.uniform(0.1, self._all))
        else:
            share = self._random.random() if kind < 0.6 else 1.0
            wait_for(
                lambda: (
                    self._exchange.served_items - served >= share * self._fills
                    or process.poll() is not None
                )
            )
            if share == 1.0:
                time.sleep(self._random.uniform(0, self._all - self._read))
        process.kill()
        process.communicate()
        assert process.returncode in (-signal.SIGKILL, 0)
        if process.returncode == 0:
            self.through += 1
            self._all = max(self._read, 0.95 * self._all)  # they have become faster
            return False
        # That this can be asked at all shows that the folder opens.
        ((rows,),) = self._target.read("SELECT count() FROM DB.mm_fills FINAL")
        self.left["nothing" if not rows else "all" if rows == self._fills else "some"] += 1
        return True

    def finish(self) -> None:
        done = ended(self._start(self._target.url, self._exchange.url))
        assert done.code == 0, done.err
        if self._what_is_stored() != self.truth:
            pytest.fail(f"after {self.left}: {self._what_is_stored()} != {self.truth}")
        runs = self._target.read(
            "SELECT status, count() FROM DB.mm_fills_runs FINAL GROUP BY status"
        )
        assert dict(runs).keys() <= {"done", "failed"}


def kills_and_reruns(
    backfill: Backfill, serve: Serve, account: PracticeAccount, *, kills: int, in_a_row: int
) -> None:
    exchange = serve(account, limits=UNLIMITED)
    backfill.measure(exchange, account)
    left = kills
    # A fast machine may end runs before the kill comes: those count little, but not for ever.
    while left > 0 and backfill.through < 3 * kills:
        backfill.reset()
        for _ in range(min(left, in_a_row)):
            left -= backfill.kill_one()
        backfill.finish()
    print(f"kills left behind {dict(backfill.left)}; {backfill.through} runs were through before")
    again = ended(backfill._start(backfill._target.url, exchange.url, "--full"))
    assert again.json["stages"]["n_inserted"] == 0
    assert (again.json["settlements"]["n_new"], again.json["settlements"]["n_corrected"]) == (0, 0)
    assert settled(backfill._target) == settled_truth(exchange)
    assert_the_truth(stored(backfill._target), account)


def settled(target: Target) -> list[tuple[Any, ...]]:
    return target.read(f"SELECT {SETTLED_COLUMNS} FROM DB.mm_fills_settlements FINAL ORDER BY ALL")


@pytest.mark.sampled(2)
def test_killed_among_the_settlements_it_loses_and_doubles_none(
    cli: Cli, start: Start, target: Target, serve: Serve, now: datetime
) -> None:
    account = account_of(400, now)
    exchange = serve(account, limits=UNLIMITED, largest_page=20)
    assert cli("migrate", url=target.url).code == 0
    answer = exchange._private["/portfolio/settlements"]
    left = 0
    reached, killed = threading.Event(), threading.Event()

    def waits_for_the_end(request: Any) -> Any:
        nonlocal left
        left -= 1
        if left == 0:
            reached.set()
            assert killed.wait(60)
        return answer(request)

    exchange._private["/portfolio/settlements"] = waits_for_the_end
    for pages in (1, 4):
        left = pages
        reached.clear()
        killed.clear()
        process = start(target.url, exchange.url)
        assert reached.wait(60)
        process.kill()
        process.communicate()
        killed.set()

    done = ended(start(target.url, exchange.url))

    assert done.code == 0, done.err
    assert done.json["notes"] == []
    assert done.json["stages"]["n_new"] == 0
    assert_the_truth(stored(target), account)
    found = settled(target)
    assert found == settled_truth(exchange)
    assert len(found) > 80
    states = target.read("SELECT status, count() FROM DB.mm_fills_runs FINAL GROUP BY status")
    assert dict(states) == {"failed": 2, "done": 1}


@pytest.fixture
def backfill(target: Target, start: Start, cli: Cli, tmp_path: Path) -> Backfill:
    return Backfill(target, start, cli, tmp_path / "chdb")


@pytest.mark.sampled(2)
def test_killed_at_three_moments_of_a_backfill_it_loses_and_doubles_nothing(
    backfill: Backfill, serve: Serve, now: datetime
) -> None:
    kills_and_reruns(backfill, serve, account_of(3_000, now), kills=3, in_a_row=3)

    assert backfill.left.total() > 0


@pytest.mark.torture
@pytest.mark.timeout(7200)
def test_killed_at_a_hundred_moments_of_a_backfill_it_loses_and_doubles_nothing(
    backfill: Backfill, serve: Serve, now: datetime
) -> None:
    kills_and_reruns(backfill, serve, account_of(100_000, now), kills=100, in_a_row=1)

    assert backfill.left.total() == 100
    assert {"nothing", "some"} <= backfill.left.keys()


# The server is killed


class Wire:
    """What lies between the tool and a server: it counts bytes and kills the server at one."""

    def __init__(self, server: ClickHouseServer | Frozen) -> None:
        self._server = server
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.sent = 0
        """Bytes that went to the server."""
        self.deadly = 0
        """The server is killed when as many have gone; 0 spares it."""
        self.wait_seconds = 0.0
        """How long the server may go on with them before."""
        self.killed = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    server = socket.create_connection(("127.0.0.1", self._server.port), timeout=5)
                except OSError:
                    client.close()
                    continue
                server.settimeout(None)
                for ends in ((client, server, True), (server, client, False)):
                    threading.Thread(target=self._pass, args=ends, daemon=True).start()

    def _pass(self, source: socket.socket, to: socket.socket, counted: bool) -> None:
        with suppress(OSError):
            while block := source.recv(1 << 14):
                to.sendall(block)
                if counted:
                    self._count(len(block))
        for end in (source, to):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        source.close()

    def _count(self, size: int) -> None:
        with self._lock:
            self.sent += size
            if self.deadly and self.sent >= self.deadly:
                self.deadly = 0
                time.sleep(self.wait_seconds)
                self._server.kill()
                self.killed.set()


def server_kills(
    own_server: Callable[..., ClickHouseServer],
    start: Start,
    serve: Serve,
    cli: Cli,
    account: PracticeAccount,
    kills: int,
) -> None:
    server = own_server()
    database = "kalshi"

    def read(sql: str) -> list[tuple[Any, ...]]:
        with closing(open_server(server.url(database))) as opened:
            return opened.rows(sql.replace("DB.", f"{database}."))

    def truncate() -> None:
        for suffix in TABLES:
            read(f"TRUNCATE TABLE DB.mm_fills{suffix}")

    rng = random.Random(20)
    exchange = serve(account, limits=UNLIMITED)
    assert cli("migrate", url=server.url(database)).code == 0
    codes: Counter[int] = Counter()
    with closing(Wire(server)) as wire:
        url = server.url(database).replace(f":{server.port}/", f":{wire.port}/")
        assert ended(start(url, exchange.url)).code == 0
        assert_the_truth(read(f"SELECT {COLUMNS} FROM DB.mm_fills FINAL"), account)
        whole, truth, settlements = wire.sent, read(FINGERPRINT), read(SETTLED)
        for _ in range(kills):
            truncate()
            wire.sent, wire.deadly = 0, int(rng.uniform(0.05, 1.0) * whole)
            wire.wait_seconds = rng.choice((0.0, 0.0, rng.uniform(0, 0.2)))
            wire.killed.clear()
            process = start(url, exchange.url)
            assert wire.killed.wait(300)
            time.sleep(rng.uniform(0, 2))
            server.start()
            done = ended(process)
            codes[done.code] += 1
            if done.code != 0:
                assert_failed(done, 5)
            again = cli("sync", "--format", "json", url=server.url(database), api=exchange.url)
            assert again.code == 0, again.err
            assert read(SETTLED) == settlements
            if read(FINGERPRINT) != truth:
                assert_the_truth(read(f"SELECT {COLUMNS} FROM DB.mm_fills FINAL"), account)
                pytest.fail("the table is not what it was")
            states = {status for (status,) in read("SELECT status FROM DB.mm_fills_runs FINAL")}
            assert states <= {"done", "failed"}
    print(f"{kills} server kills: the runs ended with {dict(codes)}")
    # Most are in mid-insert, after which the run itself finds out what was stored, and goes on.
    assert codes[0] > 0 or kills < 10


@pytest.mark.server
def test_the_server_killed_twice_in_mid_insert_loses_and_doubles_nothing(
    own_server: Any, start: Start, serve: Serve, cli: Cli, now: datetime
) -> None:
    server_kills(own_server, start, serve, cli, account_of(3_000, now), kills=2)


@pytest.mark.server
@pytest.mark.torture
@pytest.mark.timeout(3600)
def test_the_server_killed_twenty_times_in_mid_insert_loses_and_doubles_nothing(
    own_server: Any, start: Start, serve: Serve, cli: Cli, now: datetime
) -> None:
    server_kills(own_server, start, serve, cli, account_of(100_000, now), kills=20)


# Asked to end


class Frozen:
    """A server that, when it is to be killed, goes silent instead."""

    def __init__(self, server: ClickHouseServer) -> None:
        self._server = server
        self.port = server.port

    def kill(self) -> None:
        self._server.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._server.signal(signal.SIGCONT)


@pytest.mark.sampled(2)
@pytest.mark.server
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_end_it_does_not_wait_for_a_server_that_is_silent_in_mid_insert(
    own_server: Any, start: Start, serve: Serve, cli: Cli, now: datetime, number: signal.Signals
) -> None:
    account = account_of(5_000, now)
    server = own_server()
    frozen = Frozen(server)
    url = server.url("kalshi")
    exchange = serve(account, limits=UNLIMITED)
    assert cli("migrate", url=url).code == 0
    with closing(Wire(frozen)) as wire:
        wire.deadly = sum(len(fill.payload_json("current")) for fill in account.fills[:2_000])
        process = start(url.replace(f":{server.port}/", f":{wire.port}/"), exchange.url)
        assert wire.killed.wait(300)
        time.sleep(0.5)

        process.send_signal(number)
        began = time.monotonic()
        done = ended(process)

        assert time.monotonic() - began < 120  # it would wait for five minutes
        assert_failed(done, 130)
        frozen.thaw()
    assert cli("sync", url=url, api=exchange.url).code == 0
    with closing(open_server(url)) as opened:
        assert_the_truth(opened.rows(f"SELECT {COLUMNS} FROM kalshi.mm_fills FINAL"), account)
        states = opened.rows("SELECT status FROM kalshi.mm_fills_runs FINAL ORDER BY started_at")
    assert states == [("failed",), ("done",)]


# Two at once


@pytest.mark.sampled(2)
def test_of_two_syncs_on_one_host_the_second_ends_with_75_and_the_first_is_right(
    cli: Cli, start: Start, target: Target, serve: Serve, now: datetime
) -> None:
    assert cli("migrate", url=target.url).code == 0
    account = account_of(2_500, now)
    exchange = serve(account, limits=UNLIMITED, latency_seconds=0.4, largest_page=500)
    first = start(target.url, exchange.url)
    wait_for(lambda: exchange.requests["/portfolio/fills"] >= 1)
    first.send_signal(signal.SIGSTOP)  # however long the second takes to start

    second = ended(start(target.url, exchange.url))

    assert first.poll() is None
    first.send_signal(signal.SIGCONT)
    assert f"process {first.pid}" in assert_failed(second, 75)
    done = ended(first)
    assert done.code == 0, done.err
    assert_the_truth(stored(target), account)
    assert target.read("SELECT status, n_new FROM DB.mm_fills_runs FINAL") == [("done", 2_500)]


@pytest.mark.torture
@pytest.mark.sampled(2)
@server_only
@pytest.mark.parametrize("host", ["", "another-host"], ids=["same host", "another host"])
def test_two_syncs_with_a_lock_folder_each_both_end_well_and_the_table_is_right(
    cli: Cli, start: Start, target: Target, serve: Serve, now: datetime, host: str
) -> None:
    assert cli("migrate", url=target.url).code == 0
    account = account_of(4_000, now)
    exchange = serve(account, limits=UNLIMITED, latency_seconds=0.2)
    first = start(target.url, exchange.url, state="one")
    wait_for(lambda: exchange.requests["/portfolio/fills"] >= 1)
    second = start(target.url, exchange.url, state="other", host=host)
    both = [ended(first), ended(second)]

    for done in both:
        assert done.code == 0, done.err
        assert done.json["breaks"] == []
    assert_the_truth(stored(target), account)
    ledger = target.read(
        "SELECT toString(run_id), status, started_at, finished_at, host "
        "FROM DB.mm_fills_runs FINAL ORDER BY started_at"
    )
    assert [row[:2] for row in ledger] == [(done.json["run_id"], "done") for done in both]
    assert ledger[1][2] < ledger[0][3]  # they did overlap
    if host:
        assert [row[4] for row in ledger] == [socket.gethostname(), host]
        told = [json.loads(line) for line in both[1].err.splitlines()]
        assert any(
            line["level"] == "warning" and both[0].json["run_id"] in line.values() for line in told
        )


@server_only
def test_of_two_syncs_with_a_lock_folder_each_one_may_be_killed(
    cli: Cli, start: Start, target: Target, serve: Serve, now: datetime
) -> None:
    assert cli("migrate", url=target.url).code == 0
    account = account_of(2_500, now)
    exchange = serve(account, limits=UNLIMITED, latency_seconds=0.2, largest_page=250)
    killed = start(target.url, exchange.url, state="one")
    wait_for(lambda: exchange.served_items >= 250)
    killed.send_signal(signal.SIGSTOP)  # in mid-pass, until the other is, too
    other = start(target.url, exchange.url, state="other")
    wait_for(lambda: exchange.served_items >= 1_000)

    killed.kill()
    killed.communicate()
    done = ended(other)

    assert done.code == 0, done.err
    assert_the_truth(stored(target), account)
    assert cli("sync", url=target.url, api=exchange.url).code == 0
    states = target.read("SELECT status, count() FROM DB.mm_fills_runs FINAL GROUP BY status")
    assert dict(states) == {"failed": 1, "done": 2}
