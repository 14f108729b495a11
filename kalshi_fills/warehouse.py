"""ClickHouse, as a server over its native protocol or embedded in this process.

One small interface with two backends; the same SQL, the same Python values in and out: Decimal,
aware datetime, UUID, bool, None, lists. Whatever the libraries raise leaves here as
`WarehouseError`, and as `InsertUnknown` where an insert may or may not have been stored.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import json
import logging
import re
import socket
import struct
import tempfile
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn, Protocol
from urllib.parse import parse_qs, unquote, urlencode, urlsplit, urlunsplit
from uuid import UUID

from kalshi_fills.errors import InsertUnknown, LockedError, SettingsError, WarehouseError
from kalshi_fills.profile import READING, WRITING, Profile, Setting, embedded_profile, profile
from kalshi_fills.queries import quote_identifier

Value = object
Row = tuple[Any, ...]
"""One row of a result; the types of its values follow from the query's columns."""


class TextTable(NamedTuple):
    """A small table that travels with a query: every column is a String."""

    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


class Column(NamedTuple):
    """One column of a block to be inserted."""

    name: str
    type: str
    """The type its values travel as, which the engine casts to the table's: often a text."""
    values: Sequence[Value]


_SILENT_SECONDS: Final = 120
_AUTHENTICATION_CODES: Final = frozenset((192, 193, 194, 516))
_GRANT_CODES: Final = frozenset((164, 497))
_FIXED_CODES: Final = frozenset((164, 452))
"""The user may not change a setting."""
_SETTINGS: Final = """
SELECT groupArray((name, value, readonly, min, max))
FROM system.settings
WHERE has({names:Array(String)}, name)
"""
"""One row, whatever the profile does to rows."""
_CUTS: Final = """
SELECT toString(getSetting('read_overflow_mode')), toString(getSetting('timeout_overflow_mode'))
"""
"""Settings that may cut the list of settings short, asked for one by one."""
_EVERY_SERVER_KNOWS: Final = frozenset(("extremes", "limit", "offset", "read_overflow_mode"))


_PROGRAM: Final = re.compile(
    r"SOURCE\s*\(\s*EXECUTABLE|ENGINE\s*=\s*Executable|\bexecutable\s*\(", re.IGNORECASE
)
"""What makes the engine run a program, in a stored definition."""


class Warehouse(Protocol):
    """What the tool needs of ClickHouse."""

    def rows(
        self,
        sql: str,
        params: Mapping[str, Value] | None = None,
        *,
        wanted: TextTable | None = None,
    ) -> list[Row]:
        """Run one query; parameters are the engine's own `{name:Type}`.

        Args:
            sql: the query.
            params: values by name.
            wanted: rows of text that the query reads as a table `wanted`, for long lists of keys.

        Raises:
            WarehouseError: it could not be run.
        """
        ...

    def command(self, sql: str, params: Mapping[str, Value] | None = None) -> None:
        """Run one statement that returns nothing.

        Raises:
            WarehouseError: it could not be run.
        """
        ...

    def insert(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Value]]) -> None:
        """Insert one block of rows into a table (already quoted), by column name.

        Raises:
            InsertUnknown: the answer never came.
            WarehouseError: refused, nothing of the block is stored.
        """
        ...

    def insert_columns(
        self, table: str, columns: Sequence[Column], statement: str | None = None
    ) -> None:
        """Insert one block of many rows, given column by column; several times as fast.

        Args:
            table: where to (already quoted).
            columns: the block.
            statement: the INSERT … SELECT to run instead, which reads the block as a table `block`.

        Raises:
            InsertUnknown: the answer never came.
            WarehouseError: refused, nothing of the block is stored.
        """
        ...

    def give_up(self) -> None:
        """Make a statement fail that another thread runs and that is silent, so that it can end.

        A statement of the embedded engine has nobody to wait for and ends by itself.
        """
        ...

    def close(self) -> None:
        """Close the connection or the engine."""
        ...


def open_server(url: str) -> Warehouse:
    """Connect to a server; `clickhouses://` is TLS. Options go in the URL's query string.

    Raises:
        WarehouseError: unreachable, the user is refused, or a setting that this user may not change
            would make answers wrong.
    """
    server = _Server(url)
    try:
        server.learn_profile()
    except WarehouseError:
        server.close()
        raise
    return server


