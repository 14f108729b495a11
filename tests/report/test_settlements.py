"""What a sync prints of settlements."""

from __future__ import annotations

import uuid

import pytest

from kalshi_fills.report.sync import show_sync, sync_json
from kalshi_fills.sync.report import SettlementCounts, SyncReport
from kalshi_fills.warehouse.statements import Tables


def test_a_sync_says_what_became_of_the_settlements(capsys: pytest.CaptureFixture[str]) -> None:
    report = SyncReport(uuid.uuid4(), status="done")
    show_sync(report, Tables("kalshi"))
    assert "settlements none listed\n" in capsys.readouterr().out

    report.settlements = SettlementCounts(1_234, 1_200, 3, 30, 1)
    show_sync(report, Tables("kalshi"))

    line = "settlements 1,234: 1,200 new, 3 corrected, 30 known, 1 refused\n"
    assert line in capsys.readouterr().out
    assert sync_json(report)["settlements"] == {
        "n_api": 1_234,
        "n_new": 1_200,
        "n_corrected": 3,
        "n_known": 30,
        "n_rejected": 1,
    }
