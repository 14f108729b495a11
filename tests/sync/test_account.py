"""One table holds the fills of one account: another environment is refused, with both ways out."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from support.commandline import Done, Target
from support.faulty import assert_failed

from kalshi_fills.cli.api_url import ENVIRONMENTS, environment_of
from kalshi_fills.practice.account import generate_account
from kalshi_fills.practice.exchange import PracticeExchange
from kalshi_fills.warehouse.standing import account_of, require_same_account

Cli = Callable[..., Done]
Serve = Callable[..., PracticeExchange]

DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("url", "environment"),
    [
        (ENVIRONMENTS["prod"], "prod"),
        ("https://api.elections.kalshi.com/trade-api/v2", "prod"),
        ("https://API.Elections.Kalshi.com.:443/trade-api/v2", "prod"),
        (ENVIRONMENTS["demo"], "demo"),
        ("https://demo-api.kalshi.co/trade-api/v2", "demo"),
    ],
)
def test_known_hosts_have_names(url: str, environment: str) -> None:
    assert environment_of(url) == environment


def test_other_addresses_are_told_apart_and_not_kept_as_they_are() -> None:
    urls = [
        "http://127.0.0.1:8000/trade-api/v2",
        "http://127.0.0.1:8001/trade-api/v2",
        "https://kalshi.com.example.org/trade-api/v2",
        "https://proxy.example.org/kalshi",
        "https://proxy.example.org/other",
    ]
    names = {environment_of(url) for url in urls}

    assert len(names) == len(urls)
    assert all(name.startswith("url-") and "example" not in name for name in names)
    assert environment_of("http://localhost:8000/trade-api/v2/") == environment_of(urls[0])


def test_a_key_is_kept_as_a_digest_that_differs_between_environments() -> None:
    here, there = account_of("prod", "some-key"), account_of("demo", "some-key")

    assert here.key_digest != there.key_digest
    assert "some-key" not in here.key_digest
    assert here == account_of("prod", "some-key")


def test_a_table_without_a_recorded_environment_takes_any() -> None:
    require_same_account("", "demo", "kalshi.mm_fills")
    require_same_account("demo", "demo", "kalshi.mm_fills")


def accounts(serve: Serve) -> tuple[PracticeExchange, PracticeExchange]:
    now = datetime.now(UTC)
    first = serve(generate_account(3, 12, start=now - 9 * DAY, end=now - DAY))
    second = serve(generate_account(4, 7, start=now - 9 * DAY, end=now - DAY))
    return first, second


def test_another_exchange_is_refused_and_writes_nothing(
    cli: Cli, target: Target, serve: Serve
) -> None:
    first, second = accounts(serve)
    cli("migrate", url=target.url)
    assert cli("sync", url=target.url, api=first.url).code == 0

    for words in (("sync",), ("sync", "--dry-run"), ("sync", "--full"), ("diagnose",)):
        told = assert_failed(cli(*words, url=target.url, api=second.url), 2)
        assert "--table" in told
        assert "--same-account" in told
    assert second.requests.total() == 0
    assert target.read("SELECT count() FROM DB.mm_fills FINAL") == [(12,)]
    assert target.read("SELECT count() FROM DB.mm_fills_runs FINAL") == [(1,)]
    assert cli("diagnose", "--offline", url=target.url, api=second.url).code == 0


def test_the_same_account_under_another_address(cli: Cli, target: Target, serve: Serve) -> None:
    now = datetime.now(UTC)
    account = generate_account(3, 12, start=now - 9 * DAY, end=now - DAY)
    first, moved = serve(account), serve(account)
    cli("migrate", url=target.url)
    cli("sync", url=target.url, api=first.url)

    done = cli("sync", "--same-account", "--format", "json", url=target.url, api=moved.url)

    assert done.code == 0, done.err
    assert done.json["stages"]["n_known"] == 12
    assert done.json["stages"]["n_new"] == 0
    assert "API key" in done.json["notes"][0]
    assert cli("sync", url=target.url, api=moved.url).code == 0
    assert cli("diagnose", "--since", "30d", url=target.url, api=moved.url).code == 0
    assert cli("sync", url=target.url, api=first.url).code == 2


def test_another_account_has_a_table_of_its_own(cli: Cli, target: Target, serve: Serve) -> None:
    first, second = accounts(serve)
    for table, exchange in (("mm_fills", first), ("other", second)):
        cli("migrate", "--table", table, url=target.url)
        assert cli("sync", "--table", table, url=target.url, api=exchange.url).code == 0

    assert target.read("SELECT count() FROM DB.other FINAL") == [(7,)]


def test_a_note_stands_under_the_table_and_in_the_json(
    cli: Cli, target: Target, serve: Serve
) -> None:
    now = datetime.now(UTC)
    exchange = serve(
        generate_account(3, 12, start=now - 9 * DAY, end=now - 2 * DAY), as_of_lag_seconds=90_000
    )
    cli("migrate", url=target.url)

    table = cli("sync", url=target.url, api=exchange.url)
    as_json = cli("sync", "--format", "json", url=target.url, api=exchange.url)

    assert "behind the clock" in table.out
    (note,) = as_json.json["notes"]
    assert "behind the clock" in note
    assert target.read("SELECT notes[1] FROM DB.mm_fills_runs FINAL ORDER BY started_at DESC") == [
        (note,),
        (target.read("SELECT notes[1] FROM DB.mm_fills_runs FINAL ORDER BY started_at")[0][0],),
    ]
