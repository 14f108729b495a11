"""Whatever the exchange and the machine do to a sync, the table is right afterwards, or says why.

Every fault of the practice exchange, fills that come late, listings without an end, a full disk, a
clock that is off, hostile texts and items of every kind: compared with the truth, id by id and
value by value.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from support import syncing
from support.clickhouse_server import ClickHouseServer
from support.commandline import Account, Done, Target, embedded_rows
from support.faulty import (
    COLUMNS,
    UNLIMITED,
    assert_failed,
    assert_the_truth,
    stored,
)
from support.syncing import (
    DAY,
    HOUR,
    MINUTE,
    NOW,
    NOW_FLOORED,
    SECOND,
    Bench,
    account_of,
    canonical,
    fill_at,
)

from kalshi_fills.errors import ExchangeError
from kalshi_fills.exchange import deadline as wire_module
from kalshi_fills.exchange.client import RetryBudget
from kalshi_fills.practice.account import PracticeAccount, PracticeFill, generate_account
from kalshi_fills.practice.exchange import PracticeExchange
from kalshi_fills.practice.faults import Faults
from kalshi_fills.sync.report import SyncReport
from kalshi_fills.warehouse.client import Warehouse
from kalshi_fills.warehouse.server import open_server
from kalshi_fills.warehouse.statements import Tables

Cli = Callable[..., Done]
Serve = Callable[..., PracticeExchange]

FAULTS = (
    "reset truncate slow empty_body html_instead_of_json server_error throttle repeat_cursor "
    "repeat_page overlap_page empty_page"
).split()
ALL_OF_THEM = "all of them"

server_only = pytest.mark.parametrize(
    "target", [pytest.param("server", marks=pytest.mark.server)], indirect=True
)


def refused(read: Callable[..., list[tuple[Any, ...]]], table: str) -> Counter[str]:
    """Give the items in quarantine; more than one row of an item would count as many."""
    return Counter(
        canonical(json.loads(raw)) for (raw,) in read(f"SELECT raw_json FROM {table} FINAL")
    )


@pytest.fixture
def bench(
    warehouse: Warehouse, tables: Any, api_key: Account, serve: Serve, monkeypatch: Any
) -> Bench:
    """A bench whose requests have the tool's own time for retries, with shorter waits between."""
    budget = RetryBudget(
        seconds=60.0, attempts=60, first_wait_seconds=0.002, longest_wait_seconds=0.01
    )
    monkeypatch.setattr(syncing, "RetryBudget", lambda *_: budget)
    return Bench(warehouse, tables, api_key, serve)


@pytest.fixture
def migrated(cli: Cli, target: Target) -> Target:
    assert cli("migrate", url=target.url).code == 0
    return target


def faults_of(which: str, seed: int) -> Faults:
    names = FAULTS if which == ALL_OF_THEM else [which]
    return Faults(**dict.fromkeys(names, 0.1), slow_seconds=0.02, seed=seed)


def years(fills: int, now: datetime) -> tuple[PracticeAccount, datetime]:
    """Give an account of all eras with junk in between, and where its tiers meet."""
    account = generate_account(
        31, fills, start=datetime(2025, 4, 1, tzinfo=UTC), end=now - HOUR, junk_share=0.05
    )
    return account, now - 90 * DAY


# Each fault, and all of them


@pytest.mark.parametrize("fault", [*FAULTS, ALL_OF_THEM])
def test_a_fault_in_a_tenth_of_the_answers_changes_nothing(bench: Bench, fault: str) -> None:
    account, cutoff = years(3_000, NOW)
    bench.faults = faults_of(fault, seed=1)
    bench.serve(account, cutoff=cutoff, largest_page=100)
    runs = 0
    failed = True
    while failed:
        runs += 1
        began = time.monotonic()
        with contextlib.suppress(ExchangeError):
            bench.run()
            failed = False
        assert time.monotonic() - began < 20
        assert runs <= 3

    assert_the_truth(bench.rows(COLUMNS), account, cutoff)
    struck = +bench.faults.injected
    assert struck.keys() == (set(FAULTS) if fault == ALL_OF_THEM else {fault})
    assert refused(bench.warehouse.rows, bench.tables.name("_rejected")) == Counter(
        {canonical(item.value): 1 for item in account.junk}
    )
    if fault == ALL_OF_THEM:
        bench.faults = Faults()
        bench.serve(account, cutoff=cutoff)
        assert bench.run(full=True).counts.n_inserted == 0


