"""An exchange that renames a key: nothing it sends is passed over, and what heals is forgotten."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from support.diagnosing import Desk
from support.payloads import CURRENT, LEGACY, PUSHED, README_ERA
from support.payloads import NOW as PAYLOAD_NOW
from support.syncing import (
    DAY,
    HOUR,
    MINUTE,
    NOW,
    NOW_FLOORED,
    SECOND,
    Bench,
    account_of,
    claim,
    fill_at,
    one_day,
    truth,
)

from kalshi_fills.exchange.decode import decode_listing
from kalshi_fills.pipeline.fills import Fill, Rejected
from kalshi_fills.pipeline.parse import read_item
from kalshi_fills.practice.account import PracticeFill
from kalshi_fills.practice.lookalikes import LOOK_ALIKE_KINDS, junk_items


def renamed(payload: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {f"{key}_v2" if key in keys else key: value for key, value in payload.items()}


def read(payload: Any) -> Fill | Rejected:
    (item,), _ = decode_listing(json.dumps([payload]), "fills")
    return read_item(item, "live", PAYLOAD_NOW)


def claims(payload: Any) -> bool:
    outcome = read(payload)
    assert isinstance(outcome, Rejected), outcome
    return outcome.claims_fill


def open_claims(bench: Bench) -> int:
    return int(bench.warehouse.rows(bench.tables.sql("reconcile/claims"))[0][0])


def send(bench: Bench, payloads: Iterable[tuple[PracticeFill, dict[str, Any]]]) -> None:
    for fill, payload in payloads:
        bench.exchange.insert_item(payload, moment_of(fill))


def moment_of(fill: PracticeFill) -> Any:
    return NOW - timedelta(microseconds=int(NOW.timestamp() * 1_000_000) - fill.executed_at_us)


# What claims to be a fill


@pytest.mark.parametrize(
    "keys",
    [
        ("order_id",),
        ("created_time", "ts"),
        ("count_fp",),
        ("yes_price_dollars", "no_price_dollars"),
        ("order_id", "created_time", "ts", "count_fp", "yes_price_dollars", "no_price_dollars"),
        ("fill_id", "order_id"),
        ("trade_id", "order_id"),
    ],
)
def test_a_fill_whose_keys_were_renamed_claims_to_be_one(keys: tuple[str, ...]) -> None:
    assert claims(renamed(CURRENT, *keys))
    assert claims(CURRENT | dict.fromkeys(keys))


@pytest.mark.parametrize("payload", [CURRENT, LEGACY, README_ERA, PUSHED])
def test_so_does_a_fill_of_any_era_without_its_order(payload: dict[str, Any]) -> None:
    assert claims(renamed(payload, "order_id"))


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (CURRENT | {"status": "executed"}, True),
        (CURRENT | {"status": "executed", "user_id": "u", "taker_side": "yes"}, True),
        (renamed(CURRENT, "count_fp") | {"status": "executed"}, True),
        (renamed(CURRENT, "yes_price_dollars") | {"status": "executed"}, True),
        (README_ERA | {"status": "executed"}, True),
        (renamed(CURRENT, "yes_price_dollars", "no_price_dollars") | {"status": "x"}, False),
        (renamed(CURRENT, "order_id") | {"taker_side": "yes"}, False),
        (renamed(CURRENT, "fill_id", "trade_id") | {"status": "executed"}, False),
        (renamed(CURRENT, "fill_id", "trade_id", "order_id"), False),
        ({"fill_id": "f"}, True),
        ({"trade_id": "f"}, True),
        ({"fill_id": "", "trade_id": None, "order_id": "o"}, False),
        ({"fill_id": "f", "order_id": "o", "price": "95000.5", "entry_price": "9"}, False),
        ({"fill_id": "f", "order_id": "o", "price": "95000.5", "side": "bid"}, False),
        ({"trade_id": "f", "orderId": "o", "no_price": 40, "is_block_trade": False}, True),
        ({"trade_id": "f", "order_id": "", "no_price": 40, "is_block_trade": False}, False),
    ],
)
def test_a_mark_is_outweighed_by_identity_order_and_price_together(
    payload: dict[str, Any], expected: bool
) -> None:
    assert claims(payload) is expected


@pytest.mark.parametrize("kind", LOOK_ALIKE_KINDS)
def test_other_objects_as_the_exchange_sends_them_claim_nothing(kind: str) -> None:
    for _, value in junk_items(3, 5, kinds=(kind,)):
        assert not claims(value)


# A pass in which they come


@pytest.mark.sampled(3)
@pytest.mark.parametrize("era", ["current", "transitional", "legacy", "readme"])
def test_a_renamed_order_id_holds_the_watermark_until_the_name_is_back(
    bench: Bench, era: Any
) -> None:
    account = one_day(12, eras=era)
    old, new = account.fills[6:], account.fills[:6]  # newest first
    bench.serve(replace(account, fills=list(old)))
    send(bench, ((fill, renamed(fill.payload(era), "order_id")) for fill in new))

    done = bench.run()

    assert done.claims == 6
    assert done.has_findings
    assert done.refusals.drift().new_keys == ["order_id_v2"]
    assert done.watermark == moment_of(new[-1]).replace(microsecond=0)
    assert open_claims(bench) == 6
    bench.clock.now = NOW + 3 * HOUR
    assert bench.run().claims == 6

    bench.serve(account)
    healed = bench.run()

    assert healed.counts.n_new == 6
    assert not healed.has_findings
    assert {row[0] for row in bench.fills()} == {row[0] for row in truth(account)}
    assert healed.watermark == NOW_FLOORED + 3 * HOUR
    assert open_claims(bench) == 0
    assert bench.rows("count(), sum(times_seen)", "_rejected") == [(6, 12)]


def test_every_fill_renamed_on_the_first_run_and_the_name_is_back(bench: Bench) -> None:
    account = one_day(10, eras="current")
    bench.serve(account_of())
    send(bench, ((fill, renamed(fill.payload("current"), "order_id")) for fill in account.fills))

    refused = bench.run()

    assert (refused.counts.n_api, refused.counts.n_rejected, refused.claims) == (10, 10, 10)
    assert refused.has_findings
    assert refused.watermark is None

    bench.serve(account)
    healed = bench.run()

    assert healed.counts.n_new == 10
    assert bench.fills() == truth(account)
    assert not healed.has_findings
    assert open_claims(bench) == 0
    assert not bench.run(full=True).has_findings


@pytest.mark.sampled(5)
@pytest.mark.parametrize(
    "broken",
    [
        {"count_fp": float("nan")},
        {"order_id": None, "ticker": {"a": [1, {"b": None}]}},
        {"fill_id": None, "count_fp": "many"},
        {"trade_id": None, "ticker": 7},
        {"created_time": "yesterday", "ts": None},
        {"order_id": None, "orderId": None, "count_fp": "9" * 500},
    ],
    ids=repr,
)
def test_a_claim_is_closed_by_the_sync_that_stores_its_fill(
    bench: Bench, broken: dict[str, Any]
) -> None:
    other, victim = fill_at(NOW - 4 * HOUR, 1), fill_at(NOW - 3 * HOUR, 2)
    bench.serve(account_of(other))
    bench.exchange.insert_item(victim.payload("current") | broken, NOW - 3 * HOUR)
    assert bench.run().claims == 1

    bench.serve(account_of(other, victim))

    assert not bench.run().has_findings
    assert open_claims(bench) == 0


def test_a_claim_whose_fill_stays_away_stays_open(bench: Bench) -> None:
    fills = [fill_at(NOW - hours * HOUR, hours) for hours in (2, 3, 4)]
    bench.serve(account_of(*fills[1:]))
    lost = fills[0].payload("current") | {"count_fp": "many"}
    same_id_other_order = fills[1].payload("current") | {"count_fp": "many", "order_id": "other"}
    bench.exchange.insert_item(lost, NOW - 2 * HOUR)
    bench.exchange.insert_item(same_id_other_order, NOW - 3 * HOUR)
    assert bench.run().claims == 2

    bench.serve(account_of(*fills[1:]))

    done = bench.run(full=True)
    assert done.counts.n_known == 2
    assert open_claims(bench) == 2


def test_a_stored_fill_closes_no_claim_that_the_exchange_still_sends(desk: Desk) -> None:
    fill = fill_at(NOW - 30 * MINUTE)
    desk.healthy(account_of(fill))
    desk.serve(account_of(fill_at(NOW - 20 * MINUTE, 2)))
    desk.exchange.insert_item(renamed(fill.payload("current"), "order_id"), NOW - 30 * MINUTE)

    for _ in range(2):
        done = desk.run()
        assert done.claims == 1
        assert open_claims(desk) == 1
    assert "exchange_schema_changed" in {cause.name for cause in desk.diagnose().causes}


def test_a_dry_run_closes_no_claim(bench: Bench) -> None:
    fill = fill_at(NOW - HOUR)
    bench.serve(account_of())
    bench.exchange.insert_item(renamed(fill.payload("current"), "order_id"), NOW - HOUR)
    bench.run()
    bench.serve(account_of(fill))

    bench.run(dry_run=True)

    assert open_claims(bench) == 1


@pytest.mark.torture
def test_thousands_of_claims_are_kept_counted_and_closed(bench: Bench) -> None:
    account = one_day(6_000, eras="current")
    bench.serve(account_of())
    send(bench, ((fill, renamed(fill.payload("current"), "order_id")) for fill in account.fills))
    assert bench.run().claims == 6_000
    assert bench.run().claims == 6_000
    assert open_claims(bench) == 6_000
    bench.serve(account)

    done = bench.run()

    assert done.counts.n_new == 6_000
    assert open_claims(bench) == 0


# A pass that refuses everything


def test_a_pass_that_refuses_everything_is_a_finding_and_moves_nothing(bench: Bench) -> None:
    bench.serve(account_of(fill_at(NOW - 20 * HOUR)))
    assert bench.run(until=NOW - 8 * HOUR).watermark == NOW_FLOORED - 8 * HOUR
    bench.exchange.insert_item({"status": "resting", "order_id": "o"}, NOW - HOUR)
    bench.exchange.insert_item(None, NOW - HOUR)

    done = bench.run()

    assert (done.claims, done.counts.n_rejected, done.breaks) == (0, 2, [])
    assert done.has_findings
    assert done.refused_everything
    assert done.watermark == NOW_FLOORED - 8 * HOUR
    assert bench.run().has_findings
    seen = bench.run(full=True)  # a fill among them: they are what they always were
    assert not seen.has_findings
    assert seen.watermark == NOW_FLOORED


def test_what_a_pass_refused_altogether_can_be_accepted(bench: Bench) -> None:
    bench.serve(account_of())
    for item in (None, {"status": "resting"}, claim(NOW - HOUR)):
        bench.exchange.insert_item(item, NOW - HOUR)
    assert bench.run().watermark is None

    accepting = bench.run(accept_rejected=True)

    assert not accepting.has_findings
    assert accepting.watermark == NOW_FLOORED
    assert not bench.run(full=True).has_findings
    bench.exchange.insert_item({"status": "canceled"}, NOW - 10 * MINUTE)
    bench.clock.now += 5 * MINUTE
    again = bench.run()
    assert again.has_findings
    assert again.watermark == NOW_FLOORED


def test_a_tier_that_refuses_everything_is_a_finding_though_the_other_does_not(
    bench: Bench,
) -> None:
    archived, live = fill_at(NOW - 10 * DAY, 1), fill_at(NOW - 30 * MINUTE, 2)
    bench.serve(account_of(archived), cutoff=NOW - DAY)
    unknown = renamed(live.payload("current"), "order_id") | {"status": "new"}
    bench.exchange.insert_item(unknown, NOW - 30 * MINUTE)

    done = bench.run()

    assert (done.claims, done.counts.n_new) == (0, 1)
    assert done.has_findings
    assert done.watermark is None
    bench.serve(account_of(archived, live), cutoff=NOW - DAY)
    assert not bench.run().has_findings
    assert bench.rows("count()") == [(2,)]


def test_a_pass_without_items_is_no_refusal(bench: Bench) -> None:
    bench.serve(account_of(fill_at(NOW - 9 * HOUR)))
    bench.run()
    bench.clock.now += SECOND

    assert not bench.run().has_findings


def test_a_dry_run_tells_of_it_too(bench: Bench) -> None:
    bench.serve(account_of())
    bench.exchange.insert_item(None, NOW - HOUR)

    assert bench.run(dry_run=True).has_findings
    assert bench.run(accept_rejected=True).has_findings is False
    assert not bench.run(dry_run=True).has_findings


# A fill with neither id


def test_a_fill_with_neither_id_is_stored_and_told(bench: Bench) -> None:
    whole, nameless = fill_at(NOW - 2 * HOUR, 1), fill_at(NOW - HOUR, 2)
    bench.serve(account_of(whole))
    item = renamed(nameless.payload("current"), "fill_id", "trade_id")
    for _ in range(2):
        bench.exchange.insert_item(item, NOW - HOUR)

    for new in (2, 0):
        done = bench.run(full=True)
        assert (done.counts.n_new, done.made_up_ids, done.claims) == (new, 1, 0)
        assert done.has_findings
        assert done.watermark == NOW_FLOORED
    assert bench.rows("exchange_order_id, id_synthetic") == [
        (whole.order_id, False),
        (nameless.order_id, True),
    ]
