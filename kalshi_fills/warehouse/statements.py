"""The SQL files under `queries/`: reading them, and putting the operator's names into them.

A file holds one statement below a header (`-- title:`, `-- why:`). In its text stand, besides SQL:

    `mm_fills_runs`, `kalshi`, `cluster`  a name in backticks: the operator's own takes its place
    /* include row_id */                  an include: fragments/row_id.sql takes its place, or what
                                          the call gives (`final`, `own_columns`, and so on)
    /* by hand: */ now() /* end */        left out; a plain client runs it in place of the include

A name with two underscores, such as `mm_fills__from`, is a part that a table of the call plays;
`all mm_fills` are the rows of all replicas where the call asks for them. A statement that changes a
table has /* ON CLUSTER */ behind its name. Values are never put into the text: the engine binds
them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

PLACES: Final = (
    Path(__file__).parents[1] / "queries",  # in a wheel
    Path(__file__).parents[2] / "queries",  # in a checkout
)
"""Where the files may be; the first folder that is there counts."""

_HEADER: Final = re.compile(r"\A(?:--[^\n]*\n)*")

_INCLUDE: Final = re.compile(r"/\* include (\w+) \*/")

_BY_HAND: Final = re.compile(r"\s*/\* by hand: \*/.*?/\* end \*/", re.DOTALL)

_ENGINE: Final = re.compile(r"\bENGINE = (\w*MergeTree)")

_CLAUSES: Final = (
    "final",
    "own_columns",
    "own_columns_as_read",
    "own_columns_of_stored",
    "comparable_columns",
)
"""Includes that the call gives; every other is a file."""

_TO_FILL: Final = re.compile(
    r"`(?P<all>all )?(?:mm_fills(?P<suffix>\w*)|(?P<name>kalshi|cluster))`"
    r"| (?P<on_cluster>/\* ON CLUSTER \*/)"
    r"| ?/\* include (?P<clause>\w+) \*/"
)


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
        """What the statement's result means, from its header."""
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
        """Return whether the tables are to be replicated."""
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
        """Return the quoted, qualified name of `mm_fills<suffix>`."""
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
        """Return a file's statement over these tables.

        Args:
            name: path below `queries/` without the ending.
            suffixes: for what follows `mm_fills` in the file, what follows the table's name here:
                which tables play the parts `__from` and `__to`, for example.
            own_columns: the operator's own columns that the statement takes along.
            comparable_columns: those of them whose values the engine can compare.
            everywhere: read the tables marked `all` on all replicas, not only on this host.
            final: whether the tables' engine knows FINAL; that of an old table may not.
        """
        text = _with_includes(name)
        if self.replicated:
            text = _ENGINE.sub(r"ENGINE = Replicated\1", text)
        others = suffixes or {}
        own = [quote_identifier(column) for column in own_columns]
        comparable = [quote_identifier(column) for column in comparable_columns]
        clauses = {
            "final": " FINAL" if final else "",
            "own_columns": "".join(f", {column}" for column in own),
            "own_columns_as_read": "".join(f", materialize({column})" for column in own),
            "own_columns_of_stored": "".join(f", stored.{column}" for column in own),
            "comparable_columns": "".join(f", {column}" for column in comparable),
        }

        def filled(match: re.Match[str]) -> str:
            if match["on_cluster"]:
                return self.on_cluster
            if match["clause"]:
                return clauses[match["clause"]]
            if match["name"]:
                place = self.database if match["name"] == "kalshi" else self.hosts
                return match[0] if place is None else quote_identifier(place)
            suffix = others.get(match["suffix"], match["suffix"])
            if match["all"] and everywhere and self.hosts is not None:
                places = (self.hosts, self.database, self.fills + suffix)
                return f"clusterAllReplicas({', '.join(map(quote_identifier, places))})"
            return self.name(suffix)

        # In one pass: what is put in may look like what is still to be filled.
        return _TO_FILL.sub(filled, text)


def quote_identifier(name: str) -> str:
    """Return a database's, table's, column's or cluster's name quoted for SQL."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


@cache
def load(name: str) -> Statement:
    """Return one file below `queries/`."""
    return Statement(name, (_folder() / f"{name}.sql").read_text(encoding="utf-8"))


def names(folder: str) -> list[str]:
    """Return the statements of one folder below `queries/`, sorted by name."""
    return sorted(f"{folder}/{path.stem}" for path in (_folder() / folder).glob("*.sql"))


def forget() -> None:
    """Forget the files read, so that they are read anew."""
    for function in (_folder, load, _with_includes):
        function.cache_clear()


@cache
def _with_includes(name: str) -> str:
    """Return a file's text with every fragment in its place, and without what runs by hand."""

    def included(match: re.Match[str]) -> str:
        if match[1] in _CLAUSES:
            return match[0]
        fragment = f"fragments/{match[1]}"
        return _HEADER.sub("", _with_includes(fragment), count=1).strip()

    return _INCLUDE.sub(included, _BY_HAND.sub("", load(name).text))


@cache
def _folder() -> Path:
    return next(place for place in PLACES if place.is_dir())