@pytest.mark.torture
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("fault", [*FAULTS, ALL_OF_THEM])
def test_a_fault_in_a_tenth_of_the_answers_changes_nothing_of_fifty_thousand_fills(
    cli: Cli, migrated: Target, serve: Serve, now: datetime, fault: str
) -> None:
    account, cutoff = years(50_000, now)
    faults = replace(faults_of(fault, seed=2), slow_seconds=1.0)
    exchange = serve(account, cutoff=cutoff, limits=UNLIMITED, faults=faults)
    codes: list[int] = []
    while not codes or codes[-1] == 4:
        assert len(codes) < 3
        asked, began = exchange.requests.total(), time.monotonic()
        done = cli("sync", "--format", "json", url=migrated.url, api=exchange.url, timeout=900)
        codes.append(done.code)
        took = time.monotonic() - began
        asked = exchange.requests.total() - asked
        print(f"{fault}: exit {done.code} after {took:.1f} s and {asked} requests")
        # One request may use up its whole budget, all others take a second on average.
        assert took < RetryBudget().seconds + asked

    # Some of the junk claims to be a fill.
    assert codes[-1] == 3, done.err
    assert_the_truth(stored(migrated), account, cutoff)
    assert (+faults.injected).keys() == (set(FAULTS) if fault == ALL_OF_THEM else {fault})
    assert refused(migrated.read, "DB.mm_fills_rejected") == Counter(
        {canonical(item.value): 1 for item in account.junk}
    )
    assert_ledger_adds_up(migrated)
    calm = serve(account, cutoff=cutoff, limits=UNLIMITED)
    again = cli("sync", "--full", "--format", "json", url=migrated.url, api=calm.url)
    assert again.json["stages"]["n_inserted"] == 0


def assert_ledger_adds_up(target: Target) -> None:
    odd = target.read(
        "SELECT run_id FROM DB.mm_fills_runs FINAL WHERE status = 'done' AND NOT ("
        "n_api = n_inserted + n_known + n_duplicate + n_rejected "
        "AND n_inserted = n_new + n_corrected)"
    )
    assert odd == []


@pytest.mark.torture
@pytest.mark.timeout(900)
def test_answers_that_come_after_the_client_has_given_up_cost_time_only(
    cli: Cli, migrated: Target, serve: Serve, now: datetime
) -> None:
    account, cutoff = years(3_000, now)
    faults = Faults(slow=0.15, slow_seconds=25, seed=3)
    exchange = serve(account, cutoff=cutoff, limits=UNLIMITED, faults=faults, largest_page=300)

    done = cli("sync", url=migrated.url, api=exchange.url, timeout=600)

    assert done.code == 3, done.err
    assert faults.injected["slow"] > 0
    assert_the_truth(stored(migrated), account, cutoff)


# Fills that come while syncs come and go


class Market:
    """Trades all the time; a part of the fills shows up late in the listing."""

    def __init__(self, bench: Bench, per_second: int) -> None:
        rng = random.Random(50)
        self._bench = bench
        self._late: list[tuple[datetime, PracticeFill]] = []
        self.fills: list[PracticeFill] = []
        """What the exchange has listed so far."""
        for number in range(per_second * 600):
            at = NOW + SECOND * number / per_second
            seen = at + (90 * SECOND if rng.random() < 0.05 else 0 * SECOND)
            self._late.append((seen, fill_at(at, number)))
        self._late.sort(key=lambda entry: entry[0], reverse=True)

    def trade(self, until: datetime) -> None:
        """List what has happened by then, and set the clock to it."""
        new = []
        while self._late and self._late[-1][0] <= until:
            new.append(self._late.pop()[1])
        self._bench.exchange.add(new)
        self.fills += new
        self._bench.clock.now = max(self._bench.clock.now, until)


