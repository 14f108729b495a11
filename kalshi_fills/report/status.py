"""How the syncs of a table stand, as one screen and as JSON."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from rich.table import Table
from rich.text import Text

from kalshi_fills.report.console import harmless, instant, new_console
from kalshi_fills.sync.open_breaks import read_open_breaks
from kalshi_fills.words import many, one_or_more

if TYPE_CHECKING:
    from kalshi_fills.warehouse.statements import Tables
    from kalshi_fills.warehouse.status import Status

_UNITS: Final = ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))


def status_json(
    found: Status, tables: Tables, now: datetime, max_age: timedelta
) -> dict[str, object]:
    """Return a status as the contract's JSON."""
    failure = found.last_failure
    return {
        "command": "status",
        "status": "attention" if found.is_open() or found.is_late(now, max_age) else "ok",
        "table": f"{tables.database}.{tables.fills}",
        "last_success": instant(found.last_success),
        "age_seconds": _seconds_since(found.last_success, now),
        "watermark": instant(found.watermark),
        "lag_seconds": _seconds_since(found.watermark, now),
        "last_failure": failure and {"at": instant(failure.at), "error": failure.error},
        "claims": found.claims,
        "open_breaks": found.open_breaks,
        "settled_markets_differing": found.settled_markets_differing,
    }


def show_status(found: Status, tables: Tables, now: datetime, max_age: timedelta) -> None:
    """Print a status on one screen, what is wrong first, and what to run next."""
    console = new_console()
    wrong = _what_is_wrong(found, now, max_age)
    verdict = "; ".join(wrong) or f"the last sync succeeded {_ago(found.last_success, now)}"
    if found.last_success is not None and _has_failed_since(found):
        names_success = not wrong or found.is_late(now, max_age)
        verdict += "; a later one failed" if names_success else "; the latest sync failed"
    console.print(
        Text(
            f"{'ATTENTION' if wrong else 'OK'}  {tables.database}.{tables.fills}: {verdict}",
            style="yellow" if wrong else "green",
        )
    )
    lines = Table.grid(padding=(0, 2, 0, 0))
    lines.add_column(no_wrap=True)
    lines.add_column(overflow="fold")
    lines.add_row("last success", _moment(found.last_success, now))
    lines.add_row("watermark", _moment(found.watermark, now))
    failure = found.last_failure
    if failure is None:
        lines.add_row("latest failure", "none")
    else:
        lines.add_row("latest failure", _moment(failure.at, now))
        lines.add_row("", Text(harmless(failure.error)))
    lines.add_row("claims not accepted", f"{found.claims:,}")
    lines.add_row("open breaks", f"{found.open_breaks:,}")
    lines.add_row("settled markets that differ", f"{found.settled_markets_differing:,}")
    console.print(lines)
    if wrong:
        console.print(Text(f"Next: {_next(found)}", style="bold"))


def _has_failed_since(found: Status) -> bool:
    """Return whether a sync has failed after the last success."""
    failure, success = found.last_failure, found.last_success
    return failure is not None and (success is None or failure.at > success)


def _what_is_wrong(found: Status, now: datetime, max_age: timedelta) -> list[str]:
    wrong: list[str] = []
    if found.last_success is None:
        wrong.append("no sync has succeeded yet")
    elif found.is_late(now, max_age):
        wrong.append(f"the last sync succeeded {_ago(found.last_success, now)}")
    if claims := found.claims:
        fills = one_or_more(claims, "a fill", "fills")
        wrong.append(f"{many(claims, 'refused item')} that may be {fills}")
    if breaks := found.open_breaks:
        wrong.append(many(breaks, "open break"))
    if differing := found.settled_markets_differing:
        wrong.append(
            f"{many(differing, 'settled market')} {one_or_more(differing, 'differs', 'differ')}"
        )
    return wrong


def _next(found: Status) -> str:
    if found.open_breaks and (since := read_open_breaks(found.open_breaks_listed).since):
        return f"kalshi-fills diagnose --since {since:%Y-%m-%dT%H:%M:%SZ}"
    if found.is_open():
        return "kalshi-fills diagnose"
    return "kalshi-fills sync"


def _seconds_since(moment: datetime | None, now: datetime) -> int | None:
    return None if moment is None else max(0, int((now - moment).total_seconds()))


def _moment(moment: datetime | None, now: datetime) -> str:
    if moment is None:
        return "none"
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC, {_ago(moment, now)}"


def _ago(moment: datetime | None, now: datetime) -> str:
    seconds = _seconds_since(moment, now) or 0
    size, unit = next(((size, unit) for size, unit in _UNITS if seconds >= size), (1, "second"))
    return f"{many(seconds // size, unit)} ago"
