"""How anything is printed: tables, failures, text from outside made harmless."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final, TextIO

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from kalshi_fills.host.printable import ascii_json, visible, visible_lines
from kalshi_fills.report.breaks import side_text

if TYPE_CHECKING:
    from kalshi_fills.reconcile.breaks import Break
    from kalshi_fills.sync.report import SyncReport

_SHOWN_BREAKS: Final = 20

_SHOWN_LETTERS: Final = 60


def show(result: object) -> None:
    """Print one JSON object on stdout, in ASCII."""
    sys.stdout.write(ascii_json(result) + "\n")


def show_failure(command: str, exit_code: int, message: str, hint: str, form: str) -> None:
    """Print an error and its hint on stderr, and as JSON on stdout where that was asked for."""
    message, hint = visible(message), visible(hint)
    sys.stderr.write(f"error: {message}\nhint: {hint}\n")
    if form == "json":
        show(
            {
                "command": command,
                "status": "failed",
                "exit_code": exit_code,
                "error": message,
                "hint": hint,
            }
        )


def after_breaks(report: SyncReport) -> str | None:
    """Return the command that names what breaks are about; None where none is open."""
    if report.open_since is None:
        return None
    return f"kalshi-fills diagnose --since {report.open_since:%Y-%m-%dT%H:%M:%SZ}"


def instant(moment: datetime | None) -> str | None:
    """Write a time as RFC 3339 with Z, without a fraction where it has none."""
    return None if moment is None else moment.isoformat().replace("+00:00", "Z")


def show_breaks(
    console: Console, breaks: Sequence[Break], more_breaks: bool, at_most: int = _SHOWN_BREAKS
) -> None:
    """Print breaks with what each side says."""
    if not breaks:
        return
    more = " and more" if more_breaks else ""
    plural = "" if len(breaks) == 1 else "s"
    table = new_table(f"{len(breaks):,}{more} break{plural} between exchange and table")
    table.add_column("kind", no_wrap=True)
    # An id that is cut off cannot be looked up.
    table.add_column("what, and what each side says", overflow="fold")
    for found in breaks[:at_most]:
        kind = found.kind if found.scope == "fill" else f"{found.kind} ({found.scope})"
        table.add_row(kind, Text(_harmless_lines(_break_lines(found))))
    console.print(table)
    if len(breaks) > at_most:
        console.print(f"{len(breaks) - at_most:,} more with --format json.\n")


def _break_lines(found: Break) -> Iterator[str]:
    if found.market_ticker:
        yield found.market_ticker
    if found.fill_id:
        yield f"fill  {found.fill_id}"
    if found.order_id:
        yield f"order {found.order_id}"
    field = f"{found.field}: " if found.field else ""
    sides = (("exchange", found.exchange), ("table", found.table))
    yield field + ", ".join(
        f"{name} {side_text(found, side)}" for name, side in sides if side is not None
    )


def _harmless_lines(lines: Iterable[str]) -> str:
    return "\n".join(map(harmless, lines))


def harmless(text: str | None) -> str:
    """Return what came from outside so that it cannot steer a terminal."""
    return visible(text or "")


class HarmlessConsole(Console):
    """A console that spells out what could steer a terminal, wherever in a text it stands."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterator[Segment]:
        """Yield the segments of what is printed, without control characters of its own."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield segment._replace(text=visible_lines(segment.text))


def shortened(text: str) -> str:
    """Return a text cut to what a table cell can show."""
    return text if len(text) <= _SHOWN_LETTERS else text[:_SHOWN_LETTERS].rstrip(" ,;") + " …"


def count_items(count: int) -> str:
    """Return a number of items in words."""
    return f"{count:,} item{'' if count == 1 else 's'}"


def is_or_are(count: int) -> str:
    """Return the verb that goes with a count."""
    return "is" if count == 1 else "are"


def new_console(stream: TextIO | None = None) -> Console:
    """Return a console for stdout."""
    return HarmlessConsole(file=stream, highlight=False, markup=False, emoji=False)


def new_table(title: str) -> Table:
    """Return an empty table under a title."""
    return Table(title=Text(title), title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