def ten_syncs(bench: Bench, per_second: int) -> None:
    bench.serve(account_of(), largest_page=per_second * 10)
    market = Market(bench, per_second)
    read = 0
    for minute in range(1, 11):
        start = NOW + minute * MINUTE

        def meanwhile(report: SyncReport, start: datetime = start) -> None:
            market.trade(start + min(report.pages, 40) * SECOND / 2)

        market.trade(start)
        done = bench.run(overlap=2 * MINUTE, progress=meanwhile)
        assert not done.has_findings
        read += done.counts.n_api
    market.trade(NOW + 12 * MINUTE)
    last = bench.run(overlap=2 * MINUTE)

    assert len(market.fills) == per_second * 600
    assert last.counts.n_new > 0
    assert not last.has_findings
    everything = replace(account_of(), fills=market.fills)
    assert_the_truth(bench.rows(COLUMNS), everything)
    # It was the overlap that found them: nothing was read from the start each time.
    assert read < 5 * len(market.fills)
    assert bench.run(full=True).counts.n_inserted == 0


def test_fills_that_come_late_between_ten_syncs_are_all_stored(bench: Bench) -> None:
    ten_syncs(bench, per_second=4)


@pytest.mark.torture
def test_fifty_fills_a_second_that_come_late_between_ten_syncs_are_all_stored(
    bench: Bench,
) -> None:
    ten_syncs(bench, per_second=50)


# Listings without an end

ENDLESS = {
    "a cursor that repeats": ("repeat_cursor", "cursor"),
    "empty pages": ("empty_page", "nothing new"),
    "one page again and again": ("repeat_page", "nothing new"),
    "old fills under new cursors": ("endless_cursors", "nothing new"),
    "a page that never ends": ("endless_body", "send a page"),
}


@pytest.mark.parametrize("what", ENDLESS)
def test_a_listing_without_an_end_is_given_up_and_moves_no_watermark(
    warehouse: Warehouse,
    tables: Any,
    api_key: Account,
    serve: Serve,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
) -> None:
    monkeypatch.setattr(wire_module, "ANSWER_SECONDS", 0.3)
    bench = Bench(warehouse, tables, api_key, serve)
    account = generate_account(6, 2_000, start=NOW - DAY, end=NOW - HOUR)
    bench.serve(account, largest_page=50)
    bench.run(until=NOW - 20 * HOUR)
    fault, sentence = ENDLESS[what]
    setattr(bench.faults, fault, 1.0)
    bench.clock.now = NOW + MINUTE
    asked, began = bench.exchange.requests.total(), time.monotonic()

    with pytest.raises(ExchangeError, match=sentence) as caught:
        bench.run()

    assert caught.value.exit_code == 4
    assert caught.value.hint
    assert time.monotonic() - began < 20
    assert bench.exchange.requests.total() - asked < 400
    assert bench.runs("status, watermark") == [
        ("done", NOW_FLOORED - 20 * HOUR),
        ("failed", None),
    ]
    assert sentence in bench.runs("error")[1][0]
    setattr(bench.faults, fault, 0.0)
    healed = bench.run()
    assert healed.window is not None
    assert healed.window.start == NOW_FLOORED - 21 * HOUR
    assert_the_truth(bench.rows(COLUMNS), account)


@pytest.mark.torture
@pytest.mark.timeout(900)
@pytest.mark.parametrize("what", ENDLESS)
def test_a_listing_without_an_end_is_given_up_within_the_budget(
    cli: Cli, migrated: Target, serve: Serve, now: datetime, what: str
) -> None:
    account = generate_account(6, 5_000, start=now - DAY, end=now - HOUR)
    fault, sentence = ENDLESS[what]
    exchange = serve(account, limits=UNLIMITED, faults=Faults(**{fault: 1.0}))
    began = time.monotonic()

    done = cli("sync", url=migrated.url, api=exchange.url, timeout=300)

    took = time.monotonic() - began
    print(f"{what}: given up after {took:.1f} s and {exchange.requests.total()} requests")
    assert sentence in assert_failed(done, 4)
    assert took < RetryBudget().seconds + 90  # the last attempt may take as long as a page may
    assert migrated.read("SELECT status, watermark FROM DB.mm_fills_runs FINAL") == [
        ("failed", None)
    ]


