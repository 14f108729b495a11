"""Which privileges a migration needs and this user lacks, read from `SHOW GRANTS`.

Found before anything is done, so that a missing one does not stop a migration half-way.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Final

_NEEDED: Final = (
    "SELECT",
    "INSERT",
    "CREATE TABLE",
    "CREATE VIEW",
    "DROP TABLE",
    "DROP VIEW",
    "ALTER ADD COLUMN",
)
_IMPLIED_BY: Final = {
    "CREATE TABLE": ("CREATE",),
    "CREATE VIEW": ("CREATE",),
    "DROP TABLE": ("DROP",),
    "DROP VIEW": ("DROP",),
    "ALTER ADD COLUMN": ("ALTER COLUMN", "ALTER TABLE", "ALTER", "ADD COLUMN"),
}
_GRANT: Final = re.compile(r"^(GRANT|REVOKE) (.+) ON (\S+)\.(\S+) (?:TO|FROM) ")


def missing_grants(lines: Iterable[str], database: str, table: str) -> list[str]:
    """Give the needed privileges that no line grants on the database's tables of ours.

    Args:
        lines: what `SHOW GRANTS` answers, one grant a line.
        database: where the tables are.
        table: the fills table, whose followers (`..._runs` and so on) are meant too.
    """
    held: set[str] = set()
    for line in lines:
        match = _GRANT.match(line)
        if match is None:
            return []  # a role or a form not known here: the server itself will say
        verb, privileges, on_database, on_table = match.groups()
        if not fnmatchcase(database, on_database.replace("`", "")) or not fnmatchcase(
            f"{table}_any", on_table.replace("`", "")
        ):
            continue
        named = {re.sub(r"\(.*?\)", "", part).strip() for part in privileges.split(",")}
        held = held | named if verb == "GRANT" else held - named
    if "ALL" in held:
        return []
    return [
        privilege
        for privilege in _NEEDED
        if held.isdisjoint((privilege, *_IMPLIED_BY.get(privilege, ())))
    ]
