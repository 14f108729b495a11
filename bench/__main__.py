"""Speed and memory of the tool, as ratios measured side by side in one run.

    python -m bench            every benchmark
    python -m bench backfill   100,000 fills without limit or latency, against a bare paging loop
    python -m bench paced      a backfill under the Basic tier's limit and 80 ms of latency
    python -m bench nothing    a sync with nothing new against a table of 10 million fills
    python -m bench offline    diagnose --offline over 10 million fills
    python -m bench memory     resident memory of passes over 100 thousand, 1 and 2 million fills

Whole processes are timed, start-up included. A ClickHouse server is used if CLICKHOUSE_BINARY is
set, the embedded engine in any case. Machines are noisy: read the ratios, not the seconds.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from kalshi_fills.practice.account import generate_account
from kalshi_fills.practice.exchange import Limits, PracticeExchange

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from support.clickhouse_server import ClickHouseServer

KEY_ID = "bench-key"
REPEATS = 3

_BARE_LOOP = """
import sys, time, requests
from kalshi_fills.exchange.signing import Signer, read_private_key
url, key_file = sys.argv[1:]
signer = Signer("bench-key", read_private_key(open(key_file).read(), key_file))
session, fills = requests.Session(), 0
for path in ("/portfolio/fills", "/historical/fills"):
    cursor = None
    while cursor != "":
        headers = signer.headers("GET", "/trade-api/v2" + path, int(time.time() * 1000))
        params = {"limit": "1000", **({"cursor": cursor} if cursor else {})}
        page = session.get(url + path, params=params, headers=headers).json()
        fills, cursor = fills + len(page["fills"]), page["cursor"]
