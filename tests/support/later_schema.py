"""A later version of the tool: the same queries, and one more numbered migration."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from kalshi_fills.warehouse import statements

QUERIES = Path(__file__).parents[2] / "queries"


@contextmanager
def one_more_migration(folder: Path, name: str, text: str) -> Iterator[None]:
    """Have the tool read its queries from a copy with one more file in `migrations`.

    Args:
        folder: an empty folder for the copy.
        name: such as `0099_alter_fills`.
        text: the migration's statement, header included.
    """
    copy = shutil.copytree(QUERIES, folder / "queries")
    (copy / "migrations" / f"{name}.sql").write_text(text, encoding="utf-8")
    with patch.object(statements, "PLACES", (copy,)):
        statements.forget()
        try:
            yield
        finally:
            statements.forget()
