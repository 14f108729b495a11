"""The page that `diagnose --report` writes: one file, for a browser, a mail or a printer.

It loads nothing, runs no script, and has everything in words as well as in colour. What came from
outside can only be text on it: the template escapes everything, and a character that cannot be
seen is spelled out.
"""

from __future__ import annotations

import importlib.util
import os
import re
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from kalshi_fills import __version__
from kalshi_fills.errors import Mistakes, SettingsError
from kalshi_fills.host.printable import visible
from kalshi_fills.report.breaks import break_row
from kalshi_fills.report.plots import plots
from kalshi_fills.warehouse.statements import Tables
from kalshi_fills.words import many, one_or_more

if TYPE_CHECKING:
    from kalshi_fills.diagnose.run import Diagnosis

_LIBRARIES: Final = ("jinja2", "matplotlib")

_TEMPLATE: Final = "page.html"

_SHOWN_BREAKS: Final = 200

_SHOWN_ROWS: Final = 50

_LONG: Final = 48

_WORDS: Final = re.compile(
    r"(\d{4}-\d\d-\d\d(?: \d\d:\d\d(?::\d\d(?:\.\d+)?)?)?|--[a-z-]+|[a-z]+(?:_[a-z]+)+)"
)
"""What is not broken over two lines: times, options, and names of fields and tables."""


def require_page(path: str, mistakes: Mistakes) -> None:
    """Note why a page could not be written, before anything is done for it.

    Args:
        path: the file that is asked for.
        mistakes: collects what stands in the way.
    """
    absent = [name for name in _LIBRARIES if importlib.util.find_spec(name) is None]
    if absent:
        mistakes.add(
            f"--report needs {' and '.join(absent)}, which {'is' if len(absent) == 1 else 'are'} "
            "not installed",
            "pip install 'kalshi-fills[report]'",
        )
    try:
        _note_path(path, _target(path), mistakes)
    except OSError as error:
        mistakes.add(f"--report {path}: {error.strerror}", "name a file in a folder of yours")


def write_page(found: Diagnosis, tables: Tables, now: datetime, path: str) -> None:
    """Write the page; a run that is killed meanwhile leaves the file as it was.

    Args:
        found: what is on the page.
        tables: the tables that were looked at.
        now: when that was.
        path: the file; an earlier one is replaced.

    Raises:
        SettingsError: the file could not be written.
    """
    html = render(found, tables, now)
    target = _target(path)
    part = target.with_name(f".{uuid4().hex}.part")
    try:
        try:
            with part.open("x", encoding="utf-8") as file:
                file.write(html)
                file.flush()
                os.fsync(file.fileno())
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise SettingsError(
            f"cannot write {path}: {error.strerror}",
            hint="run `kalshi-fills diagnose` again with --report and another file, or without",
        ) from error


def render(found: Diagnosis, tables: Tables, now: datetime) -> str:
    """Return the page as text; the same diagnosis always gives the same text."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["split_words"] = _WORDS.split
    environment.globals.update(many=many, one_or_more=one_or_more)
    environment.tests["command"] = _is_command
    environment.tests["number"] = _is_number
    environment.tests["long"] = lambda value: len(str(value)) > _LONG
    return environment.get_template(_TEMPLATE).render(
        found=found,
        where=f"{tables.database}.{tables.fills}",
        now=now.replace(microsecond=0),
        version=__version__,
        plots=plots(found),
        breaks=[break_row(one) for one in found.breaks[:_SHOWN_BREAKS]],
        shown_breaks=_SHOWN_BREAKS,
        shown_rows=_SHOWN_ROWS,
    )


def _target(path: str) -> Path:
    """Return the file itself, so that a link to it stays a link."""
    return Path(path).resolve()


def _note_path(path: str, target: Path, mistakes: Mistakes) -> None:
    folder = target.parent
    if target.is_dir():
        mistakes.add(f"--report {path} is a folder", "name a file in it, such as diagnosis.html")
    elif target.exists() and not target.is_file():
        mistakes.add(f"--report {path} is no ordinary file", "name another file")
    elif not folder.is_dir():
        mistakes.add(f"--report {path}: there is no folder {folder}", f"mkdir -p '{folder}'")
    elif not os.access(target if target.exists() else folder, os.W_OK) or not os.access(
        folder, os.W_OK | os.X_OK
    ):
        mistakes.add(f"--report {path} may not be written", "name a file in a folder of yours")


def _shown(value: object) -> object:
    """Return a value as people read it, every character that cannot be seen spelled out."""
    if hasattr(value, "__html__"):
        return value
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}" if value.second else f"{value:%Y-%m-%d %H:%M}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return visible(str(value))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def _is_command(text: str) -> bool:
    """Return whether a text can be pasted into a shell, and is not a sentence."""
    return text.startswith("kalshi-fills ") and "," not in text