print(fills)
"""


_PEAK = """
import resource, subprocess, sys
report, *command = sys.argv[1:]
code = subprocess.run(command).returncode
open(report, "w").write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(code)
"""


class Bench:
    """A folder, a key, and the engines to measure on."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.stack = stack
        self.key = Ed25519PrivateKey.generate()
        self.key_file = folder / "key.pem"
        self.key_file.write_bytes(
            self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
        self.key_file.chmod(0o600)
        self.server: ClickHouseServer | None = None
        if binary := os.environ.get("CLICKHOUSE_BINARY"):
            self.server = ClickHouseServer(binary, folder / "server")
            self.server.start()
            stack.callback(self.server.stop)

    def engines(self) -> list[str]:
        return ["embedded", *(["server"] if self.server else [])]

    def url(self, engine: str, name: str) -> str:
        if engine == "embedded":
            return f"chdb://{self.folder}/chdb_{name}"
        assert self.server is not None
        return self.server.url(name)

    @contextmanager
    def exchange(self, fills: int, **options: object) -> Iterator[PracticeExchange]:
        now = datetime.now(UTC)
        account = generate_account(
            1, fills, start=now - timedelta(days=90), end=now - timedelta(minutes=1)
        )
        options.setdefault("limits", Limits("bench", 10**7, 10**7))
        with PracticeExchange(
            account=account,
            keys={KEY_ID: self.key.public_key()},
            cutoff=now - timedelta(days=60),
            cached_rows=fills,
            **options,
        ) as served:
            yield served

    def run(
        self, *words: str, url: str, api: str = "prod", first: Sequence[str] = ()
    ) -> tuple[float, dict[str, object]]:
        """Run a command, by way of another one where that is given: wall seconds and its JSON."""
        environment = {
            **os.environ,
            "CLICKHOUSE_URL": url,
            "KALSHI_API_URL": api,
            "KALSHI_API_KEY_ID": KEY_ID,
            "KALSHI_PRIVATE_KEY_PATH": str(self.key_file),
            "XDG_STATE_HOME": str(self.folder / "state"),
        }
        began = time.perf_counter()
        done = subprocess.run(
            [*first, sys.executable, "-m", "kalshi_fills", *words, "--format", "json"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        seconds = time.perf_counter() - began
        told = json.loads(done.stdout)
        if done.returncode != 0:
            sys.exit(f"{words}: {told}")
        return seconds, told

    def peak_mib(self, *words: str, url: str, api: str) -> float:
        """Run a command and give its peak resident memory.

        By way of a small process: what this one holds counts for whatever it starts itself.
        """
        report = self.folder / "peak"
        self.run(*words, url=url, api=api, first=(sys.executable, "-c", _PEAK, str(report)))
        return int(report.read_text()) / 1024

    def bare_loop(self, api: str) -> float:
        began = time.perf_counter()
        subprocess.run(
            [sys.executable, "-c", _BARE_LOOP, api, str(self.key_file)],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        return time.perf_counter() - began


def backfill(bench: Bench) -> None:
    with bench.exchange(100_000) as served:
        bench.bare_loop(served.url)
        for engine in bench.engines():
            ratios = []
            for repeat in range(REPEATS):
                url = bench.url(engine, f"backfill{repeat}")
                bench.run("migrate", url=url)
                seconds, told = bench.run("sync", "--rate-share", "1", url=url, api=served.url)
                assert told["stages"]["n_inserted"] == 100_000
                ratios.append(seconds / bench.bare_loop(served.url))
            say("backfill", engine, "x the bare paging loop", statistics.median(ratios), 2.5)


def paced(bench: Bench) -> None:
    fills = 100_000
    limits = Limits("basic", 200, 600)
    with bench.exchange(fills, limits=limits, enforce_limits=True, latency_seconds=0.08) as served:
        url = bench.url("embedded", "paced")
        bench.run("migrate", url=url)
        seconds, _ = bench.run("sync", "--rate-share", "1", url=url, api=served.url)
        pages = sum(served.requests[path] for path in ("/portfolio/fills", "/historical/fills"))
        ratio = seconds / (pages / 20)
        say("paced", "embedded", "x pages / allowed rate", ratio, 1.10)
        say("paced", "embedded", "answers 429", served.throttled, 0)


def nothing(bench: Bench) -> None:
    rows = 10_000_000
    with bench.exchange(2_000) as served:
        for engine in bench.engines():
            url = bench.url(engine, "nothing")
            bench.run("migrate", url=url)
            bench.run("sync", "--rate-share", "1", url=url, api=served.url)
            _fill_table(engine, url, rows)
            seconds = [
                bench.run("sync", "--rate-share", "1", url=url, api=served.url)[0]
                for _ in range(REPEATS)
            ]
            say("nothing new", engine, f"s over {rows:,} rows", statistics.median(seconds), 1.0)


def offline(bench: Bench) -> None:
    rows = 10_000_000
    for engine in bench.engines():
        url = bench.url(engine, "offline")
        bench.run("migrate", url=url)
        _fill_table(engine, url, rows)
        seconds = [bench.run("diagnose", "--offline", url=url)[0] for _ in range(REPEATS)]
        say("offline", engine, f"s over {rows:,} rows", statistics.median(seconds), 5.0)


def memory(bench: Bench) -> None:
    peaks: dict[tuple[str, int], float] = {}
    sizes = (100_000, 1_000_000, 2_000_000)
    for fills in sizes:
        with bench.exchange(fills) as served:
            for engine in bench.engines():
                url = bench.url(engine, f"memory{fills}")
                bench.run("migrate", url=url)
                peaks[engine, fills] = bench.peak_mib(
                    "sync", "--rate-share", "1", url=url, api=served.url
                )
    for engine in bench.engines():
        # In the process of the embedded engine no one can tell whose memory it is.
        goal = 50 if engine == "server" else math.inf
        for fills in sizes[1:]:
            grown = peaks[engine, fills] - peaks[engine, sizes[0]]
            unit = f"MiB more at {fills:,} than at {sizes[0]:,} ({peaks[engine, sizes[0]]:.0f} MiB)"
            say("memory", engine, unit, grown, goal)


def _fill_table(engine: str, url: str, rows: int) -> None:
    statement = f"""
        INSERT INTO {{table}} (ts, fill_id, exchange_order_id, market_ticker, side, action,
            outcome_side, book_side, price_cents, yes_price_dollars, no_price_dollars, size,
            fee_dollars, source, version)
        SELECT now64(6, 'UTC') - toIntervalSecond(7200 + number * 20 + rand() % 600),
            toString(generateUUIDv4()),
            toString(cityHash64(intDiv(number, 3))),
            concat('KXBENCH-', toString(intDiv(number, 500))),
            'yes', 'buy', 'yes', 'bid', 55, 0.55, 0.45, 1, 0.01, 'live', 1
        FROM numbers({rows})"""
    code = (
        "import sys; from pathlib import Path; from urllib.parse import urlsplit\n"
        "from kalshi_fills.warehouse.embedded import open_embedded\n"
        "from kalshi_fills.warehouse.server import open_server\n"
        "url, sql = sys.argv[1:]; parts = urlsplit(url)\n"
        "w = open_embedded(Path(parts.path)) if parts.scheme == 'chdb' else open_server(url)\n"
        "w.command(sql); w.close()\n"
    )
    database = "kalshi" if engine == "embedded" else urlsplit(url).path.strip("/")
    filled = statement.replace("{table}", f"{database}.mm_fills")
    subprocess.run([sys.executable, "-c", code, url, filled], check=True)


def say(name: str, engine: str, unit: str, value: float, goal: float) -> None:
    print(f"{name:12} {engine:9} {value:10.2f} {unit} (goal: at most {goal:g})", flush=True)


BENCHMARKS: dict[str, Callable[[Bench], None]] = {
    "backfill": backfill,
    "paced": paced,
    "nothing": nothing,
    "offline": offline,
    "memory": memory,
}


def main() -> None:
    wanted = sys.argv[1:] or list(BENCHMARKS)
    folder = Path(tempfile.mkdtemp(prefix="kalshi-fills-bench-"))
    try:
        with ExitStack() as stack:
            bench = Bench(folder, stack)
            for name in wanted:
                BENCHMARKS[name](bench)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