def open_embedded(folder: Path) -> Warehouse:
    """Open the embedded engine on a folder, which is made where it is missing.

    Raises:
        LockedError: another process has the folder open.
        WarehouseError: the folder cannot be used.
    """
    return _Embedded(folder)


class _Server:
    def __init__(self, url: str) -> None:
        from clickhouse_driver import Client, errors

        logging.getLogger("clickhouse_driver").setLevel(logging.CRITICAL)
        parts = urlsplit(url)
        self._where = (
            f"{parts.hostname}:{parts.port or (9440 if parts.scheme[-1] == 's' else 9000)}"
        )
        self._errors = errors
        # The driver waits five minutes for a dead server; what works long sends its progress.
        ours = {"server_side_params": "1", "send_receive_timeout": str(_SILENT_SECONDS)}
        given = parse_qs(parts.query)
        ours = {name: value for name, value in ours.items() if name not in given}
        query = "&".join(filter(None, (parts.query, urlencode(ours))))
        # No database in the connection: it may not exist yet, and all names are qualified.
        try:
            self._client = Client.from_url(urlunsplit(parts._replace(path="/", query=query)))
        except (ValueError, KeyError, TypeError, NotImplementedError, ImportError):
            # What the driver says repeats the value, which may be a secret in the wrong place.
            raise SettingsError(
                "CLICKHOUSE_URL has an option, or a value of one, that the driver does not take",
                hint="see the options of clickhouse-driver; they stand after the ? of the URL",
            ) from None
        self._password = unquote(parts.password or "")
        self._profile = Profile(dict(READING), {**READING, **WRITING}, [], [])

    def learn_profile(self) -> None:
        """Connect, and read once which settings the server knows and this user may change.

        Raises:
            WarehouseError: unreachable, or a setting that decides what a query answers is fixed.
        """
        try:
            found = self._settings(self._profile.reading)
        except WarehouseError as error:
            if error.code not in _FIXED_CODES:
                raise
            found = self._fixed_settings()
        self._profile = profile(found)
        _refuse_settings(self._profile.spoils_reading, "answers may be wrong")

    def _fixed_settings(self) -> list[Setting]:
        """Return the settings of a user who may not change some; none is sent with the query."""
        try:
            # The server takes these two back in the list when it has used them: a plan shows them.
            plan = str(self._client.execute("EXPLAIN PLAN SELECT 1"))
            cuts = self._client.execute(_CUTS)
        except self._failures() as error:
            self._raise(error)
        told = [
            Setting("limit", "not 0" if "Limit (" in plan else "0", fixed=True),
            Setting("offset", "not 0" if "Offset" in plan or not cuts else "0", fixed=True),
        ]
        if cuts:
            told += [
                Setting("read_overflow_mode", cuts[0][0], fixed=True),
                Setting("timeout_overflow_mode", cuts[0][1], fixed=True),
            ]
        _refuse_settings(profile(told).spoils_reading, "answers may be wrong")
        names = {setting.name for setting in told}
        return [setting for setting in self._settings({}) if setting.name not in names] + told

    def _settings(self, sent: Mapping[str, str]) -> list[Setting]:
        names = [*READING, *WRITING]
        try:
            answer = self._client.execute(
                _SETTINGS, {"names": names}, settings=dict(sent), with_column_types=False
            )
        except self._failures() as error:
            self._raise(error)
        found = [
            Setting(name, value, bool(fixed), least, most)
            for name, value, fixed, least, most in (answer[0][0] if answer else ())
        ]
        if missing := _EVERY_SERVER_KNOWS - {setting.name for setting in found}:
            raise WarehouseError(
                f"ClickHouse at {self._where} does not list its setting {min(missing)}",
                hint="let the user read system.settings whole; its profile or a row policy cuts it",
            )
        return found

    def rows(
        self,
        sql: str,
        params: Mapping[str, Value] | None = None,
        *,
        wanted: TextTable | None = None,
    ) -> list[Row]:
        external = None
        if wanted is not None:
            external = [
                {
                    "name": "wanted",
                    "structure": [(column, "String") for column in wanted.columns],
                    "data": wanted.rows,
                }
            ]
        try:
            rows, columns = self._client.execute(
                sql,
                _texts(params),
                with_column_types=True,
                external_tables=external,
                settings=self._profile.reading,
            )
        except self._failures() as error:
            self._raise(error)
        rows = _as_text(rows, columns)
        # The driver gives mostly-default Bool columns back as integers.
        flags = [index for index, (_, kind) in enumerate(columns) if "Bool" in kind]
        if flags:
            return [
                tuple(
                    bool(value) if index in flags and value is not None else value
                    for index, value in enumerate(row)
                )
                for row in rows
            ]
        return [tuple(row) for row in rows]

    def command(self, sql: str, params: Mapping[str, Value] | None = None) -> None:
        self._require_writing()
        try:
            self._client.execute(sql, _texts(params), settings=self._profile.writing)
        except self._failures() as error:
            self._raise(error)

    def insert(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Value]]) -> None:
        if not rows:
            return
        names = ", ".join(map(quote_identifier, columns))
        self._insert(f"INSERT INTO {table} ({names}) VALUES", rows)

    def insert_columns(
        self, table: str, columns: Sequence[Column], statement: str | None = None
    ) -> None:
        rows = list(zip(*(column.values for column in columns), strict=True))
        if not rows:
            return
        # The driver encodes texts fast, and numbers and times slowly: the server reads them. A
        # table that travels with the query takes no privilege, as the function `input` would.
        structure = [(column.name, column.type) for column in columns]
        names = ", ".join(quote_identifier(column.name) for column in columns)
        self._insert(
            statement or f"INSERT INTO {table} ({names}) SELECT {names} FROM block",  # noqa: S608 - all quoted
            external_tables=[{"name": "block", "structure": structure, "data": rows}],
        )

    def _require_writing(self) -> None:
        _refuse_settings(self._profile.spoils_writing, "a write may go wrong")

    def _insert(self, *statement: object, **options: object) -> None:
        self._require_writing()
        try:
            self._client.execute(*statement, **options, settings=self._profile.writing)
        except self._failures() as error:
            lost = (OSError, EOFError, self._errors.NetworkError, self._errors.SocketTimeoutError)
            if not isinstance(error, lost):
                self._raise(error)
            raise InsertUnknown(
                f"the connection to ClickHouse at {self._where} was lost during an insert",
                hint="run the same command again: it looks up what was stored",
            ) from error

    def give_up(self) -> None:
        connected = self._client.connection.socket
        with contextlib.suppress(OSError):
            if connected is not None:
                connected.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._client.disconnect()

    def _without_password(self, message: str) -> str:
        return message.replace(self._password, "***") if len(self._password) > 3 else message

    def _failures(self) -> tuple[type[BaseException], ...]:
        # Values that do not fit their column are refused by the driver, in many ways.
        mistakes = (ValueError, TypeError, KeyError, AttributeError, ArithmeticError, struct.error)
        return (self._errors.Error, EOFError, OSError, *mistakes)

    def _raise(self, error: BaseException) -> NoReturn:
        code = getattr(error, "code", None)
        if not isinstance(error, EOFError | OSError | self._errors.Error) or code == 53:
            raise WarehouseError(
                f"a value does not fit its column: {_first_sentence(str(error))}",
                hint="run `kalshi-fills migrate --dry-run` to see whether the tables are today's",
                code=code,
            ) from error
        if isinstance(error, self._errors.ServerException):
            raise _refused(code, self._without_password(str(error.message)), self._where) from error
        why = {
            209: "it did not answer in time",
            210: "no connection: refused, unknown host, or TLS not accepted",
            102: "what answers there is not ClickHouse's native protocol (port 9000, TLS 9440)",
        }.get(code or 0, f"the connection was lost ({type(error).__name__})")
        raise WarehouseError(
            f"ClickHouse at {self._where} could not be reached: {why}",
            hint="check that the server runs and that CLICKHOUSE_URL names its native port",
            code=code,
        ) from error


