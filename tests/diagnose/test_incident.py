"""The incident is named with its numbers, and is over after migrate and sync."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from support.diagnoses import embedded_only
from support.diagnosing import (
    CHECKS,
    Desk,
    assert_well,
    causes,
    check,
    statuses,
)
from support.legacy import make
from support.syncing import (
    NOW,
)

from kalshi_fills.practice.account import (
    incident_rows,
    the_incident,
)
from kalshi_fills.reconcile.breaks import Break
from kalshi_fills.report.diagnose import diagnosis_json


def write_incident(desk: Desk, count: int = 4774) -> list[dict[str, Any]]:
    rows = incident_rows(NOW, count)
    make(desk.warehouse, desk.tables, rows=rows)
    desk.serve(the_incident(NOW))
    return rows


def test_the_incident_is_told_with_its_numbers_and_its_causes(desk: Desk) -> None:
    rows = write_incident(desk)

    found = desk.diagnose()

    assert found.verdict == "fail"
    assert [check.name for check in found.checks] == CHECKS
    wanted = dict.fromkeys(CHECKS, "fail") | {"settled_markets_match": "skip"}
    assert statuses(found) == wanted
    volume = check(found, "volume_matches_api")
    assert "exchange 5, table 4,774" in volume.observed
    assert "955 times" in volume.explanation
    schema = check(found, "schema_migrated")
    assert schema.observed.startswith("the column fill_id is missing")
    assert schema.next == "kalshi-fills migrate"
    prices = check(found, "prices_valid")
    zero = sum(row["price_cents"] == 0 for row in rows)
    assert f"price 0 in {zero:,} of 4,774 rows (92.5%)" in prices.observed
    cadence = check(found, "no_periodic_cadence")
    assert "D = " in cadence.observed
    assert "p = " in cadence.observed
    assert "minutes tested" in cadence.observed
    assert "79 or 80 rows every minute" in cadence.observed
    orders = Counter(str(row["exchange_order_id"]) for row in rows)
    ((order, many),) = orders.most_common(1)
    repeats = check(found, "no_duplicate_rows")
    assert f"order {order} alone has {many:,} rows" in repeats.observed
    assert "5 fills stand in" in repeats.observed
    assert causes(found) == [
        "schema_never_migrated",
        "non_fills_written_as_fills",
        "same_fills_inserted_again",
        "event_time_written_as_now",
    ]
    assert found.root_cause.next == "kalshi-fills migrate"
    assert all(cause.explanation and cause.next for cause in found.causes)
    assert all(cause.evidence for cause in found.causes)


@embedded_only
def test_an_order_with_thousands_of_rows_is_named(desk: Desk) -> None:
    rows = write_incident(desk, 17_400)
    ((order, many),) = Counter(str(row["exchange_order_id"]) for row in rows).most_common(1)
    assert many >= 6_600

    found = desk.diagnose()

    assert f"order {order} alone has {many:,} rows" in check(found, "no_duplicate_rows").observed
    (break_,) = [one for one in found.breaks if one.order_id == order]
    assert break_ == Break(
        "unexpected", "order", None, order, break_.market_ticker, "fills", None, many
    )


def test_the_incident_offline_is_told_as_far_as_the_table_tells(desk: Desk) -> None:
    write_incident(desk)

    found = desk.diagnose(offline=True)

    assert found.verdict == "fail"
    assert statuses(found) == dict.fromkeys(CHECKS, "fail") | {
        "volume_matches_api": "skip",
        "settled_markets_match": "skip",
    }
    assert causes(found)[:4] == [
        "schema_never_migrated",
        "non_fills_written_as_fills",
        "same_fills_inserted_again",
        "event_time_written_as_now",
    ]
    assert found.requests == 0
    assert found.breaks == []
    assert any("Offline" in note for note in found.notes)


def test_after_migrate_and_sync_the_incident_is_over(desk: Desk) -> None:
    write_incident(desk)
    desk.migrate()
    desk.run()

    found = desk.diagnose()

    assert_well(found)
    assert statuses(found) == dict.fromkeys(CHECKS, "pass") | {
        "no_periodic_cadence": "skip",
        "settled_markets_match": "skip",
    }
    assert "exchange 5, table 5" in check(found, "volume_matches_api").observed
    assert_well(desk.diagnose(offline=True))


@embedded_only
def test_the_json_has_the_contract_s_keys(desk: Desk) -> None:
    write_incident(desk)

    found = json.loads(json.dumps(diagnosis_json(desk.diagnose())))

    assert found.keys() >= {
        "command",
        "verdict",
        "window",
        "checks",
        "queries",
        "breaks",
        "root_cause",
        "root_causes",
    }
    assert (found["command"], found["verdict"]) == ("diagnose", "fail")
    assert found["window"].keys() == {"start", "end"}
    wanted = {"name", "status", "observed", "expected", "explanation", "next"}
    assert [one["name"] for one in found["checks"]] == CHECKS
    assert all(one.keys() == wanted for one in found["checks"])
    assert len(found["queries"]) >= 10
    assert all(one.keys() >= {"name", "rows"} for one in found["queries"])
    cause = {"name", "explanation", "evidence", "next"}
    assert found["root_cause"] == found["root_causes"][0]
    assert all(one.keys() == cause for one in found["root_causes"])
    assert all(one.keys() == set(Break._fields) for one in found["breaks"])
