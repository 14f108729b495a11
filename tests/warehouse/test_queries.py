"""The SQL files: one titled statement each, the operator's own names, and one idea of content."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support.fills import EDGES, Values

from kalshi_fills.migrate.run import migrate
from kalshi_fills.pipeline.content import digest
from kalshi_fills.pipeline.fills import CONTENT_FIELDS
from kalshi_fills.warehouse.client import TextTable, Warehouse
from kalshi_fills.warehouse.statements import Tables, load, names, quote_identifier

FOLDER = Path(__file__).parents[2] / "queries"
FILES = sorted(str(path.relative_to(FOLDER).with_suffix("")) for path in FOLDER.glob("**/*.sql"))
FRAGMENTS = {name for name in FILES if name.startswith("fragments/")}
STATEMENTS = [name for name in FILES if name not in FRAGMENTS]
VERBS = "SELECT|EXPLAIN|WITH|SHOW|SYSTEM|INSERT|CREATE|ALTER|DROP|RENAME|EXCHANGE|TRUNCATE|DELETE"
ONLY_WITH_CLUSTER = "`cluster`"
HOSTILE = "x`; DROP TABLE y; -- \\ '\" {a:String} \u00e9\U0001f9ff"


def bare(sql: str) -> str:
    """The SQL without comments, texts and quoted names."""
    pattern = r"--[^\n]*|/\*.*?\*/|'(?:\\.|[^'\\])*'|`(?:\\.|[^`\\])*`"
    return re.sub(pattern, " ", sql, flags=re.DOTALL)


# The files


def test_there_are_files_to_look_at() -> None:
    assert len(STATEMENTS) >= 20
    assert len(FRAGMENTS) >= 10


@pytest.mark.parametrize("name", FILES)
def test_every_file_opens_with_its_title(name: str) -> None:
    statement = load(name)
    first, *more = statement.text.splitlines()
    assert re.fullmatch(r"-- title: \S.*\S", first)
    assert statement.title == first.removeprefix("-- title: ")
    header = list(itertools.takewhile(lambda line: line.startswith("--"), more))
    assert all(
        re.match(r"-- (why|reads|expects|source|shows|normal): \S|--   \S", line) for line in header
    )
    assert statement.text.endswith("\n")
    assert not statement.text.endswith("\n\n")


def test_titles_tell_the_files_apart() -> None:
    titles = [load(name).title for name in FILES]
    assert len(set(titles)) == len(titles)


@pytest.mark.parametrize("name", STATEMENTS)
def test_every_file_holds_exactly_one_statement(name: str) -> None:
    sql = bare(Tables("kalshi").sql(name))
    assert ";" not in sql
    assert re.match(rf"\s*({VERBS})\b", sql)


@pytest.mark.parametrize("name", sorted(FRAGMENTS))
def test_a_fragment_is_an_expression_below_a_header(name: str) -> None:
    header, expression = re.fullmatch(r"((?:-- .*\n)+)(.*)", load(name).text, re.DOTALL).groups()
    assert header.startswith("-- title: ")
    assert "\n-- why: " in header
    assert "--" not in expression
    assert ";" not in bare(expression)


@pytest.mark.parametrize("name", STATEMENTS)
def test_values_are_bound_and_never_part_of_the_text(name: str) -> None:
    sql = Tables("kalshi").sql(name)
    for braces in re.findall(r"\{[^}]*\}", bare(sql)):
        assert re.fullmatch(r"\{[a-z_]+:[A-Za-z0-9]+(\(.*\))?\}?", braces), braces
    assert "%(" not in sql


def test_names_lists_a_folder_in_order() -> None:
    listed = names("migrations")
    assert listed == sorted(listed)
    assert listed[0] == "migrations/0001_create_migrations"
    assert set(itertools.chain(*map(names, ("migrations", "schema", "sync")))) <= set(FILES)
    assert names("no such folder") == []


def test_an_edited_file_has_another_checksum() -> None:
    checksums = {load(name).checksum for name in FILES}
    assert len(checksums) == len(FILES)
    assert all(re.fullmatch("[0-9a-f]{16}", checksum) for checksum in checksums)


# Names


@pytest.mark.parametrize("name", STATEMENTS)
def test_the_operator_s_names_stand_everywhere(name: str) -> None:
    own, default = Tables("db_of_mine", "table_of_mine").sql(name), Tables("kalshi").sql(name)
    quoted = re.findall(r"`(mm_fills\w*|kalshi)`", own)
    assert quoted == []
    assert own.count("`table_of_mine") == default.count("`mm_fills")
    for suffix in re.findall(r"`table_of_mine(\w*)`", own):
        assert f"`db_of_mine`.`table_of_mine{suffix}`" in own
    assert len(re.findall(r"(?<!`db_of_mine`\.)`table_of_mine", own)) == 0
    on_cluster = Tables("db_of_mine", "table_of_mine", "all").sql(name, everywhere=True)
    assert "/*" not in on_cluster
    assert "/*" not in own


@pytest.mark.parametrize("name", STATEMENTS)
def test_hostile_names_stay_inside_their_quotes(name: str) -> None:
    tables = Tables(f"d{HOSTILE}", f"t{HOSTILE}", f"c{HOSTILE}")
    assert bare(tables.sql(name)) == bare(Tables("d", "t", "c").sql(name))
    sql = tables.sql(name)
    for start in "dt":
        plain = Tables("d", "t", "c").sql(name)
        assert sql.count(quote_identifier(f"{start}{HOSTILE}")) == plain.count(f"`{start}`")


def test_a_table_named_like_the_default_database_is_not_taken_for_it() -> None:
    assert "`d`.`kalshi`" in Tables("d", "kalshi").sql("sync/fills_between")


@pytest.mark.parametrize("database", ["mm_fills", "mm_fills_prod", "kalshi", "mm"])
def test_a_database_named_like_the_default_table_is_not_taken_for_it(database: str) -> None:
    made = Tables(database).sql("schema/create_database")
    assert re.findall(r"`([^`]*)`", made) == [database]


def test_a_cluster_named_like_the_default_table_is_not_taken_for_it() -> None:
    made = Tables("x", "y", "mm_fills").sql("schema/create_database")
    assert re.findall(r"`([^`]*)`", made) == ["x", "mm_fills"]


def test_suffixes_follow_the_table_s_name() -> None:
    tables = Tables("d", "other")
    assert tables.name() == "`d`.`other`"
    assert tables.name("_rejected") == "`d`.`other_rejected`"
    assert "`d`.`other_rejected`" in tables.sql("migrations/0003_create_rejected")


@pytest.mark.parametrize("hostile", [HOSTILE, "`", "\\", "\\`", "a\nb", "", "''", "{x}"])
def test_a_quoted_name_is_one_name_to_the_engine(hostile: str, warehouse: Warehouse) -> None:
    if not hostile:
        assert quote_identifier(hostile) == "``"
        return
    found = warehouse.rows(f"DESCRIBE (SELECT 1 AS {quote_identifier(hostile)})")
    assert [row[0] for row in found] == [hostile]


# Clusters


def changes_schema(name: str) -> bool:
    """Return whether it is DDL; DELETE travels with the replicated table, not with the cluster."""
    sql = bare(load(name).text)
    verb = re.match(r"\s*(CREATE|ALTER|DROP|RENAME|EXCHANGE|TRUNCATE)\b", sql)
    return verb is not None and not re.match(r"\s*ALTER TABLE\s+(DELETE|UPDATE)\b", sql)


@pytest.mark.parametrize("name", STATEMENTS)
def test_without_a_cluster_nothing_runs_on_one(name: str) -> None:
    sql = Tables("d", "t").sql(name)
    assert "ON CLUSTER" not in sql
    assert "Replicated" not in bare(sql)


@pytest.mark.parametrize("name", [name for name in STATEMENTS if changes_schema(name)])
def test_with_a_cluster_every_change_of_schema_runs_on_it(name: str) -> None:
    sql = Tables("d", "t", "all`replicas").sql(name)
    assert sql.count("ON CLUSTER `all\\`replicas`") == 1
    engines = re.findall(r"\bENGINE = (\w+)", bare(sql))
    assert all(engine.startswith("Replicated") for engine in engines if "MergeTree" in engine)
    assert len(engines) == len(re.findall(r"\bENGINE = (\w+)", bare(load(name).text)))


@pytest.mark.parametrize("name", [name for name in STATEMENTS if not changes_schema(name)])
def test_a_cluster_changes_nothing_else(name: str) -> None:
    if ONLY_WITH_CLUSTER in load(name).text or "/* ON CLUSTER */" in load(name).text:
        assert Tables("d", "t", "c`").sql(name).count("`c\\``") >= 1
        return
    assert Tables("d", "t", "c").sql(name) == Tables("d", "t").sql(name)


def test_every_table_is_replicated_on_a_cluster() -> None:
    made = [Tables("d", "t", "c").sql(name) for name in names("migrations")]
    engines = re.findall(r"ENGINE = (\w+)", " ".join(made))
    assert engines == [
        "ReplicatedMergeTree",
        "ReplicatedReplacingMergeTree",
        "ReplicatedAggregatingMergeTree",
        "ReplicatedReplacingMergeTree",
        "ReplicatedReplacingMergeTree",
    ]


# One idea of content


def columns_of(fill: Values) -> tuple[object, ...]:
    return (
        fill.executed_at,
        fill.fill_id,
        fill.order_id,
        fill.ticker,
        fill.outcome,
        fill.action,
        fill.outcome,
        fill.content.book_side,
        fill.price_dollars * 100,
        fill.yes_price_dollars,
        fill.no_price_dollars,
        fill.contracts,
        fill.fee_dollars,
        fill.is_taker,
        fill.subaccount_number,
        fill.exchange_index,
        fill.direction_inferred,
    )


@pytest.fixture
def filled(warehouse: Warehouse, tables: Tables) -> Callable[[str], list[tuple[object, ...]]]:
    """A migrated table with the fills in it; gives a SELECT of an expression for each of them."""
    migrate(warehouse, tables, datetime(2026, 11, 23, tzinfo=UTC))
    warehouse.insert(tables.name(), CONTENT_FIELDS, [columns_of(fill) for fill in EDGES])

    def select(fragment: str) -> list[tuple[object, ...]]:
        expression = tables.sql(fragment)
        return warehouse.rows(f"SELECT fill_id, {expression} AS it FROM {tables.name()} FINAL")

    return select


def test_the_table_s_content_is_the_tool_s(
    filled: Callable[[str], list[tuple[object, ...]]],
) -> None:
    held = {row[0]: tuple(row[1]) for row in filled("fragments/content_texts")}  # type: ignore[call-overload]
    assert held == {fill.fill_id: fill.content for fill in EDGES}


def test_the_table_s_digest_is_the_tool_s(
    filled: Callable[[str], list[tuple[object, ...]]],
) -> None:
    held = {row[0]: row[1] for row in filled("fragments/content_digest")}
    assert held == {fill.fill_id: digest(fill.content) for fill in EDGES}
    assert len(set(held.values())) == len(EDGES)


def test_a_lookup_by_hostile_keys_finds_each_fill_and_nothing_else(
    warehouse: Warehouse, tables: Tables, filled: object
) -> None:
    assert filled
    columns = ("fill_id", "order_id")
    for wanted in (EDGES, EDGES[2:3]):
        keys = TextTable(columns, [(fill.fill_id, fill.order_id) for fill in wanted])
        rows = warehouse.rows(tables.sql("sync/stored_digests"), wanted=keys)
        assert {(row[0], row[1], row[2]) for row in rows} == {
            (fill.fill_id, fill.order_id, digest(fill.content)) for fill in wanted
        }
        by_key = TextTable(
            ("market_ticker", *columns),
            [(fill.ticker, fill.fill_id, fill.order_id) for fill in wanted],
        )
        assert sorted(warehouse.rows(tables.sql("sync/stored_digests_by_key"), wanted=by_key)) == (
            sorted(rows)
        )
    crossed = TextTable(columns, [(EDGES[1].fill_id, EDGES[2].order_id)])
    assert warehouse.rows(tables.sql("sync/stored_digests"), wanted=crossed) == []