class _Embedded:
    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WarehouseError(
                f"the folder {folder} cannot be used for the embedded engine: {error.strerror}",
                hint="point CLICKHOUSE_URL at a folder of your own: chdb:///path/to/folder",
            ) from error
        _refuse_if_open(folder)
        _refuse_programs(folder)
        from chdb.session import Session

        # The engine's own handlers would hang the process on a crash and swallow Ctrl-Z.
        with contextlib.suppress(AttributeError):
            importlib.import_module("chdb._chdb").set_signal_handlers_enabled(False)
        self._folder = folder
        # The engine would read a config.xml of the working folder, and run scripts of its own.
        self._private = tempfile.TemporaryDirectory(prefix="kalshi-fills-")
        try:
            self._session = Session(f"{folder}?{_private_options(Path(self._private.name))}")
        except RuntimeError as error:
            self._private.cleanup()
            raise WarehouseError(
                f"the embedded engine could not open {folder}: {_first_sentence(str(error))}",
                hint="check the folder's owner and free space, or point CLICKHOUSE_URL elsewhere",
                code=_code(str(error)),
            ) from error
        sent = embedded_profile(set(self._query("SELECT name FROM system.settings").split()))
        self._query("SET " + ", ".join(f"{name} = {_literal(sent[name])}" for name in sent))

    def rows(
        self,
        sql: str,
        params: Mapping[str, Value] | None = None,
        *,
        wanted: TextTable | None = None,
    ) -> list[Row]:
        if wanted is None:
            return self._rows(sql, params)
        columns = ", ".join(f"{quote_identifier(column)} String" for column in wanted.columns)
        self._query(f"CREATE OR REPLACE TEMPORARY TABLE wanted ({columns}) ENGINE = Memory")
        try:
            self.insert("wanted", wanted.columns, wanted.rows)
            return self._rows(sql, params)
        finally:
            self._query("DROP TEMPORARY TABLE IF EXISTS wanted")

    def _rows(self, sql: str, params: Mapping[str, Value] | None) -> list[Row]:
        # Lines end in \n only: other line ends are inside JSON strings, unescaped.
        text = self._query(sql, "JSONCompactEachRowWithNamesAndTypes", params)
        lines = text.rstrip("\n").split("\n")
        if len(lines) < 2:
            return []
        decoders = [_decoder(kind) for kind in json.loads(lines[1])]
        rows = [
            tuple(
                value if value is None or decode is None else decode(value)
                for decode, value in zip(decoders, json.loads(line), strict=True)
            )
            for line in lines[2:]
        ]
        return rows if _is_utf8(text) else [tuple(map(_told_apart, row)) for row in rows]

    def command(self, sql: str, params: Mapping[str, Value] | None = None) -> None:
        self._query(sql, params=params)

    def insert(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Value]]) -> None:
        if not rows:
            return
        names = ", ".join(map(quote_identifier, columns))
        lines = "\n".join(["\t".join([_TSV[type(value)](value) for value in row]) for row in rows])
        self._query(f"INSERT INTO {table} ({names}) FORMAT TabSeparated\n{lines}\n")

    def insert_columns(
        self, table: str, columns: Sequence[Column], statement: str | None = None
    ) -> None:
        if not columns or not columns[0].values:
            return
        names = ", ".join(quote_identifier(column.name) for column in columns)
        fields = zip(*(_tsv_column(column.values) for column in columns), strict=True)
        lines = "\n".join(map("\t".join, fields))
        if statement is None:
            self._query(f"INSERT INTO {table} ({names}) FORMAT TabSeparated\n{lines}\n")
            return
        typed = ", ".join(f"{quote_identifier(column.name)} {column.type}" for column in columns)
        self._query(f"CREATE OR REPLACE TEMPORARY TABLE block ({typed}) ENGINE = Memory")
        try:
            self._query(f"INSERT INTO block ({names}) FORMAT TabSeparated\n{lines}\n")
            self._query(statement)
        finally:
            self._query("DROP TEMPORARY TABLE IF EXISTS block")

    def give_up(self) -> None:
        pass

    def close(self) -> None:
        with contextlib.suppress(RuntimeError):
            self._session.close()
        self._private.cleanup()

    def _query(
        self, sql: str, form: str = "TabSeparated", params: Mapping[str, Value] | None = None
    ) -> str:
        texts = {name: _escaped(value) for name, value in (_texts(params) or {}).items()}
        try:
            answer = self._session.query(sql, form, params=texts)
        except RuntimeError as error:  # the engine's own class is one, under two names
            with contextlib.suppress(RuntimeError):
                # What the failed query had printed would stand before the next answer.
                self._session.query("SELECT 1", "Null")
            raise _refused(_code(str(error)), str(error), str(self._folder)) from error
        blob: bytes = answer.bytes() if answer is not None else b""
        # Bytes that are no UTF-8 are kept apart here, for JSON's own escapes come first.
        return blob.decode(errors="surrogateescape")


