"""The names that follow the fills table's in those of its backups and of tables kept aside."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

_STAMP_FORMAT: Final = "%Y%m%dT%H%M%SZ"

_BACKUP: Final = re.compile(r"_backup_(\d{8}T\d{6}Z)").fullmatch

_LEGACY: Final = re.compile(r"_legacy_\d{8}T\d{6}Z(_unfinished)?").fullmatch


def stamp_of(moment: datetime) -> str:
    """Return a moment as it stands in a table's name."""
    return f"{moment:{_STAMP_FORMAT}}"


def backup_suffix(stamp: str) -> str:
    """Return what follows the fills table's name in that of its backup."""
    return f"_backup_{stamp}"


def created_at(suffix: str) -> datetime | None:
    """Return when a backup was made, from its name; None if it is not the name of a backup."""
    match = _BACKUP(suffix)
    if match is None:
        return None
    try:
        return datetime.strptime(match.group(1), _STAMP_FORMAT).replace(tzinfo=UTC)
    except ValueError:  # the digits are no date: somebody else's table
        return None


def is_legacy(suffix: str) -> bool:
    """Return whether it is the name of a table that migrate keeps aside."""
    return _LEGACY(suffix) is not None
