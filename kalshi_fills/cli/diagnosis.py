"""The report of the command `diagnose`: what is printed, the page, and the exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kalshi_fills.host.printable import looks_like_key
from kalshi_fills.report.console import show

if TYPE_CHECKING:
    from kalshi_fills.cli.app import Context
    from kalshi_fills.diagnose.run import Diagnosis
    from kalshi_fills.errors import Mistakes


def check_page(page: str, mistakes: Mistakes) -> None:
    """Note why the page could not be written."""
    if not page or "://" in page or "@" in page or looks_like_key(page):
        mistakes.add("--report names no file", "name it like --report diagnosis.html")
        return
    from kalshi_fills.report.page import require_page

    require_page(page, mistakes)


def report_diagnosis(
    context: Context, found: Diagnosis, page: str | None, *, all_breaks: bool
) -> int:
    """Print what was found, write the page if one is asked for, and return the exit code."""
    from kalshi_fills.report.diagnose import diagnosis_json, show_diagnosis

    tables = context.settings.tables
    if not context.json:  # before the page, so that a full disk does not cost the verdict
        show_diagnosis(found, tables, all_breaks=all_breaks)
    if page is not None:
        from kalshi_fills.report.page import write_page

        write_page(found, tables, context.now, page)
    if context.json:
        show(diagnosis_json(found))
    return 3 if found.verdict == "fail" else 0
