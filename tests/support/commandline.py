"""The command line as a process, and what it is pointed at."""

from __future__ import annotations

import itertools
import json
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from support.clickhouse_server import ClickHouseServer, free_port
from support.warm import run_code

ROOT = Path(__file__).parents[2]

KEY_ID = "practice-key-id"

serial = itertools.count(1)


class ServerWithUsers(ClickHouseServer):
    """A server that also speaks HTTP and on which users can be made."""

    def __init__(self, binary: str, folder: Path) -> None:
        self.http_port = free_port()
        super().__init__(
            binary,
            folder,
            f"<http_port>{self.http_port}</http_port><user_directories><users_xml>"
            "<path>config.xml</path></users_xml><memory/></user_directories>",
        )


@dataclass
class Target:
    """Where the command line is pointed: an engine, as an URL, and how to read it afterwards."""

    url: str
    database: str
    read: Callable[..., list[tuple[Any, ...]]]


def embedded_rows(folder: Path, sql: str, params: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Read a folder of the embedded engine, of which a process is allowed one: so in another."""
    code = (
        "import sys, pickle; from pathlib import Path;"
        "from kalshi_fills.warehouse.embedded import open_embedded;"
        "folder, sql, params = pickle.load(sys.stdin.buffer);"
        "w = open_embedded(Path(folder)); pickle.dump(w.rows(sql, params), sys.stdout.buffer)"
    )
    ended = run_code(code, pickle.dumps((str(folder), sql, params)))
    assert ended.code == 0, ended.err.decode()
    rows: list[tuple[Any, ...]] = pickle.loads(ended.out)
    return rows


def run_statement(target: Target, statement: str) -> None:
    """Run one statement, in a process of its own: of the embedded engine only one is allowed."""
    code = (
        "import sys, pickle; from pathlib import Path; from urllib.parse import urlsplit;"
        "from kalshi_fills.warehouse.embedded import open_embedded;"
        "from kalshi_fills.warehouse.server import open_server;"
        "url, statement = pickle.load(sys.stdin.buffer);"
        "w = open_embedded(Path(urlsplit(url).path)) if url.startswith('chdb') else "
        "open_server(url); w.command(statement)"
    )
    statement = statement.replace("DB.", f"{target.database}.")
    ended = run_code(code, pickle.dumps((target.url, statement)))
    assert ended.code == 0, ended.err.decode()


@dataclass
class Account:
    """An API key of the practice exchange."""

    key: Ed25519PrivateKey
    path: Path

    @property
    def keys(self) -> dict[str, Any]:
        return {KEY_ID: self.key.public_key()}


@dataclass
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)
