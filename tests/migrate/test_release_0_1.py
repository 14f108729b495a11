"""Tables that release 0.1 made and filled go on with today's code."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from support.commandline import Done, Target, run_statement

from kalshi_fills.practice.account import PracticeAccount, PracticeFill, generate_account
from kalshi_fills.practice.exchange import PracticeExchange

Cli = Callable[..., Done]
Serve = Callable[..., PracticeExchange]

DAY = timedelta(days=1)
FILLS = 40
RECENT, OLD = uuid.UUID(int=1), uuid.UUID(int=2)
"""Decisions that an engine noted with a fill of the last days, and with the account's first."""

pytestmark = pytest.mark.parametrize("target", ["embedded"], indirect=True)


def link(target: Target, fill: PracticeFill, decision: uuid.UUID) -> None:
    """Insert a fill as an engine does, with a link that the exchange cannot give back."""
    run_statement(
        target,
        "INSERT INTO DB.mm_fills (ts, fill_id, exchange_order_id, market_ticker, side, "
        "price_cents, size, decision_id) "
        f"SELECT toDateTime64({fill.executed_at_us} / 1000000, 6, 'UTC'), '{fill.fill_id}', "
        f"'{fill.order_id}', '{fill.ticker}', '{fill.outcome_side}', 41, 1, '{decision}'",
    )


def decisions(target: Target) -> set[uuid.UUID]:
    found = target.read("SELECT DISTINCT decision_id FROM DB.mm_fills FINAL")
    return {row[0] for row in found if row[0].int}


def quarantine(target: Target) -> list[tuple[Any, ...]]:
    return target.read(
        "SELECT fingerprint, any(stage), any(reason), any(raw_json), max(accepted) "
        "FROM DB.mm_fills_rejected GROUP BY fingerprint ORDER BY fingerprint"
    )


@pytest.fixture
def account(now: datetime) -> PracticeAccount:
    return generate_account(3, FILLS, start=now - 9 * DAY, end=now - DAY, junk_share=0.2)


@pytest.fixture
def exchange(serve: Serve, account: PracticeAccount, now: datetime) -> PracticeExchange:
    """The account, with items that are not fills, and one that is a fill and cannot be read."""
    serving = serve(account)
    broken = account.fills[5].payload(account.era_of(account.fills[5]))
    broken |= {"fill_id": str(uuid.uuid4()), "count_fp": "many", "count": "many"}
    serving.insert_item(broken, now - 2 * DAY)
    return serving


@pytest.fixture
def made(
    older: Cli, target: Target, exchange: PracticeExchange, account: PracticeAccount
) -> dict[str, Any]:
    """Tables of release 0.1 after some use; return what it says of its backups."""
    by_time = sorted(account.fills, key=lambda fill: fill.executed_at_us)
    assert older("migrate", url=target.url).code == 0
    link(target, by_time[0], OLD)
    link(target, by_time[-1], RECENT)
    for words in (("sync", "--accept-rejected"), ("truncate", "--before", "5d", "--yes")):
        done = older(*words, url=target.url, api=exchange.url)
        assert done.code == 0, done.err
    done = older("sync", url=target.url, api=exchange.url)
    assert done.code == 0, done.err
    listed = older("truncate", "--list-backups", "--format", "json", url=target.url)
    found: dict[str, Any] = listed.json
    return found


def test_one_migrate_leaves_everything_that_0_1_made(
    made: dict[str, Any], cli: Cli, target: Target, exchange: PracticeExchange
) -> None:
    refused = quarantine(target)
    assert len(refused) > 5
    assert made["watermark"] is not None
    assert decisions(target) == {RECENT}
    rows = "SELECT * FROM DB.mm_fills ORDER BY ALL"
    before = target.read(rows)

    migrated = cli("migrate", "--format", "json", url=target.url)

    assert migrated.code == 0, migrated.err
    assert (migrated.json["changed"], migrated.json["kept"]) == (True, [])
    assert not cli("migrate", "--format", "json", url=target.url).json["changed"]
    assert target.read(rows) == before
    assert quarantine(target) == refused
    listed = cli("truncate", "--list-backups", "--format", "json", url=target.url).json
    assert listed["watermark"] == made["watermark"]
    assert [backup["name"] for backup in listed["backups"]] == [
        backup["name"] for backup in made["backups"]
    ]
    assert listed["backups"][0]["rows"] > 0

    synced = cli("sync", "--full", "--format", "json", url=target.url, api=exchange.url)

    assert synced.code == 0, synced.err
    stages = synced.json["stages"]
    assert (stages["n_new"], stages["n_corrected"], stages["n_known"]) == (0, 0, FILLS)
    assert target.read(rows) == before
    assert decisions(target) == {RECENT}
    assert quarantine(target) == refused
    later = datetime.fromisoformat(synced.json["watermark"])
    assert later >= datetime.fromisoformat(made["watermark"])


def test_a_backup_of_0_1_is_restored(
    made: dict[str, Any],
    cli: Cli,
    target: Target,
    exchange: PracticeExchange,
) -> None:
    (backup,) = made["backups"]
    assert cli("migrate", url=target.url).code == 0
    assert cli("truncate", "--yes", url=target.url).code == 0

    restored = cli("truncate", "--restore", backup["name"], "--format", "json", url=target.url)

    assert restored.code == 0, restored.err
    assert restored.json["restored"] == backup["name"]
    assert target.read("SELECT count() FROM DB.mm_fills FINAL") == [(backup["rows"],)]
    assert decisions(target) == {OLD}
    synced = cli("sync", "--format", "json", url=target.url, api=exchange.url)
    assert synced.code == 0, synced.err
    assert synced.json["stages"]["n_known"] == backup["rows"]
    assert synced.json["stages"]["n_new"] == FILLS - backup["rows"]
    assert decisions(target) == {OLD}
    assert datetime.now(UTC) >= datetime.fromisoformat(synced.json["watermark"])
