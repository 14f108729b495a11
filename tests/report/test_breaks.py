"""How breaks are shown."""

from __future__ import annotations

import io

from kalshi_fills.reconcile.breaks import Break
from kalshi_fills.report.breaks import break_json, break_row, show_breaks
from kalshi_fills.report.console import new_console

FOUND = Break("mismatch", "fill", "f-1", "o-1", "KXT", "fee", "0.01", "0.02")


def test_the_json_of_a_break_has_the_keys_of_the_contract() -> None:
    assert break_json(FOUND) == {
        "kind": "mismatch",
        "scope": "fill",
        "fill_id": "f-1",
        "order_id": "o-1",
        "market_ticker": "KXT",
        "field": "fee",
        "exchange": "0.01",
        "table": "0.02",
    }


def test_a_row_of_the_page_names_its_columns() -> None:
    row = break_row(FOUND)
    assert (row.of, row.market, row.exchange, row.table) == ("fill", "KXT", "0.01", "0.02")


def test_the_first_breaks_are_listed_and_the_others_counted() -> None:
    out = io.StringIO()
    show_breaks(new_console(out), [FOUND] * 3, False, at_most=2)
    text = out.getvalue()
    assert "3 breaks between exchange and table" in text
    assert text.count("fee: exchange 0.01, table 0.02") == 2
    assert "1 more with --format json." in text
