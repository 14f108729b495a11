"""The interface to ClickHouse, and its errors in the tool's own words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import IntEnum
from typing import Any, Final, NamedTuple, Protocol, TypeVar
from uuid import UUID

from kalshi_fills.errors import WarehouseError
from kalshi_fills.warehouse.profile import Setting

RowType = TypeVar("RowType", bound=tuple[Any, ...])
"""A NamedTuple class whose fields have the names of a query's columns."""

Value = object

Row = tuple[Any, ...]
"""One row of a result; the types of its values follow from the query's columns."""


class Rows(list[Row]):
    """The rows of a result, with the names of their columns; `select` reads them by name."""

    def __init__(
        self, columns: Sequence[str] = (), rows: Iterable[Row] = (), types: Sequence[str] = ()
    ) -> None:
        super().__init__(rows)
        self.columns = tuple(columns)
        self.types = tuple(types)


class TextTable(NamedTuple):
    """A small table that travels with a query: every column is a String."""

    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


class Code(IntEnum):
    """ClickHouse's numbers of the errors that mean something to the tool, by its own names."""

    UNKNOWN_TYPE = 50
    TYPE_MISMATCH = 53
    SYNTAX_ERROR = 62
    UNKNOWN_DATABASE = 81
    UNEXPECTED_PACKET_FROM_SERVER = 102
    READONLY = 164
    UNKNOWN_USER = 192
    WRONG_PASSWORD = 193
    REQUIRED_PASSWORD = 194
    SOCKET_TIMEOUT = 209
    NETWORK_ERROR = 210
    NOT_ENOUGH_SPACE = 243
    ALL_CONNECTION_TRIES_FAILED = 279
    SETTING_CONSTRAINT_VIOLATION = 452
    ACCESS_DENIED = 497
    AUTHENTICATION_FAILED = 516
    NO_REMOTE_SHARD_AVAILABLE = 519
    TABLE_NOT_EMPTY = 705


_AUTHENTICATION_CODES: Final = frozenset(
    (
        Code.UNKNOWN_USER,
        Code.WRONG_PASSWORD,
        Code.REQUIRED_PASSWORD,
        Code.AUTHENTICATION_FAILED,
    )
)

_GRANT_CODES: Final = frozenset((Code.READONLY, Code.ACCESS_DENIED))

FIXED_CODES: Final = frozenset((Code.READONLY, Code.SETTING_CONSTRAINT_VIOLATION))
"""The user may not change a setting."""

UNREACHABLE_CODES: Final = frozenset(
    (
        Code.SOCKET_TIMEOUT,
        Code.NETWORK_ERROR,
        Code.ALL_CONNECTION_TRIES_FAILED,
        Code.NO_REMOTE_SHARD_AVAILABLE,
    )
)
"""A host does not answer."""

SETTINGS: Final = """
SELECT groupArray((name, value, readonly, min, max))
FROM system.settings
WHERE has({names:Array(String)}, name)
"""
"""One row, whatever the profile does to rows."""

CUTS: Final = """
SELECT toString(getSetting('read_overflow_mode')), toString(getSetting('timeout_overflow_mode'))
"""
"""Settings that may cut the list of settings short, asked for one by one."""


class Warehouse(Protocol):
    """What the tool needs of ClickHouse."""

    def rows(
        self,
        sql: str,
        params: Mapping[str, Value] | None = None,
        *,
        wanted: TextTable | None = None,
    ) -> Rows:
        """Return the rows of one query; parameters are the engine's own `{name:Type}`.

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

    def insert_lines(
        self,
        lines: Sequence[str],
        payloads: Sequence[str],
        statement: str,
        params: Mapping[str, Value] | None = None,
    ) -> None:
        """Insert many rows at once, each as two texts.

        Args:
            lines: of each row one.
            payloads: of each row another.
            statement: an INSERT … SELECT that reads them as columns `line` and `payload` of a
                table `block`.
            params: values by name.

        Raises:
            InsertUnknown: the answer never came.
            WarehouseError: refused, nothing of the block is stored.
        """
        ...

    def only_read(self, database: str) -> None:
        """Allow nothing but reading from now on, in this database, with times in UTC.

        A statement cannot lift this again.

        Raises:
            WarehouseError: there is no such database.
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


def select(
    warehouse: Warehouse,
    row_type: type[RowType],
    sql: str,
    params: Mapping[str, Value] | None = None,
    *,
    wanted: TextTable | None = None,
) -> list[RowType]:
    """Return the rows of one query, each as a NamedTuple with the fields its columns name.

    Columns may come in any order; there must be one for each field, and no other.

    Raises:
        WarehouseError: the query could not be run.
        TypeError: the columns are not the fields, which is a mistake in the program.
    """
    found = warehouse.rows(sql, params, wanted=wanted)
    if not found:
        return []
    named_tuple: Any = row_type
    fields: tuple[str, ...] = named_tuple._fields
    if sorted(found.columns) != sorted(fields):
        raise TypeError(f"a query has the columns {found.columns}, not {fields}")
    if found.columns == fields:
        return list(map(named_tuple._make, found))
    places = [found.columns.index(name) for name in fields]
    return [named_tuple._make(row[place] for place in places) for row in found]


