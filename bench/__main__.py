"""Speed and memory of the tool, as ratios measured side by side in one run.

    python -m bench            every benchmark
    python -m bench backfill   100,000 fills without limit or latency, against a bare paging loop
    python -m bench paced      a backfill under the Basic tier's limit and 80 ms of latency
    python -m bench nothing    a sync with nothing new against a table of 10 million fills
    python -m bench memory     resident memory of a pass over 100 thousand and 2 million fills

Whole processes are timed, start-up included. A ClickHouse server is used if CLICKHOUSE_BINARY is
set, the embedded engine in any case. Machines are noisy: read the ratios, not the seconds.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from kalshi_fills.practice.account import generate_account
from kalshi_fills.practice.exchange import Limits, PracticeExchange

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from clickhouse_server import ClickHouseServer

KEY_ID = "bench-key"
REPEATS = 3

_BARE_LOOP = """
import sys, time, requests
from kalshi_fills.signing import Signer, read_private_key
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

    def run(self, *words: str, url: str, api: str = "prod") -> tuple[float, int, dict[str, object]]:
        """Run a command: wall seconds, peak resident KiB, and its JSON."""
        environment = {
            **os.environ,
            "CLICKHOUSE_URL": url,
            "KALSHI_API_URL": api,
            "KALSHI_API_KEY_ID": KEY_ID,
            "KALSHI_PRIVATE_KEY_PATH": str(self.key_file),
            "XDG_STATE_HOME": str(self.folder / "state"),
        }
        began = time.perf_counter()
        with subprocess.Popen(
            [sys.executable, "-m", "kalshi_fills", *words, "--format", "json"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as process:
            assert process.stdout is not None
            out = process.stdout.read()
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - began
        told = json.loads(out)
        if process.returncode != 0:
            sys.exit(f"{words}: {told}")
        return seconds, usage.ru_maxrss, told

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
                seconds, _, told = bench.run("sync", "--rate-share", "1", url=url, api=served.url)
                assert told["stages"]["n_inserted"] == 100_000
                ratios.append(seconds / bench.bare_loop(served.url))
            say("backfill", engine, "x the bare paging loop", statistics.median(ratios), 2.5)


def paced(bench: Bench) -> None:
    fills = 100_000
    limits = Limits("basic", 200, 600)
    with bench.exchange(fills, limits=limits, enforce_limits=True, latency_seconds=0.08) as served:
        url = bench.url("embedded", "paced")
        bench.run("migrate", url=url)
        seconds, _, _ = bench.run("sync", "--rate-share", "1", url=url, api=served.url)
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


def memory(bench: Bench) -> None:
    peaks = {}
    for fills in (100_000, 2_000_000):
        with bench.exchange(fills) as served:
            engine = bench.engines()[-1]
            url = bench.url(engine, f"memory{fills}")
            bench.run("migrate", url=url)
            _, peaks[fills], _ = bench.run("sync", "--rate-share", "1", url=url, api=served.url)
    grown = (peaks[2_000_000] - peaks[100_000]) / 1024
    say("memory", bench.engines()[-1], "MiB more at 2,000,000 than at 100,000", grown, 50)


def _fill_table(engine: str, url: str, rows: int) -> None:
    statement = f"""
        INSERT INTO {{table}} (ts, fill_id, exchange_order_id, market_ticker, side, action,
            outcome_side, book_side, price_cents, yes_price_dollars, no_price_dollars, size,
            fee_dollars, source, version)
        SELECT now64(6, 'UTC') - toIntervalSecond(7200 + number * 20), toString(generateUUIDv4()),
            toString(cityHash64(intDiv(number, 3))),
            concat('KXBENCH-', toString(intDiv(number, 500))),
            'yes', 'buy', 'yes', 'bid', 55, 0.55, 0.45, 1, 0.01, 'live', 1
        FROM numbers({rows})"""
    code = (
        "import sys; from pathlib import Path; from urllib.parse import urlsplit\n"
        "from kalshi_fills.warehouse import open_embedded, open_server\n"
        "url, sql = sys.argv[1:]; parts = urlsplit(url)\n"
        "w = open_embedded(Path(parts.path)) if parts.scheme == 'chdb' else open_server(url)\n"
        "w.command(sql); w.close()\n"
    )
    database = "kalshi" if engine == "embedded" else "nothing"
    filled = statement.replace("{table}", f"{database}.mm_fills")
    subprocess.run([sys.executable, "-c", code, url, filled], check=True)


def say(name: str, engine: str, unit: str, value: float, goal: float) -> None:
    print(f"{name:12} {engine:9} {value:10.2f} {unit} (goal: at most {goal:g})", flush=True)


BENCHMARKS: dict[str, Callable[[Bench], None]] = {
    "backfill": backfill,
    "paced": paced,
    "nothing": nothing,
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
