"""The SQL files under `queries/`: finding them and naming the operator's own tables in them.

Every file holds one statement, written for the default table names in backticks, so that it runs
by hand as it is. `Tables` puts the real names in their place, quoted by `quote_identifier`, and
adds what a cluster needs; values are never put into SQL text, the engine binds them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

_PLACES: Final = (
    Path(__file__).parents[1] / "queries",  # in a wheel
    Path(__file__).parents[2] / "queries",  # in a checkout
)

_OWN_NAME: Final = re.compile(r"(/\* all replicas of \*/ )?`(?:mm_fills(\w*)|kalshi)`")

_INCLUDES: Final = {
    "/* contents shown */": "sync/contents_shown",
    "/* needs care */": "sync/needs_care",
    "/* content digest */": "sync/content_digest",
    "/* content texts */": "sync/content_texts",
    "/* links lost */": "sync/links_lost",
    "/* garbage */": "truncate/garbage",
    "/* older */": "truncate/older",
    "/* columns */": "truncate/columns",
    "/* columns as read */": "truncate/columns_as_read",
    "/* row digest */": "truncate/row_digest",
    "/* key digest */": "truncate/key_digest",
    "/* payload id */": "truncate/payload_id",
}

_ON_CLUSTER: Final = "/* ON CLUSTER */"

_CLUSTER: Final = "/* cluster */"

_OWN_COLUMNS: Final = " /* own columns */"

_OWN_AS_READ: Final = " /* own columns as read */"

_OWN_COLUMNS_OF_HELD: Final = " /* own columns of held */"

_COMPARABLE_COLUMNS: Final = " /* comparable columns */"

_BY_HAND: Final = {
    "/* start */ now() - INTERVAL 24 HOUR": "{start:DateTime64(6, 'UTC')}",
    "/* end */ now()": "{end:DateTime64(6, 'UTC')}",
    "/* database */ currentDatabase()": "{database:String}",
    "/* table */ 'mm_fills'": "{table:String}",
    # A setting takes no part in the tool's own reading: a user who may only read cannot set it.
    "\nSETTINGS final = 1": "",
}
"""What a file says so that it runs by hand, and what the tool binds in its place."""

_FINAL: Final = " /* FINAL */"

_ENGINE: Final = re.compile(r"\bENGINE = (\w*MergeTree)")


@dataclass(frozen=True, slots=True)
class Statement:
    """One SQL file."""

    name: str
    """Path below `queries/` without the ending, such as `sync/stored_fills`."""
    text: str
    """The file as it is."""

    @property
    def title(self) -> str:
        """What the statement shows or does, from its header."""
        return self._header("title") or self.name

    @property
    def shows(self) -> str:
        """What the statement's result tells, from its header."""
        return self._header("shows")

    @property
    def normal(self) -> str:
        """What the result looks like where all is well, from its header."""
        return self._header("normal")

    def _header(self, name: str) -> str:
        match = re.search(rf"^-- {name}: (.+(?:\n--   .+)*)", self.text, re.MULTILINE)
        return match.group(1).replace("\n--  ", "") if match else ""

    @property
    def checksum(self) -> str:
        """16 hex digits of the file's bytes: an edited file is another statement."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Tables:
    """Where the tool's tables are: a database, the fills table, and those that follow its name."""

    database: str
    fills: str = "mm_fills"
    cluster: str | None = None
    spread_by_database: bool = False
    """The database is of the engine Replicated: it runs each statement on all its hosts by itself,
    takes no ON CLUSTER, and its tables are replicated with or without a cluster's name."""

    @property
    def replicated(self) -> bool:
        """Whether the tables are to be replicated."""
        return self.cluster is not None or self.spread_by_database

    @property
    def on_cluster(self) -> str:
        """The clause that runs a statement on every host; empty where none is needed."""
        if self.cluster is None or self.spread_by_database:
            return ""
        return f" ON CLUSTER {quote_identifier(self.cluster)}"

    @property
    def hosts(self) -> str | None:
        """The cluster by which all hosts are read: such a database is one, under its own name."""
        return self.cluster or (self.database if self.spread_by_database else None)

    def name(self, suffix: str = "") -> str:
        """Give the quoted, qualified name of `mm_fills<suffix>`."""
        return f"{quote_identifier(self.database)}.{quote_identifier(self.fills + suffix)}"

    def sql(
        self,
        name: str,
        *,
        suffixes: Mapping[str, str] | None = None,
        own_columns: Sequence[str] = (),
        comparable_columns: Sequence[str] = (),
        everywhere: bool = False,
        final: bool = True,
    ) -> str:
        """Give a file's statement over these tables.

        Args:
            name: path below `queries/` without the ending.
            suffixes: other suffixes to use for some of the file's tables.
            own_columns: columns of the operator's own that the statement takes along.
            comparable_columns: those of them whose values the engine can compare.
            everywhere: read the tables marked so on all replicas, not only on this host.
            final: whether the engine of tables marked so knows FINAL; an old table's may not.
        """
        text = load(name).text
        for mark, included in _INCLUDES.items():  # what includes others stands before them
            if mark in text:
                text = text.replace(mark, load(included).text.split("\n", 2)[2].strip())
        for said, bound in _BY_HAND.items():
            text = text.replace(said, bound)
        text = text.replace(_FINAL, " FINAL" if final else "")
        # The file's own names first: what is put in below may look like one of them.
        other = suffixes or {}

        def named(match: re.Match[str]) -> str:
            if match.group(2) is None:
                return quote_identifier(self.database)
            suffix = other.get(match.group(2), match.group(2))
            if match.group(1) and everywhere and self.hosts is not None:
                places = (self.hosts, self.database, self.fills + suffix)
                return f"clusterAllReplicas({', '.join(map(quote_identifier, places))})"
            return self.name(suffix)

        text = _OWN_NAME.sub(named, text)
        own = [quote_identifier(column) for column in own_columns]
        comparable = [quote_identifier(column) for column in comparable_columns]
        text = text.replace(_OWN_COLUMNS_OF_HELD, "".join(f", held.{column}" for column in own))
        text = text.replace(_OWN_COLUMNS, "".join(f", {column}" for column in own))
        text = text.replace(_OWN_AS_READ, "".join(f", materialize({column})" for column in own))
        text = text.replace(_COMPARABLE_COLUMNS, "".join(f", {column}" for column in comparable))
        text = text.replace(f" {_ON_CLUSTER}", self.on_cluster)
        if self.hosts is not None:
            text = text.replace(_CLUSTER, quote_identifier(self.hosts))
        if self.replicated:
            text = _ENGINE.sub(r"ENGINE = Replicated\1", text)
        return text


def quote_identifier(name: str) -> str:
    """Quote a database, table, column or cluster name for SQL."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


@cache
def load(name: str) -> Statement:
    """Read one file below `queries/`."""
    return Statement(name, (_folder() / f"{name}.sql").read_text(encoding="utf-8"))


def names(folder: str) -> list[str]:
    """List the statements of one folder below `queries/`, sorted by name."""
    return sorted(f"{folder}/{path.stem}" for path in (_folder() / folder).glob("*.sql"))


@cache
def _folder() -> Path:
    return next(place for place in _PLACES if place.is_dir())
