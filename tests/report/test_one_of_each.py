"""Every screen where there is one of everything: no plural follows a count of one."""

from __future__ import annotations

import re
import sys
import uuid
from dataclasses import fields
from datetime import UTC, datetime, timedelta

import pytest
from support.pages import TABLES, diagnosis, query
from support.singular import plurals_of_one

from kalshi_fills.migrate.run import MigrationReport, Step
from kalshi_fills.pipeline.fills import Reason, Rejected
from kalshi_fills.pipeline.stages import Counts
from kalshi_fills.pipeline.window import Window
from kalshi_fills.reconcile.breaks import Break
from kalshi_fills.report.diagnose import show_diagnosis, show_query
from kalshi_fills.report.migrate import show_migration
from kalshi_fills.report.page import render
from kalshi_fills.report.query import show_rows
from kalshi_fills.report.status import show_status
from kalshi_fills.report.sync import show_sync
from kalshi_fills.report.truncate import show_backups, show_truncation
from kalshi_fills.sync.report import SettlementCounts, SyncReport
from kalshi_fills.truncate.backups import Backup
from kalshi_fills.truncate.plan import Removed, TruncationReport
from kalshi_fills.warehouse.client import Rows
from kalshi_fills.warehouse.status import Failure, Status

NOW = datetime(2026, 11, 2, 12, 30, 15, tzinfo=UTC)
SECOND = timedelta(seconds=1)
BREAK = Break("missing", "fill", "fill-1", "order-1", "KXT", None, "1.00 yes", None)


def test_the_rule_knows_a_plural_from_a_singular() -> None:
    for wrong in (
        "1 rows", "1 open breaks", "1 of 6 checks fail", "1 refused item claim to be", "row(s)",
        "1 item of the\nanswer are", "of 1 orders", "1 of 4 rows (25.0%) have",
    ):  # fmt: skip
        assert plurals_of_one(wrong), wrong
    for right in (
        "1 row", "11 rows", "0.1 seconds", "1,001 rows", "1 of 6 checks fails", "2026-11-01 rows",
        "1 order and 1 position agree", "1 of 4 rows (25.0%) has",
    ):  # fmt: skip
        assert not plurals_of_one(right), right


def one_of_each(**changes: object) -> SyncReport:
    report = SyncReport(uuid.uuid4(), status="done", window=Window(None, NOW), watermark=NOW)
    report.counts = Counts(**dict.fromkeys([one.name for one in fields(Counts)], 1))
    keys = tuple(f"key_{number}" for number in range(9))
    refused = Rejected(Reason.PRICE_UNREADABLE, keys, "{}", True, NOW, "0" * 32)
    report.refusals.add(refused)
    report.settlements = SettlementCounts(1, 1, 1, 1, 1)
    report.corrections.by_field["price_cents"] = 1
    report.breaks = [BREAK]
    report.claims = report.made_up_ids = report.conflicts = report.requests = report.pages = 1
    report.open_breaks = 1
    report.open_since = NOW
    report.other_hosts = ["another"]
    for name, value in changes.items():
        setattr(report, name, value)
    return report


@pytest.mark.parametrize("status", ["done", "failed"])
def test_a_sync(status: str, capsys: pytest.CaptureFixture[str]) -> None:
    show_sync(one_of_each(status=status), TABLES)
    shown = capsys.readouterr().out
    assert "1 item" in shown
    assert plurals_of_one(shown) == []


def test_a_sync_that_loses_one_item_at_each_stage(capsys: pytest.CaptureFixture[str]) -> None:
    counts = Counts(n_api=5, n_raw=4, n_real=3, n_valid=2, n_gated=1, n_known=1, n_rejected=4)
    show_sync(one_of_each(counts=counts), TABLES)
    shown = capsys.readouterr().out
    assert "1 item of the answer is not even an object." in " ".join(shown.split())
    assert plurals_of_one(shown) == []


