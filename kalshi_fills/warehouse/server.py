"""ClickHouse as a server, over its native protocol."""

from __future__ import annotations

import contextlib
import logging
import re
import socket
import struct
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, NoReturn
from urllib.parse import parse_qs, unquote, urlencode, urlsplit, urlunsplit

from kalshi_fills.errors import InsertUnknown, SettingsError, WarehouseError
from kalshi_fills.warehouse.client import (
    CUTS,
    FIXED_CODES,
    SETTINGS,
    Code,
    Row,
    Rows,
    TextTable,
    Value,
    Warehouse,
    escape_bytes,
    first_sentence,
    parameter_texts,
    refusal,
    refuse_settings,
)
from kalshi_fills.warehouse.profile import READING, WRITING, Profile, Setting, profile
from kalshi_fills.warehouse.statements import quote_identifier

_SILENT_SECONDS: Final = 120

_EVERY_SERVER_KNOWS: Final = frozenset(("extremes", "limit", "offset", "read_overflow_mode"))


_UNREACHED: Final[Mapping[int, str]] = {
    Code.SOCKET_TIMEOUT: "it did not answer in time",
    Code.NETWORK_ERROR: "no connection",
    Code.UNEXPECTED_PACKET_FROM_SERVER: (
        "what answers there is not ClickHouse's native protocol (port 9000, TLS 9440)"
    ),
}
"""Why a server could not be reached, by the driver's code."""

_REACH_HINT: Final = "check that the server runs and that CLICKHOUSE_URL names its native port"


class _Unreached(NamedTuple):
    """Why there is no connection, as the driver's words tell it."""

    words: re.Pattern[str]
    why: str
    hint: str


