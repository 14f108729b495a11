"""An account as it is: a hundred thousand fills, most of whose markets are settled."""

from __future__ import annotations

import pytest
from support.diagnosing import Desk, assert_well, check
from support.settling import settled_account
from support.syncing import DAY

pytestmark = pytest.mark.torture


def test_a_hundred_thousand_fills_in_three_subaccounts_agree(desk: Desk) -> None:
    account = settled_account(100_000, days=60)
    desk.healthy(account)
    settled = {row.ticker for row in desk.exchange.portfolio.rows()}

    for found in (desk.diagnose(61 * DAY), desk.diagnose(offline=True)):
        assert_well(found)
        assert check(found, "settled_markets_match").status == "pass"
        assert found.compared.settled_markets == len(settled) > 1_000
        assert not any("settlement" in note for note in found.notes)
    assert desk.diagnose().compared.settled_markets < len(settled)