@pytest.mark.parametrize("acted", [False, True])
@pytest.mark.parametrize("what", ["garbage", "everything"])
def test_a_truncate(acted: bool, what: str, capsys: pytest.CaptureFixture[str]) -> None:
    report = TruncationReport(what, acted=acted, rows_before=1, bytes_before=1, rows_removed=1)
    report.removed = [Removed("repeat", 1)]
    report.rows_repaired = report.rows_late = 1
    report.backup = "mm_fills_backup_1"
    report.other_hosts = ["another"]
    show_truncation(report, TABLES, sys.stdout)
    shown = capsys.readouterr().out
    assert "1 fill " in shown
    assert plurals_of_one(shown) == []


def test_backups(capsys: pytest.CaptureFixture[str]) -> None:
    backup = Backup("mm_fills_backup_1", 1, 1, NOW - SECOND, "DROP TABLE x")
    report = TruncationReport("list", backups=[backup], kept_aside=["mm_fills_legacy_1"])
    show_backups(report, TABLES, NOW)
    assert plurals_of_one(capsys.readouterr().out) == []


def test_a_status(capsys: pytest.CaptureFixture[str]) -> None:
    for age in (SECOND, timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)):
        failure = Failure(NOW - age / 2, "1 row")
        found = Status(NOW - age, NOW - age, failure, 1, 1, "", 1)
        show_status(found, TABLES, NOW, timedelta(0))
    shown = capsys.readouterr().out
    assert " ".join(shown.split()).count("the last sync succeeded 1 second ago") == 1
    assert shown.count("a later one failed") == 4
    verdicts = re.findall(r"ATTENTION.*?(?=\nlast success)", shown, re.DOTALL)
    assert len(verdicts) == 4
    for verdict in verdicts:
        told = "1 refused item that may be a fill; 1 open break; 1 settled market differs"
        assert told in " ".join(verdict.split())
        assert plurals_of_one(verdict) == []


def test_a_failure_after_a_success_that_is_recent_enough(
    capsys: pytest.CaptureFixture[str],
) -> None:
    failure = Failure(NOW - SECOND, "refused")
    for breaks in (0, 1):
        found = Status(NOW - 2 * SECOND, NOW, failure, 0, breaks, "")
        show_status(found, TABLES, NOW, timedelta(hours=2))
    fine, wrong = re.findall(r"kalshi.mm_fills: (.*)\n", capsys.readouterr().out)
    assert fine == "the last sync succeeded 2 seconds ago; a later one failed"
    assert wrong == "1 open break; the latest sync failed"


def test_a_migration(capsys: pytest.CaptureFixture[str]) -> None:
    step = Step("0008_alter_runs", "1 column missing: x", "add them", 1, 1, 1.0, "done")
    show_migration(MigrationReport(False, [step], ["mm_fills_legacy_1"]), TABLES)
    shown = capsys.readouterr().out
    assert "1 row" in shown
    assert plurals_of_one(shown) == []


def test_a_diagnosis_and_its_page(capsys: pytest.CaptureFixture[str]) -> None:
    answers = [
        query("volume_per_minute", "minute rows price_0", (NOW.replace(second=0), 1, 1)),
        query("price_distribution", "price_in_cents rows percent", ("0 or less", 1, 100.0)),
        query(
            "rows_per_order",
            "order_id market_ticker rows fill_ids first_ts last_ts",
            ("order-1", "KXT", 1, 1, NOW, NOW),
        ),
    ]
    checks = diagnosis().checks
    warned = [one._replace(status="pass") for one in checks[:4]] + [
        checks[4]._replace(status="warn")
    ]
    failed = [*warned[:4], checks[4]]
    for found in (
        diagnosis(checks=failed, breaks=[BREAK], queries=answers, requests=1),
        diagnosis(checks=warned, breaks=[BREAK], queries=answers, requests=1),
    ):
        show_diagnosis(found, TABLES)
        show_query(answers[0])
        page = render(found, TABLES, NOW)
        assert "asked, 1 request<" in page
        assert plurals_of_one(page) == []
    shown = capsys.readouterr().out
    assert "1 of 5 checks fails" in shown
    assert "nothing fails, but 1 check warns" in shown
    assert plurals_of_one(shown) == []


def test_a_query(capsys: pytest.CaptureFixture[str]) -> None:
    show_rows(Rows(["n"], [(1,)], ["UInt8"]))
    assert "1 row\n" in capsys.readouterr().out
