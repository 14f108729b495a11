"""What the operator asked for: options, environment, `.env`, in that order, checked at once.

Everything is validated here before any connection is opened; every mistake gets its own sentence.
Nothing else in the package reads the environment. Secrets never show in a repr.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import ipaddress
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

import platformdirs
from dotenv.parser import parse_stream

from kalshi_fills.errors import Mistakes, SettingsError
from kalshi_fills.exchange.signing import Signer, read_private_key
from kalshi_fills.host.printable import is_plain, looks_like_key, path_to_show, quoted
from kalshi_fills.host.trusted import (
    Untrusted,
    absolute,
    read_file,
    require_not_for_everybody,
    require_own,
    require_own_folder,
)
from kalshi_fills.warehouse.statements import Tables

ENVIRONMENTS: Final = {
    "prod": "https://external-api.kalshi.com/trade-api/v2",
    "demo": "https://external-api.demo.kalshi.co/trade-api/v2",
}

_ENVIRONMENT_OF_HOST: Final = {
    "external-api.kalshi.com": "prod",
    "api.elections.kalshi.com": "prod",
    "external-api.demo.kalshi.co": "demo",
    "demo-api.kalshi.co": "demo",
}
"""The exchange's hosts, the older ones included."""

DEFAULT_DATABASE: Final = "kalshi"

DEFAULT_TABLE: Final = "mm_fills"

_IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}").fullmatch

_KEY_ID: Final = re.compile(r"[\x21-\x3f\x41-\x7e]{1,128}").fullmatch

_SECRET_OPTIONS: Final = re.compile(r"pass|secret|token|key|credential", re.IGNORECASE).search


class Option(NamedTuple):
    """One shared option: where else its value may come from, and what it is by default."""

    name: str
    variable: str | None
    default: str | None
    help: str
    metavar: str = "NAME"


OPTIONS: Final = (
    Option(
        "clickhouse",
        "CLICKHOUSE_URL",
        None,
        "Where the tables are: clickhouse://user:password@host:9000/database, clickhouses:// for "
        "TLS, or chdb:///folder for the embedded engine.",
        "URL",
    ),
    Option("table", "KALSHI_FILLS_TABLE", DEFAULT_TABLE, "Name of the fills table."),
    Option("cluster", "CLICKHOUSE_CLUSTER", None, "Run on every replica of this cluster."),
    Option(
        "api-url",
        "KALSHI_API_URL",
        "prod",
        "The exchange: prod, demo, or the API's root URL.",
        "URL",
    ),
    Option("api-key-id", "KALSHI_API_KEY_ID", None, "Id of the API key.", "ID"),
    Option(
        "private-key",
        "KALSHI_PRIVATE_KEY_PATH",
        None,
        "File of the private key (or its text in KALSHI_PRIVATE_KEY).",
        "PATH",
    ),
    Option(
        "env-file", None, None, "Read variables from this file; .env here if there is one.", "PATH"
    ),
    Option("format", "KALSHI_FILLS_FORMAT", "table", "What stdout holds: table or json.", "FORMAT"),
    Option(
        "log-format",
        "KALSHI_FILLS_LOG_FORMAT",
        None,
        "Log lines on stderr: text or json; text on a terminal, json elsewhere.",
        "FORMAT",
    ),
)
"""The options every command has, in the order of their help."""