def select_one(
    warehouse: Warehouse,
    row_type: type[RowType],
    sql: str,
    params: Mapping[str, Value] | None = None,
) -> RowType | None:
    """Return the first row of a query as `select` does, or None if it has no row."""
    return next(iter(select(warehouse, row_type, sql, params)), None)


def lines(warehouse: Warehouse, sql: str) -> list[str]:
    """Return the first column of a SHOW or an EXPLAIN, whose columns have no fixed names."""
    return [str(row[0]) for row in warehouse.rows(sql)]


def is_utf8(text: str) -> bool:
    """Return whether a text can be encoded."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def escape_bytes(value: object) -> object:
    r"""Return a value with the bytes in its texts that are not UTF-8 written as `\xff`."""
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    if isinstance(value, str):
        return value.encode(errors="surrogateescape").decode(errors="backslashreplace")
    if isinstance(value, list):
        return list(map(escape_bytes, value))
    if isinstance(value, tuple):
        return tuple(map(escape_bytes, value))
    if isinstance(value, dict):
        return {escape_bytes(key): escape_bytes(item) for key, item in value.items()}
    return value


def refusal(code: int | None, message: str, where: str) -> WarehouseError:
    """Return ClickHouse's refusal as an error with a hint."""
    reason = first_sentence(message)
    if code in _AUTHENTICATION_CODES:
        return WarehouseError(
            f"ClickHouse at {where} refused the user name or password",
            hint="check the user and password in CLICKHOUSE_URL (percent-encode special letters)",
            code=code,
        )
    if code in _GRANT_CODES:
        return WarehouseError(
            f"ClickHouse at {where} does not allow this user to do that: {reason}",
            hint="grant what is missing, or use another user in CLICKHOUSE_URL",
            code=code,
        )
    if code == Code.NOT_ENOUGH_SPACE:
        return WarehouseError(
            f"ClickHouse at {where} has no space left on its disk",
            hint="free some space and run the same command again",
            code=code,
        )
    return WarehouseError(
        f"ClickHouse at {where} refused a statement: {reason}",
        hint="run `kalshi-fills migrate --dry-run` to see whether the tables are today's",
        code=code,
    )


def refuse_settings(spoilt: Sequence[Setting], consequence: str) -> None:
    """Refuse a user whose profile fixes a setting at a value that decides an outcome."""
    if not spoilt:
        return
    named = ", ".join(f"{setting.name} = {literal(setting.value)}" for setting in spoilt)
    raise WarehouseError(
        printable(f"this ClickHouse user's profile fixes {named}, with which {consequence}"),
        hint="as an administrator let the user change it, or set it to the server's default",
    )


def error_code(message: str) -> int | None:
    """Return ClickHouse's own number of an error, None where it has none."""
    match = re.search(r"Code: (\d+)", message)
    return int(match.group(1)) if match else None


def first_sentence(message: str) -> str:
    """Return the first sentence of an error of ClickHouse's."""
    text = message.split("Stack trace:")[0]
    text = re.sub(r"^.*?Code: \d+\. ", "", text, flags=re.DOTALL)
    text = re.sub(r"DB::(?:Net)?Exception: ", "", text).strip()
    text = re.sub(r"\s*\([A-Z_]+\)( \(version .*)?$", "", text.split("\n")[0])
    return printable(re.sub(r"\s+", " ", text)[:300].rstrip(". "))


def printable(text: str) -> str:
    """Return a text of which what a terminal would not print stands escaped."""
    if text.isprintable():
        return text
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text
    )


def literal(value: str) -> str:
    """Return a text as a literal of SQL."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def in_utc(moment: datetime) -> datetime:
    """Return a moment in UTC; one without a zone is in it already."""
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)


def parameter_texts(params: Mapping[str, Value] | None) -> dict[str, Value] | None:
    """Return parameters as both engines take them: text, numbers, and lists of text."""
    if params is None:
        return None
    return {
        name: parameter_text(value)
        if isinstance(value, datetime | Decimal | UUID | date)
        else value
        for name, value in params.items()
    }


def parameter_text(value: Value) -> Value:
    """Return a parameter as the engine reads it."""
    if isinstance(value, datetime):
        moment = value.astimezone(UTC) if value.tzinfo else value
        return moment.isoformat(" ", "microseconds")[:26]
    if isinstance(value, Decimal):
        return f"{value:f}"
    return str(value)
