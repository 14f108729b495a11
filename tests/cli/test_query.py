"""`query`: one statement that reads, on either engine, its values exact."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from support.commandline import Target
from support.outcomes import Cli

VALUES = """
SELECT toDecimal64('0.410000', 6) AS price, 18446744073709551615 AS big, NULL AS nothing,
    toDateTime64('2026-11-28 14:00:00.123456', 6, 'UTC') AS at, '' AS empty, 'a,"b"' AS quoted,
    toDateTime('2026-11-28 09:00:00', 'America/New_York') AS there, true AS yes, 0.1 AS share,
    [toDecimal32('1.50', 2)] AS list,
    toUUID('00000000-0000-0000-0000-000000000001') AS id,
    '\\x1b[2J' AS steers, 'é' AS letter, map('a', 1) AS pairs, toDate('2026-11-28') AS day;
-- one row
"""
ID = "00000000-0000-0000-0000-000000000001"

SHOWN = [
    "0.41", 18446744073709551615, None, "2026-11-28T14:00:00.123456Z", "", 'a,"b"',
    "2026-11-28T14:00:00Z", True, 0.1, ["1.5"], ID, "\x1b[2J", "é", {"a": 1}, "2026-11-28",
]  # fmt: skip


@pytest.mark.both_engines
def test_values_are_exact_in_every_format(cli: Cli, migrated: Target) -> None:
    url = migrated.url
    done = cli("query", VALUES, "--format", "json", url=url)
    assert done.code == 0, done.err
    assert done.out.isascii()
    assert done.json["command"] == "query"
    assert [column["name"] for column in done.json["columns"]][:2] == ["price", "big"]
    assert done.json["columns"][0]["type"] == "Decimal(18, 6)"
    assert done.json["rows"] == [SHOWN]

    done = cli("query", "--format", "csv", VALUES, url=url)
    names, row = csv.reader(io.StringIO(done.out))
    assert names[:3] == ["price", "big", "nothing"]
    assert row[:9] == [
        "0.41", "18446744073709551615", "", "2026-11-28T14:00:00.123456Z", "", 'a,"b"',
        "2026-11-28T14:00:00Z", "true", "0.1",
    ]  # fmt: skip
    assert row[11:13] == ["\\x1b[2J", "é"]
    assert ',"",' in done.out  # an empty text is none of NULL

    done = cli("query", "SELECT repeat('x', 300) AS long, NULL AS nothing", url=url)
    assert "x" * 300 in done.out
    assert "NULL" in done.out
    assert "1 row\n" in done.out
    assert not [line for line in done.out.splitlines() if line.endswith(" ")]

    names = cli(
        "query", "SELECT name FROM system.tables WHERE database = currentDatabase()", url=url
    )
    assert "mm_fills_current" in names.out
    assert cli("query", "SELECT count() FROM mm_fills_current", url=url).code == 0


@pytest.mark.both_engines
def test_nothing_is_ever_written(cli: Cli, migrated: Target, tmp_path: Path) -> None:
    path = tmp_path / "written"
    refused = (
        ("INSERT INTO mm_fills_runs (pid) VALUES (1)", 2),
        (f"INSERT INTO FUNCTION file('{path}', 'CSV') SELECT 1", 2),
        (f"WITH 1 AS x INSERT INTO FUNCTION file('{path}', 'CSV') SELECT x", 2),
        (f"SELECT 1 INTO OUTFILE '{path}'", 2),
        ("SELECT 1; DROP TABLE mm_fills", 2),
        ("DROP TABLE mm_fills", 2),
        ("SET readonly = 0", 2),
        ("SELECT 1 SETTINGS readonly = 0", 5),
        ("SELECT 1 FORMAT CSV", 2),
        ("SELECT now64(9)", 5),
        ("SELECT nothing_like_it FROM mm_fills", 5),
        ("SELECT (", 5),
        (" ", 2),
    )
    for statement, code in refused:
        done = cli("query", statement, "--format", "json", url=migrated.url)
        assert done.code == code, (statement, done.err)
        assert done.json["status"] == "failed"
        assert done.json["hint"]
        assert "dry-run" not in done.json["hint"]
    assert not path.exists()
    assert migrated.read("SELECT count() FROM DB.mm_fills_runs") == [(0,)]
    assert migrated.read("SELECT count() FROM DB.mm_fills") == [(0,)]


def test_a_database_that_is_not_there_yet(cli: Cli, target: Target) -> None:
    done = cli("query", "SELECT 1", url=target.url)
    assert done.code == 5
    assert "kalshi-fills migrate" in done.err


def test_csv_is_a_format_of_query_alone(cli: Cli) -> None:
    done = cli("sync", "--format", "csv", url="clickhouse://127.0.0.1:1/k")
    assert done.code == 2
    assert "--format table or json" in done.err
