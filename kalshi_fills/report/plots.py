"""The plots of the report page, in their order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kalshi_fills.report.drawing import Plot
from kalshi_fills.report.plots_of_money import cash_and_profit
from kalshi_fills.report.plots_of_rows import price_distribution, rows_per_order
from kalshi_fills.report.plots_over_time import exchange_against_table, fills_per_minute

if TYPE_CHECKING:
    from kalshi_fills.diagnose.run import Diagnosis


def plots(found: Diagnosis) -> list[Plot]:
    """Return the plots of a diagnosis: each as numbers, as a sentence and as a drawing.

    Prices and rows per order say nothing where nothing is wrong with them.
    """
    passed = {check.name for check in found.checks if check.status == "pass"}
    shown = [exchange_against_table(found), fills_per_minute(found)]
    if "prices_valid" not in passed:
        shown.append(price_distribution(found))
    if "no_duplicate_rows" not in passed:
        shown.append(rows_per_order(found))
    if found.days:
        shown.append(cash_and_profit(found))
    return shown
