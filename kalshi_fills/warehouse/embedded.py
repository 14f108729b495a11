"""ClickHouse embedded in this process."""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import importlib.metadata
import json
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID

from kalshi_fills.errors import LockedError, SettingsError, WarehouseError
from kalshi_fills.warehouse.client import (
    Row,
    Rows,
    TextTable,
    Value,
    Warehouse,
    error_code,
    escape_bytes,
    first_sentence,
    is_utf8,
    literal,
    parameter_text,
    parameter_texts,
    refusal,
)
from kalshi_fills.warehouse.profile import embedded_profile
from kalshi_fills.warehouse.statements import quote_identifier

_PROGRAM: Final = re.compile(
    r"SOURCE\s*\(\s*EXECUTABLE|ENGINE\s*=\s*Executable|\bexecutable\s*\(", re.IGNORECASE
)
"""What makes the engine run a program, in a stored definition."""

_DECODED_AT_ONCE: Final = 10_000
"""How many rows of an answer are decoded at once."""

_ARROW_IS_OPTIONAL: Final = (26, 7)
"""From which release on the engine's module does without pyarrow."""

_BLOCK_FILE: Final = "kalshi-fills-block.tsv"
"""What is being inserted; a run that was killed leaves it, and the next one removes it."""


def open_embedded(folder: Path) -> Warehouse:
    """Open the embedded engine on a folder, which is made where it is missing.

    Raises:
        LockedError: another process has the folder open.
        WarehouseError: the folder cannot be used.
    """
    return _Embedded(folder)


def load_engine() -> None:
    """Import the engine, and leave signals to Python.

    Its module turns what a signal's handler raises meanwhile into an ImportError.
    """
    # pyarrow takes as long to load as the engine itself, and nothing here needs it.
    with _hidden("pyarrow") if _release() >= _ARROW_IS_OPTIONAL else contextlib.nullcontext():
        importlib.import_module("chdb.session")
    # The engine's own handlers would hang the process on a crash and swallow Ctrl-Z.
    with contextlib.suppress(AttributeError):
        importlib.import_module("chdb._chdb").set_signal_handlers_enabled(False)


def _release() -> tuple[int, ...]:
    """Return the engine's release, such as (26, 9, 0); nothing where it is not known."""
    try:
        return tuple(map(int, importlib.metadata.version("chdb-core").split(".")))
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return ()


