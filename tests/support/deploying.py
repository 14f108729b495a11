"""The files of `deploy/`, and what the words in them must be."""

from __future__ import annotations

import re
from typing import Any

import yaml

import kalshi_fills.cli.commands  # noqa: F401 - adds the commands to the app
from kalshi_fills.cli.app import command_line
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


def unknown_words(words: list[str]) -> list[str]:
    """Return what the command line does not know among the words of an invocation."""
    group = command_line()
    unknown, expects_value, command = [], False, None
    for word in words:
        if expects_value:
            expects_value = False
            continue
        if word.startswith("--"):
            params = [*group.params, *(command.params if command else [])]
            found = next((param for param in params if word in param.opts), None)
            if found is None:
                unknown.append(word)
            else:
                expects_value = not getattr(found, "is_flag", False)
        elif command is None:
            command = group.commands.get(word)
            if command is None:
                unknown.append(word)
    return unknown
