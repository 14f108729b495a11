"""Values, texts and parameters go to both engines and come back exactly."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from support.values import assert_one_sentence

from kalshi_fills.errors import InsertUnknown, WarehouseError
from kalshi_fills.warehouse.client import Warehouse
from kalshi_fills.warehouse.statements import Tables, quote_identifier

pytestmark = pytest.mark.both_engines

NEXT_LINE = "\u0085 next line, which Python counts as a line's end"


HOSTILE = [
    "",
    "it's",
    '"double"',
    "'",
    "\\",
    "back\\slash\\",
    "\\N",
    "\\0",
    "\\'",
    "NULL",
    "[]",
    "['a','b']",
    "tab\there",
    "two\nlines\r\nand more",
    "nul\0inside",
    "bell\a backspace\b escape\x1b form\f vertical\v",
    "\x1c\x1d\x1e separators",
    "\u2028 and \u2029 separators",
    "`backticks`",
    "{x:String} %s %(x)s $x ?",
    "-- comment /* */ ; DROP TABLE t",
    "KXÅSÄ-ÜBER-日本-العربية",
    "\U0001f4b8 outside the basic plane, \U0010ffff the last one",
    "e\u0301 combining, \ufeff mark, \u202e right to left",
    " spaces at both ends ",
]


@pytest.fixture
def make(warehouse: Warehouse, tables: Tables) -> Callable[[str], str]:
    """Make a table of one column `v` after a row number, and give its quoted name."""
    warehouse.command(f"CREATE DATABASE {quote_identifier(tables.database)}")

    def create(kind: str) -> str:
        name = tables.name("_values")
        warehouse.command(f"CREATE TABLE {name} (n UInt64, v {kind}) ENGINE = MergeTree ORDER BY n")
        return name

    return create


def stored(warehouse: Warehouse, name: str, values: list[Any]) -> list[Any]:
    warehouse.insert(name, ("n", "v"), list(enumerate(values)))
    return [row[0] for row in warehouse.rows(f"SELECT v FROM {name} ORDER BY n")]


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


VALUES: dict[str, list[Any]] = {
    "Decimal(9, 4)": [Decimal(text) for text in ("0", "0.0001", "99.9999", "12.3", "-99999.9999")],
    "Decimal(9, 6)": [Decimal(text) for text in ("0.000001", "0.995", "0.123456", "0.999999")],
    "Decimal(18, 2)": [
        Decimal(text) for text in ("0.01", "0.29", "1.15", "9007199254740993.01", "33.33")
    ],
    "Decimal(18, 6)": [
        Decimal(text) for text in ("0.000001", "0.1", "123456789012.123457", "-0.000001")
    ],
    "Nullable(Decimal(18, 6))": [None, Decimal(0), Decimal("0.07"), None],
    "Nullable(Bool)": [None, True, False, None],
    "Nullable(UInt8)": [None, 0, 63, 255],
    "Nullable(DateTime64(6, 'UTC'))": [None, at("2026-11-22 10:00:00.000001")],
    "DateTime64(6, 'UTC')": [
        at("2021-01-01 00:00:00.000001"),
        at("2026-03-29 01:30:00"),  # an hour that does not exist in much of Europe
        at("2026-11-22 23:59:59.999999"),
        at("2038-01-19 03:14:08.5"),
        at("2100-12-31 23:59:59.123456"),
    ],
    "UUID": [UUID(int=0), UUID(int=1), UUID("8e0f7a3e-51c3-4d0b-9f57-5b0d2a1f9c11")],
    "UInt64": [0, 1, 2**53 + 1, 2**63, 2**64 - 1],
    "Float64": [0.5, 0.1, 0.57, 1e-9],
    "String": HOSTILE,
    "LowCardinality(String)": HOSTILE,
    "Array(String)": [[], [""], HOSTILE, ["a", "b"]],
}


@pytest.mark.parametrize("kind", VALUES)
def test_values_come_back_exactly_as_they_went_in(
    warehouse: Warehouse,
    make: Callable[[str], str],
    kind: str,
) -> None:
    values = VALUES[kind]

    found = stored(warehouse, make(kind), values)

    assert found == values
    assert [type(value) for value in found] == [type(value) for value in values]
    for value in found:
        if isinstance(value, datetime):
            assert value.utcoffset() == timedelta(0)


TEXTS: dict[str, list[str | None]] = {
    "Decimal(9, 4)": ["0", "0.0001", "99.9999", "12.3", "-99999.9999"],
    "Decimal(18, 2)": ["0.01", "0.29", "9007199254740993.01"],
    "Nullable(Decimal(18, 6))": [None, "0.000001", "123456789012.123457"],
    "Bool": ["true", "false"],
    "Nullable(Bool)": ["true", None, "false"],
    "Nullable(UInt8)": [None, "0", "255"],
    "DateTime64(6, 'UTC')": ["2021-01-01 00:00:00.000001", "2100-12-31 23:59:59.999999"],
    "UUID": [str(UUID(int=0)), "8e0f7a3e-51c3-4d0b-9f57-5b0d2a1f9c11"],
    "UInt64": ["0", "9007199254740993", "18446744073709551615"],
    "String": [NEXT_LINE, *HOSTILE],
    "LowCardinality(String)": [NEXT_LINE, *HOSTILE],
}


SEPARATOR = "\x1f"


def insert_texts(warehouse: Warehouse, name: str, texts: list[str | None]) -> None:
    """Insert the texts of a column as lines, each after its number."""
    lines = [f"{number}{SEPARATOR}{text or ''}" for number, text in enumerate(texts)]
    value = "nullIf(__texts[2], '')" if None in texts else "__texts[2]"
    statement = (
        f"INSERT INTO {name} (n, v) WITH splitByString({{separator:String}}, line) AS __texts "
        f"SELECT __texts[1], {value} FROM block"
    )
    warehouse.insert_lines(lines, lines, statement, {"separator": SEPARATOR})


@pytest.mark.parametrize("kind", TEXTS)
def test_texts_given_as_lines_become_the_values_they_spell(
    warehouse: Warehouse, make: Callable[[str], str], kind: str
) -> None:
    name, texts = make(kind), TEXTS[kind]

    insert_texts(warehouse, name, texts)

    assert [row[0] for row in warehouse.rows(f"SELECT toString(v) FROM {name} ORDER BY n")] == texts


def test_every_character_in_a_line_comes_back(
    warehouse: Warehouse, make: Callable[[str], str]
) -> None:
    name = make("String")
    lines = [chr(code) + "x" for code in range(0xD800)]
    payloads = ["y" + line for line in lines]
    statement = (
        f"INSERT INTO {name} (n, v) SELECT rowNumberInAllBlocks(), concat(line, payload) "
        "FROM block SETTINGS max_threads = 1"
    )

    warehouse.insert_lines(lines, payloads, statement)

    found = [row[0] for row in warehouse.rows(f"SELECT v FROM {name} ORDER BY n")]
    expected = [line + payload for line, payload in zip(lines, payloads, strict=True)]
    assert [(one, sent) for one, sent in zip(found, expected, strict=True) if one != sent] == []


def test_no_lines_are_inserted_without_asking_the_engine(warehouse: Warehouse) -> None:
    warehouse.insert_lines([], [], "INSERT INTO `no`.`such_table` SELECT line FROM block")


def test_a_text_that_spells_no_value_is_refused_and_nothing_of_its_block_is_stored(
    warehouse: Warehouse, make: Callable[[str], str]
) -> None:
    name = make("Decimal(9, 4)")

    with pytest.raises(WarehouseError):
        insert_texts(warehouse, name, ["0.5", "half"])

    assert warehouse.rows(f"SELECT count() FROM {name}") == [(0,)]
    # What travelled with a statement that failed is in the way of none that follows.
    insert_texts(warehouse, name, ["0.5"])
    assert warehouse.rows(f"SELECT v FROM {name}") == [(Decimal("0.5"),)]


@pytest.mark.parametrize("true", [0, 1, 2_999])
def test_a_mostly_false_bool_column_comes_back_as_bools(
    warehouse: Warehouse, make: Callable[[str], str], true: int
) -> None:
    values = [index < true for index in range(3_000)]

    found = stored(warehouse, make("Bool"), values)

    assert found == values
    assert {type(value) for value in found} == {bool}


def test_a_mostly_unknown_bool_column_keeps_what_is_unknown(
    warehouse: Warehouse, make: Callable[[str], str]
) -> None:
    values = [True if index == 7 else False if index == 8 else None for index in range(3_000)]

    found = stored(warehouse, make("Nullable(Bool)"), values)

    assert found == values
    assert {type(value) for value in found} == {bool, type(None)}


@pytest.mark.parametrize("text", [NEXT_LINE, *HOSTILE])
def test_any_text_comes_back_alone_and_in_a_list(
    warehouse: Warehouse,
    make: Callable[[str], str],
    text: str,
) -> None:
    name = make("Array(String)")

    warehouse.insert(name, ("n", "v"), [(1, [text, "other", text])])

    assert warehouse.rows(f"SELECT v, v[1] FROM {name}") == [([text, "other", text], text)]


def test_every_character_up_to_the_first_surrogate_comes_back(
    warehouse: Warehouse, make: Callable[[str], str]
) -> None:
    values = [chr(code) + "x" for code in range(0xD800)]

    found = stored(warehouse, make("String"), values)

    assert [found_ for found_, sent in zip(found, values, strict=True) if found_ != sent] == []


def test_an_aware_time_of_another_zone_is_stored_as_the_same_instant(
    warehouse: Warehouse, make: Callable[[str], str]
) -> None:
    new_york = timezone(timedelta(hours=-5))
    moment = datetime(2026, 11, 22, 20, 30, 0, 123456, tzinfo=new_york)

    found = stored(warehouse, make("DateTime64(6, 'UTC')"), [moment])

    assert found == [moment]
    assert found[0].tzinfo == UTC or found[0].utcoffset() == timedelta(0)


def test_the_local_time_zone_changes_no_time(
    warehouse: Warehouse, make: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import time

    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        moment = at("2026-07-04 12:00:00.000001")
        assert stored(warehouse, make("DateTime64(6, 'UTC')"), [moment]) == [moment]
        asked = warehouse.rows("SELECT {x:DateTime64(6, 'UTC')}", {"x": moment})
        assert asked == [(moment,)]
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("text", [NEXT_LINE, *HOSTILE])
def test_any_text_is_bound_as_a_parameter(warehouse: Warehouse, text: str) -> None:
    found = warehouse.rows("SELECT {x:String}, hex({x:String}), length({x:String})", {"x": text})

    assert found == [(text, text.encode().hex().upper(), len(text.encode()))]


@pytest.mark.parametrize("text", [NEXT_LINE, *HOSTILE])
def test_any_text_is_bound_in_a_list(warehouse: Warehouse, text: str) -> None:
    found = warehouse.rows(
        "SELECT {x:Array(String)}, length({x:Array(String)})", {"x": [text, "other", text]}
    )

    assert found == [([text, "other", text], 3)]


def test_an_empty_list_is_bound(warehouse: Warehouse) -> None:
    assert warehouse.rows("SELECT {x:Array(String)}", {"x": []}) == [([],)]


def test_a_list_of_twenty_thousand_ids_is_bound(warehouse: Warehouse) -> None:
    ids = [f"{number:08x}-1111-2222-3333-{number:012x}" for number in range(20_000)]

    found = warehouse.rows("SELECT length({x:Array(String)}), {x:Array(String)}[20000]", {"x": ids})

    assert found == [(20_000, ids[-1])]


def test_a_list_of_twenty_thousand_hostile_texts_is_bound(
    warehouse: Warehouse,
) -> None:
    ids = [f"{HOSTILE[number % len(HOSTILE)]}-{number}-{number:032x}" for number in range(20_000)]

    found = warehouse.rows(
        "SELECT length({x:Array(String)}), {x:Array(String)}[20000], uniqExact(id) FROM "
        "(SELECT arrayJoin({x:Array(String)}) AS id)",
        {"x": ids},
    )

    assert found == [(20_000, ids[-1], 20_000)]


@pytest.mark.parametrize("moment", VALUES["DateTime64(6, 'UTC')"])
def test_a_time_is_bound_to_the_microsecond(warehouse: Warehouse, moment: datetime) -> None:
    found = warehouse.rows("SELECT {x:DateTime64(6, 'UTC')}", {"x": moment})

    assert found == [(moment,)]


@pytest.mark.parametrize("number", [0, 2**53 + 1, 2**64 - 1])
def test_a_number_is_bound_exactly(warehouse: Warehouse, number: int) -> None:
    assert warehouse.rows("SELECT {x:UInt64}", {"x": number}) == [(number,)]


def test_decimals_and_uuids_are_bound_exactly(warehouse: Warehouse) -> None:
    price, decision = Decimal("9007199254740993.01"), UUID(int=2**127 + 5)

    found = warehouse.rows(
        "SELECT {price:Decimal(18, 2)}, {decision:UUID}", {"price": price, "decision": decision}
    )

    assert found == [(price, decision)]


def test_commands_take_parameters(
    warehouse: Warehouse,
    make: Callable[[str], str],
) -> None:
    name = make("Array(String)")

    warehouse.command(f"INSERT INTO {name} SELECT 1, {{x:Array(String)}}", {"x": ["it's", "a\\b"]})

    assert warehouse.rows(f"SELECT v FROM {name}") == [(["it's", "a\\b"],)]


def test_no_rows_are_inserted_without_asking_the_engine(warehouse: Warehouse) -> None:
    warehouse.insert("`no`.`such_table`", ("n",), [])


def test_a_query_without_rows_gives_an_empty_list(
    warehouse: Warehouse, make: Callable[[str], str]
) -> None:
    assert warehouse.rows(f"SELECT * FROM {make('String')}") == []


def test_a_row_of_defaults_only_is_a_row(warehouse: Warehouse, make: Callable[[str], str]) -> None:
    assert stored(warehouse, make("Nullable(String)"), [None, "", None]) == [None, "", None]


def test_columns_are_matched_by_name(warehouse: Warehouse, make: Callable[[str], str]) -> None:
    name = make("String")

    warehouse.insert(name, ("v", "n"), [("first", 1), ("second", 2)])

    assert warehouse.rows(f"SELECT n, v FROM {name} ORDER BY n") == [(1, "first"), (2, "second")]


def test_names_with_backticks_and_backslashes_are_only_names(
    warehouse: Warehouse, make: Callable[[str], str]
) -> None:
    beside = make("String")
    column = "odd`name\\ with 'quotes'"
    database = beside.split(".")[0]
    table = f"{database}.{quote_identifier('odd`; DROP')}"
    warehouse.command(
        f"CREATE TABLE {table} ({quote_identifier(column)} String) ENGINE = MergeTree ORDER BY ()"
    )

    warehouse.insert(table, (column,), [("kept",)])

    assert warehouse.rows(f"SELECT * FROM {table}") == [("kept",)]
    assert warehouse.rows(f"SELECT count() FROM {beside}") == [(0,)]


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("SELEC 1", 62),
        ("SELECT * FROM `default`.`no_such_table`", 60),
        ("SELECT no_such_column FROM system.one", 47),
        ("SELECT throwIf(1, 'said on purpose')", 395),
        ("SELECT toUInt8('x')", 6),
    ],
)
@pytest.mark.parametrize("how", ["rows", "command"])
def test_a_refused_statement_is_one_short_sentence_with_its_code(
    warehouse: Warehouse, sql: str, code: int, how: str
) -> None:
    with pytest.raises(WarehouseError) as caught:
        getattr(warehouse, how)(sql)
    warehouse.command("SELECT 1")

    assert type(caught.value) is WarehouseError
    assert caught.value.code == code
    assert caught.value.exit_code == 5
    assert_one_sentence(caught.value)


@pytest.mark.parametrize(
    "sql",
    [
        "SELEC 1",
        "SELECT throwIf(1, 'before the first row')",
        "SELECT throwIf(number = 150000), 'after many rows' FROM numbers(200000)",
    ],
)
def test_a_failed_query_leaves_nothing_in_the_next_answer(warehouse: Warehouse, sql: str) -> None:
    with pytest.raises(WarehouseError):
        warehouse.rows(sql)

    try:
        assert warehouse.rows("SELECT 'next'") == [("next",)]
    finally:
        warehouse.rows("SELECT 1")


def test_a_refused_insert_stores_nothing_of_its_block(
    warehouse: Warehouse, make: Callable[[str], str]
) -> None:
    name = make("UInt8")

    with pytest.raises(WarehouseError) as caught:
        warehouse.insert(name, ("n", "v", "no_such_column"), [(1, 2, 3)])

    assert not isinstance(caught.value, InsertUnknown)
    assert caught.value.code == 16
    assert_one_sentence(caught.value)
    assert warehouse.rows(f"SELECT count() FROM {name}") == [(0,)]


@pytest.mark.parametrize("table", ["`default`.`no_such_table`", "`no_such_database`.`t`"])
def test_an_insert_into_nothing_is_refused(warehouse: Warehouse, table: str) -> None:
    with pytest.raises(WarehouseError) as caught:
        warehouse.insert(table, ("n",), [(1,)])

    assert not isinstance(caught.value, InsertUnknown)
    assert caught.value.code in (60, 81)


@pytest.mark.parametrize(
    ("kind", "value"), [("Decimal(9, 4)", Decimal("123456789.1")), ("UInt8", -1)]
)
def test_a_value_that_does_not_fit_is_refused_and_nothing_is_unknown(
    warehouse: Warehouse,
    make: Callable[[str], str],
    kind: str,
    value: Any,
) -> None:
    name = make(kind)

    with pytest.raises(WarehouseError) as caught:
        warehouse.insert(name, ("n", "v"), [(1, value)])

    assert not isinstance(caught.value, InsertUnknown)
    assert warehouse.rows(f"SELECT count() FROM {name}") == [(0,)]