def _private_options(folder: Path) -> str:
    """Return options of the embedded engine that leave it no program to run, and no other config.

    Args:
        folder: an empty folder of ours.
    """
    config = folder / "config.xml"
    config.write_text("<clickhouse></clickhouse>\n", encoding="utf-8")
    nothing = folder / "nothing"
    return urlencode(
        {
            "config-file": config,
            "user_scripts_path": nothing,
            "user_files_path": nothing,
            "dictionaries_lib_path": nothing,
            "dynamic_user_defined_executable_functions_path": nothing,
        },
        safe="/",
    )


def _refuse_programs(folder: Path) -> None:
    """Refuse a folder whose tables or dictionaries would run a program when they are read."""
    for place in ("metadata", "store"):
        for path in (folder / place).rglob("*.sql"):
            with contextlib.suppress(OSError):
                if _PROGRAM.search(path.read_text(encoding="utf-8", errors="replace")):
                    raise SettingsError(
                        f"the folder {folder} has a table or dictionary that runs a program",
                        hint=f"see {path}; give the fills a folder of their own",
                    )


def _refuse_settings(spoilt: Sequence[Setting], consequence: str) -> None:
    """Refuse a user whose profile fixes a setting at a value that decides an outcome."""
    if not spoilt:
        return
    named = ", ".join(f"{setting.name} = {_literal(setting.value)}" for setting in spoilt)
    raise WarehouseError(
        _printable(f"this ClickHouse user's profile fixes {named}, with which {consequence}"),
        hint="as an administrator let the user change it, or set it to the server's default",
    )