# A full disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 96 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", str(disk)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("a small disk cannot be mounted here")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def fill_up(disk: Path, left: int) -> Path:
    """Fill the disk but for that many bytes."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(1 << 16)):
            continue
    with filler.open("r+b") as file:
        file.truncate(filler.stat().st_size - left)
    return filler


@pytest.mark.parametrize("left", [300_000, pytest.param(0, marks=pytest.mark.torture)])
@pytest.mark.parametrize("engine", ["embedded", pytest.param("server", marks=pytest.mark.server)])
def test_a_full_disk_is_told_and_the_next_run_repairs(
    cli: Cli,
    serve: Serve,
    now: datetime,
    small_disk: Path,
    request: pytest.FixtureRequest,
    engine: str,
    left: int,
) -> None:
    folder = small_disk / "chdb"
    if engine == "embedded":
        pytest.importorskip("chdb", reason="the embedded engine is not installed")
        url = f"chdb://{folder}?database=kalshi"
    else:
        server: ClickHouseServer = request.getfixturevalue("own_server")(small_disk / "server")
        url = server.url("kalshi")

    def read(sql: str) -> list[tuple[Any, ...]]:
        if engine == "embedded":
            return embedded_rows(folder, sql, {})
        with contextlib.closing(open_server(url)) as opened:
            return opened.rows(sql)

    account = generate_account(6, 5_000, start=now - DAY, end=now - HOUR)
    exchange = serve(account, limits=UNLIMITED)
    assert cli("migrate", url=url).code == 0
    filler = fill_up(small_disk, left)

    done = cli("sync", url=url, api=exchange.url)

    assert "space" in assert_failed(done, 5)
    filler.unlink()
    healed = cli("sync", url=url, api=exchange.url)
    assert healed.code == 0, healed.err
    assert_the_truth(read(f"SELECT {COLUMNS} FROM kalshi.mm_fills FINAL"), account)
    states = read("SELECT DISTINCT status FROM kalshi.mm_fills_runs FINAL ORDER BY status")
    assert states in ([("done",)], [("done",), ("failed",)])
    again = cli("sync", "--full", "--format", "json", url=url, api=exchange.url)
    assert again.json["stages"]["n_inserted"] == 0


# A clock that is off


@pytest.mark.parametrize("off", [8, -8])
def test_a_clock_that_is_a_little_off_loses_nothing(bench: Bench, off: int) -> None:
    """The exchange takes timestamps that are up to ten seconds off."""
    bench.serve(account_of(), clock=lambda: bench.clock.now.timestamp() - off)
    fills = []
    for number in range(60):
        right = bench.clock.now - off * SECOND
        new = fill_at(right - SECOND / 2, number)
        fills.append(new)
        bench.exchange.add([new])
        if number % 10 == 9:
            done = bench.run(overlap=0 * SECOND)
            assert not done.has_findings
            # Neither ahead of the exchange nor of what was asked for.
            assert done.watermark is not None
            assert done.watermark <= min(right, bench.clock.now)
        bench.clock.now += SECOND
    bench.clock.now += 20 * SECOND
    bench.run(overlap=0 * SECOND)

    assert_the_truth(bench.rows(COLUMNS), replace(account_of(), fills=fills))


def test_a_clock_set_back_between_runs_takes_no_watermark_back_and_loses_nothing(
    bench: Bench,
) -> None:
    right = [NOW]
    bench.serve(account_of(), clock=lambda: right[0].timestamp())
    fills = []
    marks = []
    for number, off in enumerate((9, -9, 9, -9, -9, 0)):
        right[0] = NOW + 3 * SECOND * number
        new = [fill_at(right[0] - SECOND * back, 10 * number + back) for back in range(3)]
        fills += new
        bench.exchange.add(new)
        bench.clock.now = right[0] + off * SECOND
        marks.append(bench.run(overlap=0 * SECOND).watermark)
    bench.clock.now = right[0] = NOW + MINUTE
    marks.append(bench.run(overlap=0 * SECOND).watermark)

    assert marks == sorted(marks)
    assert_the_truth(bench.rows(COLUMNS), replace(account_of(), fills=fills))


def test_a_row_written_by_a_clock_ahead_is_corrected_by_one_behind(bench: Bench) -> None:
    right = fill_at(NOW - HOUR)
    wrong = replace(right, count=right.count + 1)
    bench.serve(account_of(wrong))
    bench.clock.now = NOW + 4 * MINUTE
    bench.run()
    bench.clock.now = NOW
    bench.serve(account_of(right))

    done = bench.run(full=True)

    assert done.counts.n_corrected == 1
    assert not done.has_findings
    assert_the_truth(bench.rows(COLUMNS), account_of(right))


@server_only
def test_a_clock_that_is_far_off_moves_nothing_and_set_right_loses_nothing(
    cli: Cli, migrated: Target, serve: Serve, now: datetime
) -> None:
    account = generate_account(6, 400, start=now - DAY, end=now - HOUR)
    off = [-7_200.0]
    exchange = serve(account, limits=UNLIMITED, clock=lambda: time.time() + off[0])

    ahead = cli("sync", url=migrated.url, api=exchange.url)
    off[0] = 7_200.0
    behind = cli("sync", url=migrated.url, api=exchange.url)
    off[0] = 0.0
    right = cli("sync", url=migrated.url, api=exchange.url)

    for done in (ahead, behind):
        assert re.search("7(199|20[01]) seconds", assert_failed(done, 4))
    assert right.code == 0, right.err
    assert_the_truth(stored(migrated), account)
    runs = migrated.read(
        "SELECT status, watermark IS NULL FROM DB.mm_fills_runs FINAL ORDER BY started_at"
    )
    assert runs == [("failed", 1), ("failed", 1), ("done", 0)]


# Hostile texts

HOSTILE = {
    "quotes": "it's \"quoted\" `twice` ''",
    "backslashes": "back\\slash\\N \\' \\\\",
    "control characters": "tab\t line\n return\r nul\0 bell\a escape\x1b[31m \x7f",
    "ends of lines": "next\u0085 line\u2028 paragraph\u2029 form\f",
    "emoji": "\U0001f4b8\U0001f1e9\U0001f1ea e\u0301 \U0010ffff",
    "right to left": "\u202eabc\u202c العربية עברית \ufeff",
    "markup": "[bold red]x[/] [link=http://x]y[/link] \\[z] <b>&amp;</b>",
    "parameters": "{x:String} %s %(x)s $1 ?",
    "SQL": "'); DROP TABLE mm_fills; -- /*",
    "a null": "\\N",
    "spaces": "  at both ends  ",
    "900 characters": "x" * 900,
}


def hostile_fills(at: datetime, first: int) -> list[PracticeFill]:
    fills = []
    for number, text in enumerate(HOSTILE.values()):
        short = text[:300]
        for place, changes in enumerate(
            (
                {"ticker": text},
                {"fill_id": f"{text}{first}"},
                {"order_id": text},
                {"fill_id": f"{short}{first}", "order_id": f"{short}o", "ticker": short},
            )
        ):
            moment = at - number * MINUTE - place * SECOND
            fills.append(fill_at(moment, first + 10 * number + place, **changes))
    return fills


@pytest.fixture
def hostile(now: datetime) -> PracticeAccount:
    """An account whose texts are hostile, in the shapes of today and of a year ago."""
    today = hostile_fills(now - HOUR, 1_000)
    then = hostile_fills(datetime(2026, 3, 15, tzinfo=UTC), 2_000)
    return replace(account_of(*today, *then), eras="calendar")


def test_hostile_texts_pass_through_every_statement_unchanged(
    cli: Cli, migrated: Target, serve: Serve, now: datetime, hostile: PracticeAccount
) -> None:
    """New fills, known ones, corrected ones, one under a stale ticker, breaks and quarantine."""
    exchange = serve(hostile, limits=UNLIMITED)
    for number, text in enumerate(HOSTILE.values()):
        broken = fill_at(now - HOUR, 9_000 + number, fill_id=text, order_id=f"claim {text}")
        exchange.insert_item(broken.payload("current") | {text: text, "count_fp": text}, now - HOUR)

    first = cli("sync", "--format", "json", url=migrated.url, api=exchange.url)

    assert first.code == 3, first.err
    assert first.json["stages"]["n_new"] == len(hostile.fills)
    assert first.json["stages"]["n_rejected"] == len(HOSTILE)
    assert_the_truth(stored(migrated), hostile)
    kept = refused(migrated.read, "DB.mm_fills_rejected")
    assert {json.loads(item)["count_fp"] for item in kept} == set(HOSTILE.values())

    again = ("sync", "--full", "--same-account", "--format", "json")
    moved = replace(
        hostile,
        fills=[
            replace(fill, ticker=f"{fill.ticker[:-1]}!", count=fill.count + 1)
            for fill in hostile.fills
        ],
    )
    other = serve(moved, limits=UNLIMITED)
    second = cli(*again, url=migrated.url, api=other.url)

    assert second.code == 0, second.err
    assert second.json["stages"]["n_corrected"] == len(hostile.fills)
    assert_the_truth(stored(migrated), moved)
    half = replace(moved, fills=moved.fills[::2])
    fewer = serve(half, limits=UNLIMITED)
    third = cli(*again, url=migrated.url, api=fewer.url)
    assert third.code == 3, third.err
    assert third.json["stages"]["n_known"] == len(half.fills)
    assert {
        (one["kind"], one["fill_id"], one["order_id"], one["market_ticker"])
        for one in third.json["breaks"]
    } == {("unexpected", fill.fill_id, fill.order_id, fill.ticker) for fill in moved.fills[1::2]}


@server_only
def test_hostile_texts_do_not_steer_the_terminal(
    cli: Cli, migrated: Target, serve: Serve, hostile: PracticeAccount
) -> None:
    full = serve(hostile, limits=UNLIMITED)
    assert cli("sync", url=migrated.url, api=full.url).code == 0
    empty = serve(account_of(), limits=UNLIMITED)

    shown = cli("sync", "--full", "--same-account", url=migrated.url, api=empty.url)

    assert shown.code == 3, shown.err
    assert "unexpected" in shown.out
    told = set(shown.out + shown.err)
    assert told & {"\x1b", "\a", "\0", "\r", "\u202e", "\x7f", "\u0085"} == set()


# Items of every kind

_TEXTS = st.one_of(
    st.sampled_from(["", "yes", "no", "bid", "ask", "buy", "0.41", "0.5900", "10.00", "1e9", "x"]),
    st.text(max_size=12),
)
_NUMBERS = st.one_of(
    st.integers(-3, 120),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.integers(1_600_000_000, 1_800_000_000),
)
_SCALARS = st.one_of(st.none(), st.booleans(), _NUMBERS, _TEXTS)
_ANYTHING = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(_TEXTS, inner, max_size=4)
    ),
    max_leaves=6,
)
_FIELDS = sorted(
    set(fill_at(NOW).payload("current"))
    | set(fill_at(NOW).payload("transitional"))
    | {"status", "timestamp", "orderId", "rfq_id", "entry_price"}
)
_ERAS = st.sampled_from(["current", "current_minimal", "transitional", "legacy", "readme"])


@st.composite
def _near_fills(draw: Any) -> Any:
    """Draw a fill of any era with up to three fields put in, taken out or changed."""
    number = draw(st.one_of(st.integers(0, 9), st.integers(0, 100_000)))
    at = NOW - HOUR - draw(st.integers(0, 3_000)) * MINUTE
    item = fill_at(at, number).payload(draw(_ERAS))
    for _ in range(draw(st.integers(0, 3))):
        name = draw(st.sampled_from(_FIELDS))
        if draw(st.booleans()):
            item.pop(name, None)
        else:
            item[name] = draw(_ANYTHING)
    return item


_ITEMS = st.lists(st.one_of(_near_fills(), _near_fills(), _ANYTHING), min_size=1, max_size=20)


def items_of_every_kind(count: int) -> Iterator[list[Any]]:
    """Make up as many items, in batches."""
    batch: list[Any] = []

    @settings(
        max_examples=50,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(_ITEMS)
    def collect(items: list[Any]) -> None:
        batch.extend(items)

    while count:
        collect()
        whole, batch[:] = batch[:count], []
        yield whole
        count -= len(whole)


class WholeSyncs:
    """Puts items through two syncs each time, of empty tables."""

    def __init__(self, bench: Bench, api_key: Account) -> None:
        self._bench = bench
        self._keys = api_key.keys
        self.counted: Counter[str] = Counter()

    def check(self, items: list[Any]) -> None:
        try:
            self._check(items)
        except Exception as error:
            half = self._failing_half(items)
            if half is not None:
                self.check(half)
            raise AssertionError(f"{error!r} with {len(items)} items: {items!r:.2000}") from error

    def _failing_half(self, items: list[Any]) -> list[Any] | None:
        middle = len(items) // 2
        for half in (items[:middle], items[middle:]):
            try:
                if middle:
                    self._check(half)
            except Exception:
                return half
        return None

    def _check(self, items: list[Any]) -> None:
        bench = self._bench
        for suffix in ("", "_rejected", "_runs"):
            bench.warehouse.command(f"TRUNCATE TABLE {bench.tables.name(suffix)}")
        with PracticeExchange(
            account=account_of(),
            keys=self._keys,
            clock=bench.clock.seconds,
            limits=UNLIMITED,
            largest_page=100,
        ) as bench.exchange:
            for number, item in enumerate(items):
                bench.exchange.insert_item(item, NOW - HOUR - number * SECOND)
            first = bench.run()
            second = bench.run(full=True)
        counts = first.counts
        assert counts.n_api == len(items)
        assert counts.n_corrected == 0
        held = bench.rows("count(), uniqExact(fill_id, exchange_order_id)")
        assert held == [(counts.n_new, counts.n_new)]
        # A second content of a fill is kept there, too, and counts as the duplicate it is.
        refused = "WHERE reason != 'contradicts_another_report'"
        assert bench.rows("sum(times_seen)", "_rejected", refused) == [(2 * counts.n_rejected,)]
        assert second.counts.n_inserted == 0
        assert second.counts.n_known == counts.n_new
        # Items of one id that contradict each other are the only breaks there can be.
        assert {one.kind for one in first.breaks + second.breaks} <= {"mismatch"}
        told = {name: number for name, number in counts.as_dict().items() if number}
        self.counted.update(told)


@pytest.fixture
def whole_syncs(embedded: Warehouse, api_key: Account, serve: Serve) -> Iterator[WholeSyncs]:
    names = Tables(f"items_{os.getpid()}")
    yield WholeSyncs(Bench(embedded, names, api_key, serve), api_key)
    embedded.command(f"DROP DATABASE {names.database}")


def test_items_of_every_kind_are_stored_or_kept_aside(whole_syncs: WholeSyncs) -> None:
    for batch in items_of_every_kind(2_000):
        whole_syncs.check(batch)

    assert whole_syncs.counted["n_api"] == 2_000
    assert {"n_new", "n_duplicate", "n_rejected"} <= whole_syncs.counted.keys()


@pytest.mark.torture
@pytest.mark.timeout(7200)
def test_two_hundred_thousand_items_of_every_kind_are_stored_or_kept_aside(
    whole_syncs: WholeSyncs,
) -> None:
    for batch in items_of_every_kind(200_000):
        whole_syncs.check(batch)

    print(dict(whole_syncs.counted))
    assert whole_syncs.counted["n_api"] == 200_000