class Secret(str):
    """Text that is never shown by accident."""

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
        """Name the target in one way however its URL spells it, and without its password."""
        if self.folder is not None:
            return f"chdb://{self.folder.resolve()}"
        parts = urlsplit(self.url or "")
        host = (parts.hostname or "").rstrip(".")
        port = parts.port or (9440 if parts.scheme == "clickhouses" else 9000)
        return f"clickhouse://{'localhost' if _loopback(host) else host}:{port}"


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything the commands share, valid as a whole."""

    clickhouse: ClickHouseTarget
    tables: Tables
    api_url: str
    signer: Signer | None
    format: str
    log_format: str
    warnings: tuple[str, ...] = ()
    secrets: tuple[str, ...] = field(default=(), repr=False)
    max_answer_bytes: int = 64 << 20
    """How large an answer of the exchange may be."""

    def require_signer(self) -> Signer:
        """Give the signer.

        Raises:
            SettingsError: no key was configured.
        """
        if self.signer is None:
            raise SettingsError(
                "no API key is configured",
                hint="set KALSHI_API_KEY_ID and KALSHI_PRIVATE_KEY_PATH, here or in a .env file",
            )
        return self.signer


def gather(
    options: Mapping[str, str | None],
    environment: Mapping[str, str],
    mistakes: Mistakes,
    *,
    folder: Path | None = None,
) -> tuple[dict[str, str | None], str | None]:
    """Resolve every shared option: as given, from the environment, from `.env`, or by default.

    Args:
        options: what the command line gave, by option name.
        environment: the process's environment.
        mistakes: collects an unreadable env file.
        folder: where `.env` is looked for; the working folder.

    Returns:
        The values by option name, and the private key's text if KALSHI_PRIVATE_KEY holds one.
    """
    named = options.get("env-file")
    from_file = _env_file(named, folder, mistakes)

    def variable(name: str | None) -> str | None:
        return (environment.get(name) or from_file.get(name)) if name else None

    values = {
        option.name: options.get(option.name) or variable(option.variable) or option.default
        for option in OPTIONS
    }
    values["max-answer-mib"] = variable("KALSHI_FILLS_MAX_ANSWER_MIB")
    return values, variable("KALSHI_PRIVATE_KEY")


def _env_file(
    named: str | None, folder: Path | None, mistakes: Mistakes
) -> Mapping[str, str | None]:
    """Read the env file: the one that was named, or `.env` if there is one that is to be trusted.

    A folder of this name is somebody's virtual environment, and none of ours.
    """
    path = Path(named) if named else (folder or Path()) / ".env"
    where = path_to_show(path, "that --env-file names") if named else ".env in the working folder"
    if not named and (os.path.isdir(path) or not os.path.lexists(path)):
        return {}
    try:
        if named:
            require_not_for_everybody(path)
        else:
            require_own(path)
        text = read_file(path).decode("utf-8-sig")
    except Untrusted as error:
        elsewhere = "" if named else "; --env-file names another file"
        mistakes.add(f"the env file {where} {error.why}", f"{error.hint}{elsewhere}")
        return {}
    except UnicodeDecodeError:
        mistakes.add(f"the env file {where} is no UTF-8 text", "save it as UTF-8")
        return {}
    except (OSError, ValueError) as error:
        mistakes.add(
            f"the env file {where} cannot be read: {_why(error)}",
            "check the path after --env-file" if named else "name another one with --env-file",
        )
        return {}
    values: dict[str, str | None] = {}
    for line in parse_stream(io.StringIO(text)):
        if line.error:
            mistakes.add(
                f"the env file {where} has a line that cannot be read: line {line.original.line}",
                "write NAME=value; a value with spaces or line ends stands in quotes",
            )
        elif line.key is not None:
            values[line.key] = line.value
    return values


def _why(error: Exception) -> str:
    """Return why a file could not be used, as the end of a sentence, without its name."""
    return (getattr(error, "strerror", None) or "this cannot be a path").lower()


def build(
    options: Mapping[str, str | None],
    environment: Mapping[str, str],
    mistakes: Mistakes,
    *,
    folder: Path | None = None,
) -> Settings:
    """Make the settings; mistakes are noted, and raised by the caller's `mistakes.settle()`."""
    values, pem = gather(options, environment, mistakes, folder=folder)
    clickhouse = _clickhouse(values["clickhouse"], mistakes)
    table = values["table"] or DEFAULT_TABLE
    if not _is_identifier(table):
        mistakes.add(
            f"the table name{quoted(table)} is no identifier",
            "use letters, digits and underscores in --table, not starting with a digit",
        )
    cluster = values["cluster"]
    if cluster is not None and (
        not re.fullmatch(r"[A-Za-z0-9_.{}-]{1,128}", cluster) or looks_like_key(cluster)
    ):
        mistakes.add(
            f"the cluster name{quoted(cluster)} is no cluster name",
            "use the name in system.clusters for --cluster",
        )
    warnings: list[str] = []
    signer = _signer(values["api-key-id"], values["private-key"], pem, mistakes, warnings)
    api_url = _api_url(values["api-url"] or "prod", mistakes)
    form = _one_of("format", values["format"], ("table", "json"), mistakes)
    log_form = _one_of(
        "log-format",
        values["log-format"] or ("text" if sys.stderr.isatty() else "json"),
        ("text", "json"),
        mistakes,
    )
    secrets = [text for text in (pem, values["private-key"]) if text and "-----BEGIN" in text]
    if clickhouse.url is not None:
        secrets += _secrets_of(clickhouse.url)
    return Settings(
        clickhouse,
        Tables(clickhouse.database, table, cluster),
        api_url,
        signer,
        form,
        log_form,
        tuple(warnings),
        tuple(secrets),
        _max_answer_bytes(values["max-answer-mib"], mistakes),
    )


