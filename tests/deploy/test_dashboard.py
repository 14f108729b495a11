"""The dashboard: every query runs on both engines, against tables that a sync filled."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from support.deploying import DEPLOY, parsed
from support.syncing import DAY, NOW, Bench

from kalshi_fills.practice.account import generate_account
from kalshi_fills.warehouse.statements import Tables

DASHBOARD = json.loads((DEPLOY / "grafana" / "kalshi-fills.json").read_text(encoding="utf-8"))

PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]

VARIABLES = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}


def expanded(sql: str, tables: Tables) -> str:
    """Return a query as the data source sends it, of the four days before now."""
    first, last = (f"toDateTime({int(at.timestamp())})" for at in (NOW - 4 * DAY, NOW + DAY))
    sql = sql.replace("`${table}", f"`{tables.database}`.`{tables.fills}")
    sql = re.sub(r"\$__timeFilter\((\w+)\)", rf"\1 >= {first} AND \1 <= {last}", sql)
    sql = re.sub(
        r"\$__timeInterval\((\w+)\)",
        r"toStartOfInterval(toDateTime(\1), INTERVAL 3600 second)",
        sql,
    )
    sql = sql.replace("$__fromTime", first).replace("$__toTime", last)
    assert "$" not in sql
    return sql


def test_panels_are_complete_and_do_not_overlap() -> None:
    numbers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(numbers) == len(set(numbers))
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
    for panel in PANELS:
        assert panel["description"], panel["title"]
        (target,) = panel["targets"]
        assert target["datasource"]["uid"] == panel["datasource"]["uid"] == "${datasource}"
        is_series = panel["type"] == "timeseries"
        assert (target["queryType"], target["format"]) == (
            ("timeseries", 0) if is_series else ("table", 1)
        )


def test_the_data_source_is_the_provisioned_one() -> None:
    (provisioned,) = parsed("grafana/provisioning/datasources/clickhouse.yaml")[0]["datasources"]
    assert provisioned["type"] == VARIABLES["datasource"]["query"]
    assert provisioned["type"] == PANELS[0]["datasource"]["type"]
    (provider,) = parsed("grafana/provisioning/dashboards/kalshi-fills.yaml")[0]["providers"]
    (compose,) = parsed("compose.yaml")
    folder = provider["options"]["path"]
    mounts = compose["services"]["grafana"]["volumes"]
    assert f"./grafana/kalshi-fills.json:{folder}/kalshi-fills.json:ro" in mounts


@pytest.mark.both_engines
def test_every_query_runs(bench: Bench) -> None:
    account = generate_account(3, 300, start=NOW - 3 * DAY, end=NOW, junk_share=0.05)
    bench.serve(account)
    bench.run()
    answers: dict[str, list[tuple[Any, ...]]] = {}
    for panel in PANELS:
        sql = expanded(panel["targets"][0]["rawSql"], bench.tables)
        rows = bench.warehouse.rows(sql)
        answers[f"{panel['type']} {panel['title']}"] = rows
        if panel["type"] == "timeseries":
            assert re.match(r"SELECT\s.*? AS time\b", sql, re.DOTALL), panel["title"]
            times = [row[0] for row in rows]
            assert times == sorted(times), panel["title"]

    assert answers["stat Fills"] == [(300,)]
    assert answers["stat Contracts"] == [(sum(fill.count for fill in account.fills),)]
    assert sum(row[1] for row in answers["timeseries Fills"]) == 300
    assert answers["stat Refused, claims to be a fill"] == [(0,)]
    assert answers["stat Open breaks"] == [(0,)]
    assert sum(row[2] for row in answers["table Refused items"]) == len(account.junk)
    assert sum(row[1] for row in answers["timeseries Runs"]) == 1
    assert answers["table Settled markets that disagree"] == []
    assert sum(row[3] for row in answers["table Cash and PnL by market"]) == 300

    choice = VARIABLES["table"]["query"].replace("currentDatabase()", f"'{bench.tables.database}'")
    assert bench.warehouse.rows(choice) == [(bench.tables.fills,)]
