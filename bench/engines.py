"""The engines that tables are on, and tables with many rows that the engine makes itself."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlsplit

from bench.measure import run
from kalshi_fills.warehouse.client import Warehouse, lines
from kalshi_fills.warehouse.embedded import open_embedded
from kalshi_fills.warehouse.server import open_server
from tests.support.clickhouse_server import PASSWORD, ClickHouseServer, free_port

SERVER: Final = "server"

CHDB: Final = "chdb"

_ROWS: Final = Path(__file__).with_name("rows.sql")

_PATIENCE_SECONDS: Final = 7200

_FRAGMENTS: Final = Path(__file__).parents[1] / "queries" / "fragments"


class Engine(Protocol):
    """Where databases are made, measured and dropped."""

    @property
    def name(self) -> str:
        """`server` or `chdb`."""

    def url(self, database: str) -> str:
        """Return what `CLICKHOUSE_URL` is for a database."""

    def drop(self, database: str) -> None:
        """Remove a database, where it is there."""


class EmbeddedEngine:
    """chDB, each database in a folder of its own."""

    name = CHDB

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def url(self, database: str) -> str:
        return f"chdb://{self._folder}/chdb_{database}"

    def drop(self, database: str) -> None:
        shutil.rmtree(self._folder / f"chdb_{database}", ignore_errors=True)


class ServerEngine:
    """A server of the benchmarks' own."""

    name = SERVER

    def __init__(self, server: ClickHouseServer, http_port: int) -> None:
        self._server = server
        self.port = server.port
        self.http_port = http_port
        self.password = PASSWORD

    def url(self, database: str) -> str:
        return self._server.url(database)

    def create(self, database: str) -> None:
        """Make a database anew, for those who expect one."""
        self.drop(database)
        self._command(f"CREATE DATABASE {database}")

    def drop(self, database: str) -> None:
        self._command(f"DROP DATABASE IF EXISTS {database} SYNC")

    def _command(self, sql: str) -> None:
        warehouse = open_server(self.url("default"))
        try:
            warehouse.command(sql)
        finally:
            warehouse.close()


@contextmanager
def server_engine(binary: str, folder: Path) -> Iterator[ServerEngine]:
    """Run a server in a folder until the context ends."""
    http_port = free_port()
    server = ClickHouseServer(binary, folder, f"<http_port>{http_port}</http_port>")
    server.start()
    try:
        yield ServerEngine(server, http_port)
    finally:
        server.stop()


def engine_version(url: str) -> str:
    """Return the version of the engine behind a URL; by way of a process of its own."""
    return run([sys.executable, "-m", "bench.engines", "version", url])[1].strip()


def add_rows(url: str, rows: int, oldest: datetime, newest: datetime) -> None:
    """Add so many rows of other fills to a migrated table, spread at random between two times.

    Afterwards all parts are merged, as those of a table are that has stood for a while.
    """
    span = (str(int(oldest.timestamp())), str(int(newest.timestamp())))
    run([sys.executable, "-m", "bench.engines", "rows", url, str(rows), *span])


def _open(url: str) -> tuple[Warehouse, str]:
    """Return the engine behind a URL, and the quoted name of the table of fills."""
    parts = urlsplit(url)
    if parts.scheme == "chdb":
        return open_embedded(Path(parts.path)), "`kalshi`.`mm_fills`"
    # A merge of all parts sends nothing until it is done.
    patient = open_server(f"{url}?send_receive_timeout={_PATIENCE_SECONDS}")
    return patient, f"`{parts.path.strip('/')}`.`mm_fills`"


def _without_comments(path: Path) -> str:
    return re.sub(r"^--[^\n]*\n", "", path.read_text(), flags=re.MULTILINE).strip()


def _rows_statement(table: str, rows: int, oldest: int, newest: int) -> str:
    texts = _without_comments(_FRAGMENTS / "content_texts.sql")
    digest = _without_comments(_FRAGMENTS / "content_digest.sql")
    filled = {
        "table": table,
        "rows": str(rows),
        "newest_us": str(newest * 1_000_000),
        "span_us": str((newest - oldest) * 1_000_000),
        "content_digest": digest.replace("/* include content_texts */", texts),
    }
    return re.sub(
        r"/\* include (\w+) \*/", lambda match: filled[match[1]], _without_comments(_ROWS)
    )


def main() -> None:
    """Do what the functions above ask for, in a process that holds the engine alone."""
    action, url, *rest = sys.argv[1:]
    if url.startswith("chdb"):
        os.umask(0o077)
    warehouse, table = _open(url)
    try:
        if action == "version":
            print(lines(warehouse, "SELECT version()")[0])
        else:
            warehouse.command(_rows_statement(table, *map(int, rest)))
            warehouse.command(f"OPTIMIZE TABLE {table} FINAL")
    finally:
        warehouse.close()


if __name__ == "__main__":
    main()
