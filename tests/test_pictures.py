"""The README's picture of a terminal: it shows what the demo prints today."""

from __future__ import annotations

import html
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.commandline import ROOT

IMAGES = ROOT / "docs" / "images"

DRAW = """
import sys
from pathlib import Path
import pictures
folder = Path(sys.argv[1])
stage = pictures.play_the_incident(folder)
pictures.draw_terminal(stage.printed, folder / "terminal.svg")
"""
"""Run in a process of its own, of which the embedded engine allows one folder only."""


def words_in(svg: str) -> list[str]:
    """Return the texts of a picture, every number in them as one letter."""
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    return [re.sub(r"[\d.,:]*\d", "N", html.unescape(text)).strip() for text in texts]


def test_the_terminal_in_the_readme_shows_what_diagnose_prints(tmp_path: Path) -> None:
    for library in ("chdb", "matplotlib", "PIL"):
        pytest.importorskip(library)
    done = subprocess.run(
        [sys.executable, "-c", DRAW, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT / "scripts"), str(ROOT)))},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    drawn = (tmp_path / "terminal.svg").read_text(encoding="utf-8")
    kept = (IMAGES / "terminal.svg").read_text(encoding="utf-8")
    assert words_in(drawn) == words_in(kept), "run `make pictures`"
    assert (tmp_path / "incident.html").stat().st_size > 100_000
    assert (IMAGES / "report.png").stat().st_size > 20_000