def _as_text(rows: Sequence[Row], columns: Sequence[tuple[str, str]]) -> list[Row]:
    """Return rows with text where the driver gives bytes, which it does for what is no UTF-8."""
    texts = [index for index, (_, kind) in enumerate(columns) if "String" in kind]
    for index in texts:
        kinds = {type(row[index]) for row in rows}
        if not kinds <= {str, type(None)} and any(_has_bytes(row[index]) for row in rows):
            return [tuple(map(_told_apart, row)) for row in rows]
    return list(rows)


def _has_bytes(value: object) -> bool:
    if isinstance(value, Mapping):
        return any(map(_has_bytes, (*value.keys(), *value.values())))
    if isinstance(value, list | tuple):
        return any(map(_has_bytes, value))
    return isinstance(value, bytes)


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _told_apart(value: object) -> object:
    r"""Return a value of which bytes that are no UTF-8 stand as `\xff` in its texts."""
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    if isinstance(value, str):
        return value.encode(errors="surrogateescape").decode(errors="backslashreplace")
    if isinstance(value, list):
        return list(map(_told_apart, value))
    if isinstance(value, tuple):
        return tuple(map(_told_apart, value))
    if isinstance(value, dict):
        return {_told_apart(key): _told_apart(held) for key, held in value.items()}
    return value


