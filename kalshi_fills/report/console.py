"""How anything is printed: consoles, empty tables, failures, and what all commands word alike.

What a single command prints is in that command's module.
"""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterator
from datetime import datetime
from typing import Final, TextIO

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from kalshi_fills.host.printable import ascii_json, visible, visible_lines

_SHOWN_LETTERS: Final = 60

_TRAILING: Final = re.compile(r"[ \t]+$", re.MULTILINE)


def show(result: object) -> None:
    """Print one JSON object on stdout, in ASCII."""
    sys.stdout.write(ascii_json(result) + "\n")


def show_failure(command: str, exit_code: int, message: str, hint: str, output_format: str) -> None:
    """Print an error and its hint on stderr, and as JSON on stdout where that was asked for."""
    message, hint = visible(message), visible(hint)
    sys.stderr.write(f"error: {message}\nhint: {hint}\n")
    if output_format == "json":
        show(
            {
                "command": command,
                "status": "failed",
                "exit_code": exit_code,
                "error": message,
                "hint": hint,
            }
        )


def instant(moment: datetime | None) -> str | None:
    """Return a time as RFC 3339 with Z, without a fraction if it has none."""
    return None if moment is None else moment.isoformat().replace("+00:00", "Z")


def to_the_second(moment: datetime | None) -> str | None:
    """Return a time as `instant` does, without its fraction: for people."""
    return None if moment is None else instant(moment.replace(microsecond=0))


def harmless(text: str | None) -> str:
    """Return a text from outside in a form that cannot control the terminal."""
    return visible(text or "")


class HarmlessConsole(Console):
    """A console that spells out every character that could control the terminal."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterator[Segment]:
        """Yield the segments of what is printed, without control characters of its text."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield segment._replace(text=visible_lines(segment.text))


def shortened(text: str) -> str:
    """Return a text, cut between two words to the length a cell of a table has room for."""
    if len(text) <= _SHOWN_LETTERS:
        return text
    return text[:_SHOWN_LETTERS].rpartition(" ")[0].rstrip(",;") + " …"


class _Trimmed(io.StringIO):
    """Passes on what is written, without the spaces that would fill a line."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream

    @property
    def encoding(self) -> str:  # type: ignore[override]  # that of a StringIO is none
        return self._stream.encoding or "utf-8"

    def write(self, text: str) -> int:
        self._stream.write(_TRAILING.sub("", text))
        return len(text)


def new_console(stream: TextIO | None = None) -> Console:
    """Return a console for stdout; what is piped has no spaces at the end of a line."""
    stream = stream or sys.stdout
    return HarmlessConsole(
        file=stream if stream.isatty() else _Trimmed(stream),
        highlight=False,
        markup=False,
        emoji=False,
    )


class _FoldingTable(Table):
    """A table that breaks a long word at the end of its column, and never cuts it off.

    Its title may be wider than the table.
    """

    heading = ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self.heading:
            yield Text(self.heading, style="table.title")
        for column in self.columns:
            if column.overflow == "ellipsis":
                column.overflow = "fold"
        yield from super().__rich_console__(console, options)


def new_table(title: str) -> Table:
    """Return an empty table under a title."""
    table = _FoldingTable(box=SIMPLE_HEAD, pad_edge=False)
    table.heading = title
    return table