@contextlib.contextmanager
def _hidden(module: str) -> Iterator[None]:
    """Make a module that is not imported yet look as if it were not installed."""
    sys.modules.setdefault(module, None)  # type: ignore[arg-type]
    try:
        yield
    finally:
        if sys.modules.get(module, sys) is None:
            del sys.modules[module]


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
        _refuse_copied_links(folder)
        load_engine()
        from chdb.session import Session

        self._folder = folder
        # The engine would read a config.xml of the working folder, and run scripts of its own.
        self._private = tempfile.TemporaryDirectory(prefix="kalshi-fills-", dir=_temporary_folder())
        self._block_file = folder.absolute() / _BLOCK_FILE
        # By this path, as the engine takes signs such as { and * in one for a pattern.
        self._block_link = Path(self._private.name) / "block.tsv"
        self._block_link.symlink_to(self._block_file)
        try:
            self._session = Session(f"{folder}?{_private_options(Path(self._private.name))}")
        except RuntimeError as error:
            self._private.cleanup()
            raise WarehouseError(
                f"the embedded engine could not open {folder}: {first_sentence(str(error))}",
                hint="check the folder's owner and free space, or point CLICKHOUSE_URL elsewhere",
                code=error_code(str(error)),
            ) from error
        self._remove_block_file()
        settings = embedded_profile(set(self._query("SELECT name FROM system.settings").split()))
        self._query("SET " + ", ".join(f"{name} = {literal(settings[name])}" for name in settings))

    def rows(
        self,
        sql: str,
        params: Mapping[str, Value] | None = None,
        *,
        wanted: TextTable | None = None,
    ) -> Rows:
        if wanted is None:
            return self._rows(sql, params)
        columns = ", ".join(f"{quote_identifier(column)} String" for column in wanted.columns)
        self._query(f"CREATE OR REPLACE TEMPORARY TABLE wanted ({columns}) ENGINE = Memory")
        try:
            self.insert("wanted", wanted.columns, wanted.rows)
            return self._rows(sql, params)
        finally:
            self._query("DROP TEMPORARY TABLE IF EXISTS wanted")

    def _rows(self, sql: str, params: Mapping[str, Value] | None) -> Rows:
        # Lines end in \n only: other line ends are inside JSON strings, unescaped.
        text = self._query(sql, "JSONCompactEachRowWithNamesAndTypes", params)
        lines = text.rstrip("\n").split("\n")
        if len(lines) < 2:
            return Rows()
        types = json.loads(lines[1])
        rows: Iterable[Row] = _decoded_rows(lines[2:], types)
        if not is_utf8(text):
            rows = (tuple(map(escape_bytes, row)) for row in rows)
        return Rows(list(map(str, json.loads(lines[0]))), rows, types)

    def command(self, sql: str, params: Mapping[str, Value] | None = None) -> None:
        self._query(sql, params=params)

    def insert(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Value]]) -> None:
        if not rows:
            return
        names = ", ".join(map(quote_identifier, columns))
        self._query(f"INSERT INTO {table} ({names}) FORMAT TabSeparated\n{_tsv_lines(rows)}\n")

    def insert_lines(
        self,
        lines: Sequence[str],
        payloads: Sequence[str],
        statement: str,
        params: Mapping[str, Value] | None = None,
    ) -> None:
        if not lines:
            return
        # The engine reads a file much faster than rows that stand in a statement.
        try:
            with open(
                self._block_file, "w", encoding="utf-8", newline="", opener=_open_for_owner
            ) as file:
                escaped = zip(_escaped_texts(lines), _escaped_texts(payloads), strict=True)
                file.write("\n".join([f"{line}\t{payload}" for line, payload in escaped]) + "\n")
            self._query(
                "CREATE OR REPLACE TEMPORARY TABLE block (`line` String, `payload` String) "
                f"ENGINE = File(TabSeparated, {literal(str(self._block_link))})"
            )
            self._query(statement, params=params)
            self._query("DROP TEMPORARY TABLE block")
        except OSError as error:
            raise WarehouseError(
                f"{self._block_file} could not be written: {error.strerror}",
                hint="check the folder's owner and free space; what was stored stays: run the same "
                "command again",
            ) from error
        finally:
            self._remove_block_file()

    def _remove_block_file(self) -> None:
        with contextlib.suppress(OSError):
            self._block_file.unlink()

    def only_read(self, database: str) -> None:
        self._query(f"USE {quote_identifier(database)}")
        self._query("SET session_timezone = 'UTC', date_time_output_format = 'iso', readonly = 2")

    def give_up(self) -> None:
        pass

    def close(self) -> None:
        with contextlib.suppress(RuntimeError):
            self._session.close()
        self._private.cleanup()

    def _query(
        self, sql: str, form: str = "TabSeparated", params: Mapping[str, Value] | None = None
    ) -> str:
        texts = {name: _escaped(value) for name, value in (parameter_texts(params) or {}).items()}
        try:
            answer = self._session.query(sql, form, params=texts)
        except RuntimeError as error:  # the engine's own class is one, under two names
            with contextlib.suppress(RuntimeError):
                # What the failed query had printed would stand before the next answer.
                self._session.query("SELECT 1", "Null")
            raise refusal(error_code(str(error)), str(error), str(self._folder)) from error
        blob: bytes = answer.bytes() if answer is not None else b""
        # Bytes that are no UTF-8 are kept apart here, for JSON's own escapes come first.
        return blob.decode(errors="surrogateescape")


