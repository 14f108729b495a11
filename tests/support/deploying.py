"""The files of `deploy/`, the variables and the metrics that they may name."""

from __future__ import annotations

import re
from typing import Any

import yaml

from support.commandline import ROOT

DEPLOY = ROOT / "deploy"

METRICS: dict[str, set[str]] = {
    "kalshi_fills_last_run_timestamp_seconds": {"command"},
    "kalshi_fills_last_success_timestamp_seconds": {"command"},
    "kalshi_fills_last_exit_code": {"command"},
    "kalshi_fills_last_duration_seconds": {"command"},
    "kalshi_fills_watermark_timestamp_seconds": set(),
    "kalshi_fills_items": {"stage"},
    "kalshi_fills_refused": {"reason"},
    "kalshi_fills_breaks": {"command", "scope", "kind"},
    "kalshi_fills_check": {"check"},
}
"""Every metric, with its labels beside `table`."""


def parsed(path: str) -> list[dict[str, Any]]:
    """Return the documents of a YAML file."""
    documents: list[dict[str, Any]] = list(yaml.safe_load_all((DEPLOY / path).read_text()))
    return documents


def known_variables() -> set[str]:
    """Return the variables that the documentation names; a test holds it to the code."""
    pages = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    return set(re.findall(r"`((?:KALSHI|CLICKHOUSE)_[A-Z_]+)`", pages))
