"""The alert rules: every metric and label in them is one that the tool writes."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from support.commandline import ROOT
from support.deploying import DEPLOY, METRICS, parsed

RULES = DEPLOY / "prometheus" / "alerts.yaml"


def test_every_metric_and_label_exists() -> None:
    ((group,),) = (document["groups"] for document in parsed("prometheus/alerts.yaml"))
    used = set()
    for rule in group["rules"]:
        names = re.findall(r"\bkalshi_fills_\w+", rule["expr"])
        assert names, rule["alert"]
        used |= set(names)
        labels = set(re.findall(r"(\w+)=\"", rule["expr"]))
        labels |= set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"])))
        for name in names:
            assert labels <= METRICS[name] | {"table"}, rule["alert"]
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["description"]
    assert used == set(METRICS) - {"kalshi_fills_last_duration_seconds", "kalshi_fills_items"}


def test_the_documented_metrics_are_these() -> None:
    page = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(kalshi_fills_\w+)` \| ([^|]*)\|", page, re.MULTILINE)
    assert {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows} == METRICS


def test_prometheus_takes_the_rules_and_they_fire(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")
    cases = (Path(__file__).parent / "alerts_cases.yaml").read_text()
    (tmp_path / "cases.yaml").write_text(cases.replace("RULES", str(RULES)))
    for words in (["check", "rules", RULES], ["test", "rules", tmp_path / "cases.yaml"]):
        done = subprocess.run([promtool, *words], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
