"""Where ClickHouse is: CLICKHOUSE_URL to a server or to a folder of the embedded engine.

Nothing here opens a connection.
"""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

import platformdirs

from kalshi_fills.cli.options import is_identifier, is_loopback, reason_of
from kalshi_fills.errors import Mistakes
from kalshi_fills.host.printable import is_plain, path_to_show, quoted
from kalshi_fills.host.trusted import Untrusted, absolute, require_own_folder

DEFAULT_DATABASE: Final = "kalshi"


_HOST_ALONE: Final = re.compile(r"[A-Za-z0-9_.-]+(:[0-9]+)?(/\w*)?").fullmatch
"""What people write who leave the scheme out."""

_SECRET_OPTIONS: Final = re.compile(r"pass|secret|token|key|credential", re.IGNORECASE).search


class Secret(str):
    """Text whose repr shows nothing of it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Secret(***)"


@dataclass(frozen=True, slots=True)
class ClickHouseTarget:
    """Where ClickHouse is: a server's URL, or a folder of the embedded engine."""

    url: Secret | None
    folder: Path | None
    database: str

    def identity(self) -> str:
        """Return one name for the target, however its URL spells it, without its password."""
        if self.folder is not None:
            return f"chdb://{self.folder.resolve()}"
        parts = urlsplit(self.url or "")
        host = (parts.hostname or "").rstrip(".")
        port = parts.port or (9440 if parts.scheme == "clickhouses" else 9000)
        return f"clickhouse://{'localhost' if is_loopback(host) else host}:{port}"


def read_clickhouse_url(url: str | None, mistakes: Mistakes) -> ClickHouseTarget:
    """Return where ClickHouse is; without a URL, the embedded engine in the user's data folder."""
    nowhere = ClickHouseTarget(None, None, DEFAULT_DATABASE)
    if url is None:
        if importlib.util.find_spec("chdb") is None:
            mistakes.add(
                "no CLICKHOUSE_URL is set and the embedded engine is not installed",
                "set CLICKHOUSE_URL=clickhouse://user:password@host:9000/kalshi, or install the "
                "embedded engine with `pip install 'kalshi-fills[embedded]'`",
            )
        data = absolute(lambda: platformdirs.user_data_dir("kalshi-fills", appauthor=False))
        if data is None:
            mistakes.add(
                "there is no home folder to keep the embedded engine's tables in",
                "set HOME or XDG_DATA_HOME, or CLICKHOUSE_URL=chdb:///path/to/folder",
            )
            return nowhere
        return ClickHouseTarget(None, _trusted_folder(data / "chdb", mistakes), DEFAULT_DATABASE)
    if _HOST_ALONE(url):
        where = url if is_plain(url) else "host:9000"
        mistakes.add(
            f"CLICKHOUSE_URL{quoted(url)} has no scheme",
            f"write CLICKHOUSE_URL=clickhouse://{where}, with user:password@ before the host if "
            "there is a password",
        )
        return nowhere
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        mistakes.add(
            "CLICKHOUSE_URL cannot be read",
            "percent-encode #, / and ? in the user name or password (# is %23)",
        )
        return nowhere
    if parts.scheme == "chdb":
        return _embedded(parts.netloc + parts.path, parts.query, mistakes)
    if "@" in parts.path + parts.query + parts.fragment:
        mistakes.add(
            "CLICKHOUSE_URL has an @ after its host: the password is not percent-encoded",
            "percent-encode #, /, ? and @ in the user name or password (# is %23)",
        )
        return nowhere
    if parts.scheme not in ("clickhouse", "clickhouses"):
        mistakes.add(
            f"CLICKHOUSE_URL has an unknown scheme{quoted(parts.scheme or 'none')}",
            "use clickhouse://, clickhouses:// (TLS) or chdb:///folder; the native protocol, port "
            "9000 or 9440, not HTTP",
        )
        return nowhere
    if not parts.hostname:
        mistakes.add(
            "CLICKHOUSE_URL names no host",
            "write it like clickhouse://user:password@host:9000/kalshi",
        )
        return nowhere
    return ClickHouseTarget(Secret(url), None, _database(unquote(parts.path.strip("/")), mistakes))


def _embedded(path: str, query: str, mistakes: Mistakes) -> ClickHouseTarget:
    database = _database(parse_qs(query).get("database", [""])[0], mistakes)
    folder = unquote(path)
    if importlib.util.find_spec("chdb") is None:
        mistakes.add(
            "CLICKHOUSE_URL asks for the embedded engine, which is not installed",
            "install it with `pip install 'kalshi-fills[embedded]'`, or name a server",
        )
    if not folder.strip("/") or "?" in folder or not folder.isprintable() or "@" in path:
        mistakes.add(
            "CLICKHOUSE_URL names no folder for the embedded engine",
            "write it like chdb:///var/lib/kalshi-fills?database=kalshi",
        )
    try:
        full = Path(folder).expanduser().absolute()
    except (OSError, RuntimeError):  # the working folder is gone, or the home folder unknown
        mistakes.add(
            "the folder in CLICKHOUSE_URL cannot be found from here",
            "name it from the root on: chdb:///path/to/folder",
        )
        return ClickHouseTarget(None, None, database)
    return ClickHouseTarget(None, _trusted_folder(full, mistakes), database)


def _trusted_folder(folder: Path, mistakes: Mistakes) -> Path:
    """Return the folder; note a mistake if others could have put tables or programs into it."""
    where = path_to_show(folder, "in CLICKHOUSE_URL")
    try:
        require_own_folder(folder)
    except Untrusted as error:
        mistakes.add(f"the embedded engine's folder {where} {error.why}", error.hint)
    except (OSError, ValueError) as error:
        mistakes.add(
            f"the embedded engine's folder {where} cannot be used: {reason_of(error)}",
            "point CLICKHOUSE_URL at a folder of your own: chdb:///path/to/folder",
        )
    return folder


def _database(name: str, mistakes: Mistakes) -> str:
    if not name:
        return DEFAULT_DATABASE
    if not is_identifier(name):
        mistakes.add(
            f"the database name{quoted(name)} is not an identifier",
            "use letters, digits and underscores for the database in CLICKHOUSE_URL",
        )
    return name


def secrets_of(url: str) -> list[str]:
    """Return the password of a URL and its secret options, as written and decoded."""
    parts = urlsplit(url)
    written = [parts.password] if parts.password else []
    for option in parts.query.split("&"):
        name, _, value = option.partition("=")
        if value and _SECRET_OPTIONS(name):
            written.append(value)
    return [text for value in written for text in (value, unquote(value))]
