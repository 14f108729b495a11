"""The metrics file: what a run leaves for a textfile collector, and what it leaves alone."""

from __future__ import annotations

import os
import stat
import time
from datetime import datetime
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.commandline import Target
from support.outcomes import Cli, Serve, account_of

from kalshi_fills.host.lock import exclusive
from kalshi_fills.pipeline.fills import Reason

NOWHERE = "clickhouse://127.0.0.1:1/kalshi"


def samples(path: Path, table: str = "") -> dict[tuple[str, ...], float]:
    """Return the samples of a table by name, without the prefix, and the values of labels."""
    found = {}
    for metric in text_string_to_metric_families(path.read_text()):
        assert metric.type == "gauge"
        assert metric.documentation
        for sample in metric.samples:
            labels = dict(sample.labels)
            if labels.pop("table") == table:
                name = sample.name.removeprefix("kalshi_fills_")
                found[name, *(labels[key] for key in sorted(labels))] = sample.value
    return found


def test_a_run_writes_metrics_and_keeps_those_of_other_runs(
    cli: Cli, serve: Serve, migrated: Target, tmp_path: Path, now: datetime
) -> None:
    path = tmp_path / "metrics" / "kalshi.prom"
    path.parent.mkdir()
    table = f"{migrated.database}.mm_fills"
    exchange = serve(account_of(40, now))
    exchange.insert_item({"order_id": "only an order", "ts": 1_790_000_000})
    given = {"url": migrated.url, "api": exchange.url}
    env = {"KALSHI_FILLS_METRICS_FILE": str(path)}

    assert cli("sync", **given, env=env).code == 0
    found = samples(path, table)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert found["last_exit_code", "sync"] == 0
    assert found["items", "inserted"] == found["items", "new"] == 40
    assert found["items", "api"] == 41
    assert {key[1] for key in found if key[0] == "refused"} == set(map(str, Reason))
    assert sum(value for key, value in found.items() if key[0] == "refused") == 1
    assert [value for key, value in found.items() if key[0] == "breaks"] == [0] * 12
    assert time.time() - found["watermark_timestamp_seconds",] < 1800
    ended = found["last_run_timestamp_seconds", "sync"]
    assert found["last_success_timestamp_seconds", "sync"] == ended
    assert 0 < found["last_duration_seconds", "sync"] < 120

    assert cli("diagnose", "--metrics-file", str(path), **given).code == 0
    both = samples(path, table)
    assert found.items() <= both.items()
    assert both["check", "volume_matches_api"] == 1
    assert both["check", "no_periodic_cadence"] in (-1, 1)
    assert both["last_exit_code", "diagnose"] == 0
    assert both["breaks", "diagnose", "mismatch", "order"] == 0

    assert cli("sync", **given, env=env | {"KALSHI_API_KEY_ID": "unknown"}).code == 4
    after = samples(path, table)
    assert after["last_exit_code", "sync"] == 4
    assert after["last_run_timestamp_seconds", "sync"] > ended
    assert after["last_success_timestamp_seconds", "sync"] == ended
    for name in (("watermark_timestamp_seconds",), ("check", "prices_valid"), ("items", "api")):
        assert after[name] == (0 if name[0] == "items" else both[name])

    before = path.read_bytes()
    assert cli("sync", "--dry-run", **given, env=env).code == 0
    assert cli("diagnose", "--query", "schema", **given, env=env).code == 0
    assert path.read_bytes() == before

    # Another table, in a run that fails before it knows anything but its name.
    assert cli("sync", "--table", "other", "--overlap", "x", **given, env=env).code == 2
    assert samples(path, table) == after
    other = samples(path, f"{migrated.database}.other")
    assert other["last_exit_code", "sync"] == 2
    assert ("last_success_timestamp_seconds", "sync") not in other


def test_a_run_that_gives_way_to_another_writes_nothing(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "kalshi.prom"
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with exclusive("clickhouse://localhost:1", "`kalshi`.`mm_fills`"):
        assert cli("sync", "--metrics-file", str(path), url=NOWHERE).code == 75
    assert not path.exists()
    assert cli("sync", "--metrics-file", str(path), url=NOWHERE).code == 5
    assert samples(path, "kalshi.mm_fills")["last_exit_code", "sync"] == 5


def test_a_file_that_cannot_be_written_is_told_and_costs_nothing(cli: Cli, tmp_path: Path) -> None:
    foreign = tmp_path / "node.prom"
    foreign.write_text("# TYPE up gauge\nup 1\n")
    letter = tmp_path / "letter.txt"
    letter.write_text("Dear Sir,\n")
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x00")
    os.mkfifo(tmp_path / "pipe")
    for path, why in (
        (foreign, "metrics of another program"),
        (letter, "something else than metrics"),
        (binary, "it is not text"),
        (tmp_path / "pipe", "a pipe or a device"),
        (tmp_path, "a directory"),
        (tmp_path / "missing" / "kalshi.prom", "no such file or directory"),
        (Path("/dev/full/kalshi.prom"), "not a directory"),
    ):
        before = path.read_bytes() if path.is_file() else b""
        done = cli("sync", "--metrics-file", str(path), "--log-format", "text", url=NOWHERE)
        assert done.code == 5, done.err
        assert "metrics file" in done.err
        assert why in done.err
        assert before == (path.read_bytes() if path.is_file() else b"")
    assert not list(tmp_path.glob(".*.new"))


def test_what_cannot_be_a_path_is_refused_and_not_repeated(cli: Cli) -> None:
    for value in ("", "https://user:hunter2@host/x", "clickhouse://u:hunter2@h/k"):
        done = cli("sync", "--metrics-file", value, url=NOWHERE)
        assert done.code == 2
        assert "hunter2" not in done.err + done.out