def _max_answer_bytes(text: str | None, mistakes: Mistakes) -> int:
    """Return how large an answer of the exchange may be, of whole MiB."""
    if text is None:
        return 64 << 20
    if re.fullmatch(r"[0-9]{1,5}", text.strip()) and int(text) > 0:
        return int(text) << 20
    mistakes.add(
        "KALSHI_FILLS_MAX_ANSWER_MIB is no number of MiB",
        "set KALSHI_FILLS_MAX_ANSWER_MIB to a whole number such as 64, or leave it out",
    )
    return 64 << 20


def _clickhouse(url: str | None, mistakes: Mistakes) -> ClickHouseTarget:
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
            "CLICKHOUSE_URL has an @ behind its host: the password holds a letter that ends it",
            "percent-encode #, /, ? and @ in the user name or password (# is %23)",
        )
        return nowhere
    if parts.scheme not in ("clickhouse", "clickhouses"):
        mistakes.add(
            f"CLICKHOUSE_URL has the unknown scheme{quoted(parts.scheme or 'none')}",
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
    """Refuse a folder in which others may have planted what the engine takes for its own."""
    where = path_to_show(folder, "in CLICKHOUSE_URL")
    try:
        require_own_folder(folder)
    except Untrusted as error:
        mistakes.add(f"the embedded engine's folder {where} {error.why}", error.hint)
    except (OSError, ValueError) as error:
        mistakes.add(
            f"the embedded engine's folder {where} cannot be used: {_why(error)}",
            "point CLICKHOUSE_URL at a folder of your own: chdb:///path/to/folder",
        )
    return folder


def _secrets_of(url: str) -> list[str]:
    """Return the password of a URL, as written and as meant, and what its options hide."""
    parts = urlsplit(url)
    written = [parts.password] if parts.password else []
    for option in parts.query.split("&"):
        name, _, value = option.partition("=")
        if value and _SECRET_OPTIONS(name):
            written.append(value)
    return [text for value in written for text in (value, unquote(value))]


def _database(name: str, mistakes: Mistakes) -> str:
    if not name:
        return DEFAULT_DATABASE
    if not _is_identifier(name):
        mistakes.add(
            f"the database name{quoted(name)} is no identifier",
            "use letters, digits and underscores for the database in CLICKHOUSE_URL",
        )
    return name


def _api_url(value: str, mistakes: Mistakes) -> str:
    url = ENVIRONMENTS.get(value, value)
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        mistakes.add(
            f"KALSHI_API_URL{quoted(value)} is neither prod nor demo nor an http URL",
            "use prod, demo, or the API's root such as " + ENVIRONMENTS["prod"],
        )
        return url
    if "@" in parts.netloc or parts.query or parts.fragment:
        mistakes.add(
            "KALSHI_API_URL carries more than host, port and path",
            "use the API's root such as " + ENVIRONMENTS["prod"],
        )
    if parts.scheme == "http" and not _loopback(parts.hostname):
        host = parts.hostname if is_plain(parts.hostname) else "names a host that"
        mistakes.add(
            f"KALSHI_API_URL {host} is not loopback and has no TLS",
            "write https://; requests to the exchange are signed and must not travel in the clear",
        )
    if not parts.path.strip("/"):
        url = f"{url.rstrip('/')}/trade-api/v2"
    return url.rstrip("/")


def environment_of(api_url: str) -> str:
    """Return what the run ledger calls the exchange at a URL: prod, demo, or a digest of it."""
    parts = urlsplit(api_url)
    host = (parts.hostname or "").rstrip(".").lower()
    if host in _ENVIRONMENT_OF_HOST:
        return _ENVIRONMENT_OF_HOST[host]
    port = parts.port or (443 if parts.scheme == "https" else 80)
    name = "localhost" if _loopback(host) else host
    root = f"{parts.scheme}://{name}:{port}{parts.path.rstrip('/')}"
    return f"url-{hashlib.sha256(root.encode()).hexdigest()[:16]}"


def _is_identifier(name: str) -> bool:
    return bool(_IDENTIFIER(name)) and not looks_like_key(name)


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _signer(
    key_id: str | None,
    path: str | None,
    pem: str | None,
    mistakes: Mistakes,
    warnings: list[str],
) -> Signer | None:
    if key_id is None and path is None and pem is None:
        return None
    if key_id is None:
        mistakes.add(
            "a private key is configured, but no key id",
            "set KALSHI_API_KEY_ID to the id shown beside the key on Kalshi's API keys page",
        )
    elif looks_like_key(key_id):
        mistakes.add(
            "KALSHI_API_KEY_ID holds something other than a key's id: it looks like a key's text",
            "it is the id shown beside the key; the key's text goes into KALSHI_PRIVATE_KEY",
        )
    elif not _KEY_ID(key_id) or "://" in key_id:
        mistakes.add("the API key id holds spaces or signs", "copy KALSHI_API_KEY_ID once more")
    if path is None and pem is None:
        mistakes.add(
            "an API key id is configured, but no private key",
            "set KALSHI_PRIVATE_KEY_PATH to the key's file",
        )
        return None
    where = "KALSHI_PRIVATE_KEY"
    if path is not None:
        where, read = _key_file(path, mistakes, warnings)
        if read is None:
            return None
        pem = read
    assert pem is not None
    # A key in a variable often has its line ends written out.
    text = pem.replace("\\n", "\n") if path is None else pem
    try:
        return Signer(key_id or "", read_private_key(text, where))
    except SettingsError as error:
        mistakes.note(error)
        return None


def _key_file(path: str, mistakes: Mistakes, warnings: list[str]) -> tuple[str, str | None]:
    """Return what to call the key's file in a sentence, and its text if it can be read."""
    unnamed = "in the file that KALSHI_PRIVATE_KEY_PATH names"
    where = path_to_show(path, unnamed)
    try:
        file = Path(path).expanduser()
        require_not_for_everybody(file)
        pem = read_file(file).decode("utf-8")
        if file.stat().st_mode & 0o077:
            warnings.append(
                f"the private key {where} can be read by other users; run: chmod 600 {where}"
            )
        return where, pem
    except Untrusted as error:
        mistakes.add(f"the private key {where} {error.why}", error.hint)
    except (OSError, RuntimeError, ValueError) as error:
        is_other = looks_like_key(path) or where == unnamed
        if is_other:
            mistakes.add(
                "KALSHI_PRIVATE_KEY_PATH (or --private-key) holds something other than the path "
                "of a file",
                "it names the key's file; the key's text goes into KALSHI_PRIVATE_KEY",
            )
        else:
            why = getattr(error, "strerror", None) or "it is no text file, or nobody's"
            mistakes.add(
                f"the private key {where} cannot be read: {why.lower()}",
                "check the path in KALSHI_PRIVATE_KEY_PATH and who may read it",
            )
    return where, None


def _one_of(option: str, value: str | None, allowed: tuple[str, ...], mistakes: Mistakes) -> str:
    if value not in allowed:
        mistakes.add(
            f"--{option}{quoted(value or '')} is not known",
            f"use --{option} {' or '.join(allowed)}",
        )
        return allowed[0]
    return value