def _refuse_if_open(folder: Path) -> None:
    """Ask the engine's own lock first: the engine would say it on stderr only."""
    status = folder / "status"
    if not status.exists():
        return
    with contextlib.suppress(PermissionError), status.open("r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            match = re.search(r"PID: (\d+)", file.read())
            owner = f" (process {match.group(1)})" if match else ""
            raise LockedError(
                f"another process{owner} has the embedded engine's folder {folder} open",
                hint="wait for it to end, or use a ClickHouse server, which many can share",
            ) from None
        fcntl.flock(file, fcntl.LOCK_UN)


def _refused(code: int | None, message: str, where: str) -> WarehouseError:
    said = _first_sentence(message)
    if code in _AUTHENTICATION_CODES:
        return WarehouseError(
            f"ClickHouse at {where} refused the user name or password",
            hint="check the user and password in CLICKHOUSE_URL (percent-encode special letters)",
            code=code,
        )
    if code in _GRANT_CODES:
        return WarehouseError(
            f"ClickHouse at {where} does not allow this user to do that: {said}",
            hint="grant what is missing, or use another user in CLICKHOUSE_URL",
            code=code,
        )
    if code == 243:
        return WarehouseError(
            f"ClickHouse at {where} has no space left on its disk",
            hint="free some space and run the same command again",
            code=code,
        )
    return WarehouseError(
        f"ClickHouse at {where} refused a statement: {said}",
        hint="run `kalshi-fills migrate --dry-run` to see whether the tables are today's",
        code=code,
    )


def _code(message: str) -> int | None:
    match = re.search(r"Code: (\d+)", message)
    return int(match.group(1)) if match else None


def _first_sentence(message: str) -> str:
    text = message.split("Stack trace:")[0]
    text = re.sub(r"^.*?Code: \d+\. ", "", text, flags=re.DOTALL)
    text = re.sub(r"DB::(?:Net)?Exception: ", "", text).strip()
    text = re.sub(r"\s*\([A-Z_]+\)( \(version .*)?$", "", text.split("\n")[0])
    return _printable(re.sub(r"\s+", " ", text)[:300].rstrip(". "))


def _printable(text: str) -> str:
    """Return a text of which what a terminal would not print stands escaped."""
    if text.isprintable():
        return text
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text
    )


def _literal(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _texts(params: Mapping[str, Value] | None) -> dict[str, Value] | None:
    """Give parameters as both engines take them: text, numbers, and lists of text."""
    if params is None:
        return None
    return {
        name: _text(value) if isinstance(value, datetime | Decimal | UUID | date) else value
        for name, value in params.items()
    }


_ESCAPES: Final = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": "\\0"})


def _tsv_list(values: Sequence[Value]) -> str:
    # What stands in a list is escaped once, as part of the list, not once more as the field.
    quoted = ",".join("'" + _tsv_text(str(value)).replace("'", "\\'") + "'" for value in values)
    return f"[{quoted}]"


def _tsv_text(text: str) -> str:
    return text.translate(_ESCAPES)


_TSV: Final[Mapping[type, Callable[[Any], str]]] = {
    str: _tsv_text,
    int: str,
    float: repr,
    bool: lambda value: "true" if value else "false",
    type(None): lambda _: "\\N",
    Decimal: lambda value: f"{value:f}",
    datetime: lambda value: str(_text(value)),
    date: str,
    UUID: str,
    list: _tsv_list,
    tuple: _tsv_list,
}
"""How the embedded engine reads each type in tab-separated text."""


def _tsv_column(values: Sequence[Value]) -> Sequence[str]:
    """Write the values of a column; where all are texts without a special sign, they stay."""
    texts = [value for value in values if type(value) is str]
    if len(texts) == len(values):
        joined = "".join(texts)
        if not any(chr(sign) in joined for sign in _ESCAPES):
            return texts
    return [_TSV[type(value)](value) for value in values]


def _escaped(value: Value) -> Value:
    """Write a parameter as the embedded engine reads it: tab-separated text."""
    return _TSV[type(value)](value) if type(value) in (str, list) else value


def _text(value: Value) -> Value:
    if isinstance(value, datetime):
        moment = value.astimezone(UTC) if value.tzinfo else value
        return moment.isoformat(" ", "microseconds")[:26]
    if isinstance(value, Decimal):
        return f"{value:f}"
    return str(value)


def _decoder(kind: str) -> Callable[[Any], Value] | None:
    """Give the function that turns the engine's JSON into the type's Python value, or None."""
    while match := re.fullmatch(r"(?:LowCardinality|Nullable)\((.*)\)", kind):
        kind = match.group(1)
    if match := re.fullmatch(r"SimpleAggregateFunction\(\w+, (.*)\)", kind):
        return _decoder(match.group(1))
    if match := re.fullmatch(r"Array\((.*)\)", kind):
        inner = _decoder(match.group(1))
        return None if inner is None else lambda values: [inner(value) for value in values]
    if kind.startswith("DateTime"):
        return lambda text: datetime.fromisoformat(text).replace(tzinfo=UTC)
    if kind.startswith("Decimal"):
        return Decimal
    if kind.startswith("Float"):  # NaN and the infinities come as texts
        return float
    if kind == "UUID":
        return UUID
    if kind == "Date":
        return date.fromisoformat
    return None