def _temporary_folder() -> str | None:
    """Return where to make temporary folders: as usual, unless its path is a pattern."""
    unusual = re.search(r"[*?{}\[\]]", tempfile.gettempdir())
    return "/tmp" if unusual else None  # noqa: S108 - a folder of its own is made there


def _open_for_owner(path: str, flags: int) -> int:
    """Open a file that only its owner may read, and no link to another one."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


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


def _refuse_copied_links(folder: Path) -> None:
    """Refuse a copy in which a symbolic link became the folder it leads to: no engine opens it."""
    for definition in (folder / "metadata").glob("*.sql"):
        copied = definition.with_suffix("")
        if not copied.is_dir() or copied.is_symlink():
            continue
        with contextlib.suppress(OSError):
            if "ENGINE = Atomic" in definition.read_text(encoding="utf-8", errors="replace"):
                raise WarehouseError(
                    f"the folder {folder} is a copy that lost its symbolic links, which the "
                    "embedded engine cannot open",
                    hint=f"remove {copied}, which is in {folder / 'store'} as well, and run this "
                    "again; `cp -a` keeps such links",
                )


def _refuse_if_open(folder: Path) -> None:
    """Raise if another process has the folder open; the engine would print it on stderr only."""
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


_ESCAPES: Final = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": "\\0"})


def _tsv_list(values: Sequence[Value]) -> str:
    # What stands in a list is escaped once, as part of the list, not once more as the field.
    return f"[{','.join(map(_tsv_element, values))}]"


def _tsv_element(value: Value) -> str:
    if type(value) is int:
        return str(value)
    return "'" + _tsv_text(str(value)).replace("'", "\\'") + "'"


def _tsv_text(text: str) -> str:
    return text.translate(_ESCAPES)


_TSV: Final[Mapping[type, Callable[[Any], str]]] = {
    str: _tsv_text,
    int: str,
    float: repr,
    bool: lambda value: "true" if value else "false",
    type(None): lambda _: "\\N",
    Decimal: lambda value: f"{value:f}",
    datetime: lambda value: str(parameter_text(value)),
    date: str,
    UUID: str,
    list: _tsv_list,
    tuple: _tsv_list,
}
"""How the embedded engine reads each type in tab-separated text."""


def _tsv_lines(rows: Sequence[Sequence[Value]]) -> str:
    """Return rows as tab-separated text; a value without any special sign is itself."""
    texts = [value for row in rows for value in row if isinstance(value, str)]
    if len(texts) == len(rows) * len(rows[0]) and _escaped_texts(texts) is texts:
        width = len(rows[0])
        return "\n".join(map("\t".join, zip(*[iter(texts)] * width, strict=True)))
    return "\n".join(["\t".join([_TSV[type(value)](value) for value in row]) for row in rows])


def _escaped_texts(texts: Sequence[str]) -> Iterable[str]:
    """Return texts as tab-separated text has them; where no sign in them is special, they stay."""
    joined = "".join(texts)
    return map(_tsv_text, texts) if any(chr(sign) in joined for sign in _ESCAPES) else texts


def _escaped(value: Value) -> Value:
    """Write a parameter as the embedded engine reads it: tab-separated text."""
    return _TSV[type(value)](value) if type(value) in (str, list) else value


def _decoded_rows(lines: Sequence[str], types: Sequence[str]) -> Iterator[Row]:
    """Yield the rows of the engine's JSON, decoded column by column, many at once."""
    decoders = [_decoder(kind) for kind in types]
    for start in range(0, len(lines), _DECODED_AT_ONCE):
        part = ",".join(lines[start : start + _DECODED_AT_ONCE])
        columns = zip(*json.loads(f"[{part}]"), strict=True)
        yield from zip(
            *[
                [value if value is None or decode is None else decode(value) for value in column]
                for decode, column in zip(decoders, columns, strict=True)
            ],
            strict=True,
        )


def _decoder(kind: str) -> Callable[[Any], Value] | None:
    """Return the function that turns the engine's JSON into the type's Python value, or None."""
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
