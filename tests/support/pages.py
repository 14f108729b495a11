"""Reports read as a browser reads them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

from kalshi_fills.diagnose.causes import Cause
from kalshi_fills.diagnose.checks import Check
from kalshi_fills.diagnose.run import Diagnosis, HourOfBoth
from kalshi_fills.diagnose.survey import QueryResult
from kalshi_fills.pipeline.window import Window
from kalshi_fills.reconcile.breaks import Break
from kalshi_fills.report.page import render
from kalshi_fills.warehouse.statements import Tables

NOW = datetime(2026, 11, 2, 12, 30, 15, 417, UTC)


HOUR = timedelta(hours=1)


TABLES = Tables("kalshi")


VOID = {"meta", "br", "hr", "img", "input", "link"}


@dataclass
class Element:
    tag: str
    attributes: dict[str, str | None]
    text: str = ""
    inner: list[Element] = field(default_factory=list)

    def all(self, tag: str = "", **wanted: str) -> Iterator[Element]:
        for one in self.inner:
            named = {name.rstrip("_"): value for name, value in wanted.items()}
            if tag in ("", one.tag) and all(
                one.attributes.get(name) == value for name, value in named.items()
            ):
                yield one
            yield from one.all(tag, **wanted)

    def one(self, tag: str = "", **wanted: str) -> Element:
        (found,) = self.all(tag, **wanted)
        return found

    @property
    def words(self) -> str:
        return " ".join(self.text.split())


class Page(HTMLParser):
    """A page as a tree; a tag that is not closed in its place is an error."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Element("", {})
        self._open = [self.root]
        self.feed(html)
        self.close()
        assert self._open == [self.root], "a tag stays open"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, dict(attrs))
        self._open[-1].inner.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._open[-1].inner.append(Element(tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.text += data


def query(name: str, columns: str, *rows: tuple[object, ...]) -> QueryResult:
    return QueryResult(name, f"title of {name}", "what", "nothing", columns.split(), list(rows))


def answers(
    minutes: dict[datetime, int] | None = None, order: str = "order-1"
) -> list[QueryResult]:
    counted = minutes or {NOW.replace(second=0, microsecond=0): 3}
    return [
        query(
            "volume_per_minute", "minute rows price_0", *((at, n, 1) for at, n in counted.items())
        ),
        query(
            "price_distribution",
            "price_in_cents rows percent",
            ("0 or less", 1, 25.0),
            ("40 to 45", 3, 75.0),
        ),
        query(
            "rows_per_order",
            "order_id market_ticker rows fill_ids first_ts last_ts",
            (order, "KXT", 900, 2, NOW, NOW),
            ("", "KXT", 1, 0, NOW, NOW),
        ),
    ]


def diagnosis(**changes: object) -> Diagnosis:
    found = Diagnosis(Window(NOW - 24 * HOUR, NOW), offline=False)
    found.checks = [
        Check(
            "volume_matches_api",
            "fail",
            "exchange 5, table 4,774",
            "all",
            "No.",
            "kalshi-fills sync",
        ),
        Check("schema_migrated", "pass", "as it must be", "today's", "Yes.", ""),
        Check("prices_valid", "warn", "observed-3", "expected-3", "Perhaps.", "look"),
        Check("no_periodic_cadence", "skip", "too few", "p >= 1e-06", "Cannot say.", ""),
        Check("no_duplicate_rows", "fail", "5 fills in 358", "once", "Again.", "kalshi-fills y"),
    ]
    found.causes = [
        Cause(
            "schema_never_migrated", "Never came.", ["no fill_id", "no key"], "kalshi-fills migrate"
        ),
        Cause("fills_missing", "Not there.", [], "kalshi-fills sync --since 2026-11-01"),
    ]
    found.breaks = [
        Break("missing", "fill", "fill-1", "order-1", "KXT", None, "10 on 2026", None),
        Break("mismatch", "position", None, None, "KXU", "position_fp", "1.00", "1.01"),
    ]
    found.notes = ["Compared up to noon.", "Something was moved."]
    found.hours = [HourOfBoth(NOW.replace(minute=0, second=0, microsecond=0), 5, 4774)]
    found.queries = answers()
    found.requests, found.elapsed_seconds = 1234, 2.25
    for name, value in changes.items():
        setattr(found, name, value)
    return found


def page_of(found: Diagnosis) -> Element:
    return Page(render(found, TABLES, NOW)).root
