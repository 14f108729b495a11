"""What benchmarks share: a folder, a key, accounts, engines, the tool's commands, the results."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from bench.account import About, make_account
from bench.competitors import Installed
from bench.engines import Engine, ServerEngine
from bench.exchange import KEY_ID, NEARBY_SECONDS, UNLIMITED, Limits, Served, serving
from bench.measure import Cost, Failed, run
from bench.results import Result
from kalshi_fills.practice.account import Eras

IMPORTS: Final = "import typer, rich, requests, clickhouse_driver"
"""What a command cannot do without; the yardstick for commands that have little to do."""


class Setting:
    """Everything that a benchmark needs.

    Args:
        folder: for files that are removed afterwards.
        engines: what to measure on.
        runs: how many rounds.
        scale: by which all counts of fills and rows are multiplied.
        large: whether the sizes are measured, too, that take very long.
    """

    def __init__(
        self, folder: Path, engines: Sequence[Engine], *, runs: int, scale: float, large: bool
    ) -> None:
        self.folder = folder
        self.engines = engines
        self.runs = runs
        self.large = large
        self.competitors: Sequence[Installed] = ()
        self.results: list[Result] = []
        self.now = datetime.now(UTC).replace(microsecond=0)
        self.key_file = folder / "key.pem"
        self._scale = scale
        self.large_tables: set[tuple[str, int]] = set()
        """By engine and rows, the tables that are made already."""
        self._accounts: dict[str, About] = {}
        self._make_key()

    def _make_key(self) -> None:
        # RSA, since not all competitors take another kind.
        key = generate_private_key(public_exponent=65537, key_size=2048)
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        self.key_file.touch(mode=0o600)
        self.key_file.write_bytes(pem)

    @property
    def server(self) -> ServerEngine | None:
        """The server, where there is one."""
        return next((each for each in self.engines if isinstance(each, ServerEngine)), None)

    def count(self, count: int) -> int:
        """Return a count of fills or rows as it is measured this time."""
        return max(1, round(count * self._scale))

    def say(self, line: str) -> None:
        """Print a line at once."""
        print(line, flush=True)

    def report(
        self,
        benchmark: str,
        engine: str,
        measured: str,
        values: Sequence[float],
        goal: float | None = None,
        *,
        places: int = 2,
    ) -> None:
        """Print a figure and keep it for the table."""
        result = Result(benchmark, engine, measured, values, goal, places)
        self.results.append(result)
        self.say(result.line)

    def account(
        self,
        name: str,
        fills: int,
        *,
        span: timedelta = timedelta(days=90),
        live: timedelta = timedelta(days=60),
        eras: Eras = "current",
        with_orders: bool = False,
    ) -> About:
        """Make an account, unless one of that name is made already; it ends a minute ago."""
        if name not in self._accounts:
            end = self.now - timedelta(minutes=1)
            self._accounts[name] = make_account(
                self.folder / name,
                fills,
                start=end - span,
                end=end,
                cutoff=self.now - live,
                eras=eras,
                with_orders=with_orders,
            )
        return self._accounts[name]

    def serve(
        self, name: str, *, latency_seconds: float = NEARBY_SECONDS, limits: Limits = UNLIMITED
    ) -> AbstractContextManager[Served]:
        """Serve an account that is made already."""
        return serving(
            self.folder / name, self.key_file, latency_seconds=latency_seconds, limits=limits
        )

    def tool(
        self, *words: str, url: str, api: str = "prod", accepted: Collection[int] = (0,)
    ) -> tuple[Cost, Any]:
        """Run one of the tool's commands; return what it cost and the JSON that it printed.

        Raises:
            Failed: it ended with another exit code than those accepted.
        """
        environment = {
            **os.environ,
            "CLICKHOUSE_URL": url,
            "KALSHI_API_URL": api,
            "KALSHI_API_KEY_ID": KEY_ID,
            "KALSHI_PRIVATE_KEY_PATH": str(self.key_file),
            "XDG_STATE_HOME": str(self.folder / "state"),
        }
        command = [sys.executable, "-m", "kalshi_fills", *words, "--format", "json"]
        cost, printed = run(command, environment, accepted=accepted)
        return cost, json.loads(printed)

    def fresh(self, engine: Engine, database: str) -> str:
        """Return the URL of a database with empty tables."""
        engine.drop(database)
        url = engine.url(database)
        self.tool("migrate", url=url)
        return url

    def sync(self, url: str, api: str, *words: str, inserts: int) -> Cost:
        """Run a sync that may use all of the rate limit, and that inserts so many fills.

        Raises:
            Failed: it ended with an error or inserted another number of fills.
        """
        cost, printed = self.tool("sync", "--rate-share", "1", *words, url=url, api=api)
        if printed["stages"]["n_inserted"] != inserts:
            raise Failed(f"sync was to insert {inserts:,} fills: {printed['stages']}")
        return cost

    def first_sync(self, engine: Engine, api: str, fills: int) -> Cost:
        """Return what a sync into empty tables costs; the tables are gone afterwards."""
        url = self.fresh(engine, "first_sync")
        cost = self.sync(url, api, inserts=fills)
        engine.drop("first_sync")
        return cost

    def bare_loop(self, api: str, fills: int) -> Cost:
        """Return what it costs to page through so many fills and store nothing.

        Raises:
            Failed: there is another number of fills.
        """
        script = [sys.executable, "-m", "bench.contestants.bare_loop"]
        cost, printed = run([*script, api, KEY_ID, str(self.key_file)])
        if int(printed) != fills:
            raise Failed(f"the bare loop was to read {fills:,} fills: {printed}")
        return cost

    def imports(self) -> Cost:
        """Return what it costs to import what a command cannot do without."""
        return run([sys.executable, "-c", IMPORTS])[0]


def ratios(costs: Sequence[Cost], others: Sequence[Cost]) -> Sequence[float]:
    """Return what one cost in each round as a multiple of what another did in the same round."""
    return [cost.wall / other.wall for cost, other in zip(costs, others, strict=True)]


def walls(costs: Sequence[Cost]) -> Sequence[float]:
    """Return the seconds of each round."""
    return [cost.wall for cost in costs]
