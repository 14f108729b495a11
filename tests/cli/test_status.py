"""`status`: what the tool's own tables say, and its exit code for monitors."""

from __future__ import annotations

import fcntl
from datetime import datetime, timedelta

import pytest
from support.commandline import Target
from support.outcomes import Cli, Serve, account_of
from support.syncing import claim


@pytest.mark.both_engines
def test_the_status_of_a_table_from_its_first_day_on(
    cli: Cli, serve: Serve, target: Target, now: datetime
) -> None:
    url = target.url

    def status(*words: str, code: int) -> dict[str, object]:
        # A key that cannot be read is none of its business.
        env = {"KALSHI_PRIVATE_KEY_PATH": "/missing", "KALSHI_API_URL": "nonsense"}
        done = cli("status", "--format", "json", *words, url=url, env=env)
        assert done.code == code, done.err
        found: dict[str, object] = done.json
        return found

    assert "kalshi-fills migrate" in str(status(code=5)["hint"])
    assert cli("migrate", url=url).code == 0
    assert status(code=3) == {
        "command": "status",
        "status": "attention",
        "table": f"{target.database}.mm_fills",
        "last_success": None,
        "age_seconds": None,
        "watermark": None,
        "lag_seconds": None,
        "last_failure": None,
        "claims": 0,
        "open_breaks": 0,
        "settled_markets_differing": 0,
    }
    done = cli("status", url=url)
    assert (done.code, done.err) == (3, "")
    assert "no sync has succeeded yet" in done.out
    assert "Next: kalshi-fills sync" in done.out

    exchange = serve(account_of(10, now))
    assert cli("sync", url=url, api=exchange.url).code == 0
    found = status(code=0)
    assert found["status"] == "ok"
    assert 0 <= found["age_seconds"] < 120  # type: ignore[operator]
    assert 0 <= found["lag_seconds"] < 1200  # type: ignore[operator]
    assert str(found["watermark"]).endswith("Z")
    assert status("--max-age", "0s", code=3)["status"] == "attention"
    assert "hint" in status("--max-age", "soon", code=2)

    # A failure since, and an item that claims to be a fill: they are told, the success stays.
    minute_ago = now - timedelta(minutes=1)
    exchange.insert_item(claim(minute_ago), minute_ago)
    assert cli("sync", url=url, api=exchange.url).code == 3
    wrong_key = {"KALSHI_API_KEY_ID": "unknown"}
    assert cli("sync", url=url, api=exchange.url, env=wrong_key).code == 4
    found = status(code=3)
    assert found["claims"] == 1
    assert found["last_failure"]["at"] > found["last_success"]  # type: ignore[index]
    assert "does not know this key id" in found["last_failure"]["error"]  # type: ignore[index]
    done = cli("status", url=url)
    assert "1 refused item that may be a fill" in done.out
    assert "Next: kalshi-fills diagnose" in done.out

    # What truncate enters into the ledger is no success of a sync, but its watermark counts.
    before = found["last_success"]
    assert cli("truncate", "--yes", url=url).code == 0
    found = status(code=3)
    assert (found["last_success"], found["watermark"]) == (before, None)


@pytest.mark.parametrize("target", ["embedded"], indirect=True)
def test_a_folder_that_a_run_has_open_is_75(cli: Cli, target: Target) -> None:
    assert cli("migrate", url=target.url).code == 0
    folder = target.url.removeprefix("chdb://").partition("?")[0]
    with open(f"{folder}/status", "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert cli("status", url=target.url).code == 75
        assert cli("query", "SELECT 1", url=target.url).code == 75