_NO_CONNECTION: Final = (
    _Unreached(
        re.compile("refused", re.IGNORECASE),
        "the connection was refused, so no server listens there",
        _REACH_HINT + ": 9000, or 9440 with TLS",
    ),
    _Unreached(
        re.compile("name resolution|not known|nodename|no address", re.IGNORECASE),
        "the name of the host is not known",
        "check the host in CLICKHOUSE_URL, and the name service of this machine",
    ),
    _Unreached(
        re.compile("certificate", re.IGNORECASE),
        "its TLS certificate is not trusted",
        "check that CLICKHOUSE_URL has the name that the certificate is for; ?ca_certs=FILE names "
        "an authority of your own",
    ),
    _Unreached(
        re.compile("ssl|tls", re.IGNORECASE),
        "it does not speak TLS there",
        "with clickhouses:// name the TLS port, mostly 9440; without TLS write clickhouse://",
    ),
)
"""Network errors whose words tell more than their code; the first that fits counts."""


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
            if error.code not in FIXED_CODES:
                raise
            found = self._fixed_settings()
        self._profile = profile(found)
        refuse_settings(self._profile.spoils_reading, "answers may be wrong")

    def _fixed_settings(self) -> list[Setting]:
        """Return the settings of a user who may not change some; none is sent with the query."""
        try:
            # The server takes these two back in the list when it has used them: a plan shows them.
            plan = str(self._client.execute("EXPLAIN PLAN SELECT 1"))
            cuts = self._client.execute(CUTS)
        except self._failures() as error:
            self._raise(error)
        known = [
            Setting("limit", "not 0" if "Limit (" in plan else "0", fixed=True),
            Setting("offset", "not 0" if "Offset" in plan or not cuts else "0", fixed=True),
        ]
        for read_cut, timeout_cut in cuts:
            known += [
                Setting("read_overflow_mode", read_cut, fixed=True),
                Setting("timeout_overflow_mode", timeout_cut, fixed=True),
            ]
        refuse_settings(profile(known).spoils_reading, "answers may be wrong")
        names = {setting.name for setting in known}
        return [setting for setting in self._settings({}) if setting.name not in names] + known

    def _settings(self, settings: Mapping[str, str]) -> list[Setting]:
        names = [*READING, *WRITING]
        try:
            answer = self._client.execute(
                SETTINGS, {"names": names}, settings=dict(settings), with_column_types=False
            )
        except self._failures() as error:
            self._raise(error)
        found = [
            Setting(name, value, bool(fixed), least, most)
            for (listed,) in answer
            for name, value, fixed, least, most in listed
        ]
        if missing := _EVERY_SERVER_KNOWS - {setting.name for setting in found}:
            raise WarehouseError(
                f"ClickHouse at {self._where} does not list its setting {min(missing)}",
                hint="let the user read all of system.settings; a profile or a row policy cuts it",
            )
        return found

    def rows(
        self,
        sql: str,
        params: Mapping[str, Value] | None = None,
        *,
        wanted: TextTable | None = None,
    ) -> Rows:
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
                parameter_texts(params),
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
            rows = [
                tuple(
                    bool(value) if index in flags and value is not None else value
                    for index, value in enumerate(row)
                )
                for row in rows
            ]
        return Rows([name for name, _ in columns], map(tuple, rows), [kind for _, kind in columns])

    def command(self, sql: str, params: Mapping[str, Value] | None = None) -> None:
        self._require_writing()
        try:
            self._client.execute(sql, parameter_texts(params), settings=self._profile.writing)
        except self._failures() as error:
            self._raise(error)

    def insert(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Value]]) -> None:
        if not rows:
            return
        names = ", ".join(map(quote_identifier, columns))
        self._insert(f"INSERT INTO {table} ({names}) VALUES", rows)

    def insert_lines(
        self,
        lines: Sequence[str],
        payloads: Sequence[str],
        statement: str,
        params: Mapping[str, Value] | None = None,
    ) -> None:
        if not lines:
            return
        # A table that travels with the query takes no privilege, as the function `input` would.
        rows = list(zip(lines, payloads, strict=True))
        columns = [("line", "String"), ("payload", "String")]
        block = {"name": "block", "structure": columns, "data": rows}
        self._insert(statement, parameter_texts(params), external_tables=[block])

    def _require_writing(self) -> None:
        refuse_settings(self._profile.spoils_writing, "a write may go wrong")

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

    def only_read(self, database: str) -> None:
        ((level,),) = self.rows("SELECT toString(getSetting('readonly'))")
        self.rows(f"USE {quote_identifier(database)}")
        if level == "0":  # 2 lets a query change settings, but not this one
            self._profile.reading.update({"session_timezone": "UTC", "readonly": "2"})

    def give_up(self) -> None:
        connected = self._client.connection.socket
        with contextlib.suppress(OSError):
            if connected is not None:
                connected.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        # A thread that was given up may still use the connection.
        with contextlib.suppress(*self._failures()):
            self._client.disconnect()

    def _without_password(self, message: str) -> str:
        return message.replace(self._password, "***") if len(self._password) > 3 else message

    def _failures(self) -> tuple[type[BaseException], ...]:
        # Values that do not fit their column are refused by the driver, in many ways.
        mistakes = (ValueError, TypeError, KeyError, AttributeError, ArithmeticError, struct.error)
        return (self._errors.Error, EOFError, OSError, *mistakes)

    def _raise(self, error: BaseException) -> NoReturn:
        code = getattr(error, "code", None)
        if (
            not isinstance(error, EOFError | OSError | self._errors.Error)
            or code == Code.TYPE_MISMATCH
        ):
            raise WarehouseError(
                f"a value does not fit its column: {first_sentence(str(error))}",
                hint="run `kalshi-fills migrate --dry-run` to see whether the tables are today's",
                code=code,
            ) from error
        if isinstance(error, self._errors.ServerException):
            raise refusal(code, self._without_password(str(error.message)), self._where) from error
        why = _UNREACHED.get(code or 0, f"the connection was lost ({type(error).__name__})")
        hint = _REACH_HINT
        for known in _NO_CONNECTION:
            if code == Code.NETWORK_ERROR and known.words.search(str(error)):
                why, hint = known.why, known.hint
                break
        raise WarehouseError(
            f"ClickHouse at {self._where} could not be reached: {why}", hint=hint, code=code
        ) from error


def _as_text(rows: Sequence[Row], columns: Sequence[tuple[str, str]]) -> list[Row]:
    """Return rows with text where the driver gives bytes, which it does for what is no UTF-8."""
    texts = [index for index, (_, kind) in enumerate(columns) if "String" in kind]
    for index in texts:
        kinds = {type(row[index]) for row in rows}
        if not kinds <= {str, type(None)} and any(_has_bytes(row[index]) for row in rows):
            return [tuple(map(escape_bytes, row)) for row in rows]
    return list(rows)


def _has_bytes(value: object) -> bool:
    if isinstance(value, Mapping):
        return any(map(_has_bytes, (*value.keys(), *value.values())))
    if isinstance(value, list | tuple):
        return any(map(_has_bytes, value))
    return isinstance(value, bytes)
