"""The README's picture of a terminal: it shows what the demo prints today."""

from __future__ import annotations

import html
import importlib.util
import re
from pathlib import Path

import pytest
from support.commandline import ROOT

IMAGES = ROOT / "docs" / "images"


def words_in(svg: str) -> list[str]:
    """Return the lines of text in a picture, every number in it as one letter."""
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    return [re.sub(r"[\d.,:]*\d", "N", html.unescape(text)).strip() for text in texts]


def test_the_terminal_in_the_readme_shows_what_diagnose_prints(tmp_path: Path) -> None:
    for library in ("chdb", "matplotlib", "PIL"):
        pytest.importorskip(library)
    found = importlib.util.spec_from_file_location("pictures", ROOT / "scripts" / "pictures.py")
    assert found is not None
    assert found.loader is not None
    pictures = importlib.util.module_from_spec(found)
    found.loader.exec_module(pictures)

    stage = pictures.play_the_incident(tmp_path)
    pictures.draw_terminal(stage.printed, tmp_path / "terminal.svg")

    drawn = (tmp_path / "terminal.svg").read_text(encoding="utf-8")
    kept = (IMAGES / "terminal.svg").read_text(encoding="utf-8")
    assert words_in(drawn) == words_in(kept), "run `make pictures`"
    assert stage.page.stat().st_size > 100_000
    assert (IMAGES / "report.png").stat().st_size > 20_000
