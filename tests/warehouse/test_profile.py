"""What a user's profile, grants and row policies decide: nothing, or an error that names it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext

import pytest
from support.commandline import Account, ServerWithUsers
from support.diagnosing import Desk, assert_well, engine_row
from support.syncing import DAY, MINUTE, one_day, truth

from kalshi_fills.errors import WarehouseError
from kalshi_fills.practice.account import PracticeAccount
from kalshi_fills.practice.exchange import PracticeExchange
from kalshi_fills.warehouse.client import Warehouse
from kalshi_fills.warehouse.profile import (
    READING,
    SHORT_LIVED,
    WRITING,
    Setting,
    embedded_profile,
    profile,
)
from kalshi_fills.warehouse.server import open_server
from kalshi_fills.warehouse.statements import Tables

pytestmark = pytest.mark.server

HOSTILE = {
    "final": "1",
    "limit": "1",
    "offset": "1",
    "extremes": "1",
    "join_use_nulls": "1",
    "transform_null_in": "1",
    "group_by_use_nulls": "1",
    "bool_true_representation": "'yes'",
    "date_time_output_format": "'unix_timestamp'",
    "session_timezone": "'America/New_York'",
    "aggregate_functions_null_for_empty": "1",
    "empty_result_for_aggregation_by_empty_set": "1",
    "prefer_column_name_to_alias": "1",
    "use_query_cache": "1",
    "output_format_decimal_trailing_zeros": "1",
    "output_format_native_encode_types_in_binary_format": "1",
    "enable_extended_results_for_datetime_functions": "1",
    "data_type_default_nullable": "1",
    "async_insert": "1, wait_for_async_insert = 0",
    "max_rows_to_group_by": "1, group_by_overflow_mode = 'any'",
    "max_rows_to_read": "2, read_overflow_mode = 'break'",
    "max_result_rows": "1, result_overflow_mode = 'break'",
    "max_rows_in_set": "1, set_overflow_mode = 'break'",
    "max_rows_in_join": "1, join_overflow_mode = 'break'",
    "max_rows_to_sort": "1, sort_overflow_mode = 'break'",
    "max_rows_in_distinct": "1, distinct_overflow_mode = 'break'",
    "transfer_overflow_mode": "'break', max_rows_to_transfer = 1",
    "additional_result_filter": "'1 = 0'",
    "enable_analyzer": "0",
    "use_skip_indexes_if_final": "1",
    "optimize_move_to_prewhere_if_final": "1",
    "do_not_merge_across_partitions_select_final": "1",
    "apply_deleted_mask": "0",
    "asterisk_include_alias_columns": "1",
    "cast_keep_nullable": "1",
    "insert_deduplication_token": "'always the same'",
    "ignore_drop_queries_probability": "1",
    "use_index_for_in_with_subqueries": "0",
    "decimal_check_overflow": "0",
    "count_distinct_implementation": "'uniq'",
    "optimize_use_projections": "0",
    "short_circuit_function_evaluation": "'disable'",
    "enable_positional_arguments": "0",
    "use_variant_as_common_type": "1",
}
LIMITS = ("max_rows_to_", "max_rows_in_", "max_result_rows")
numbers = itertools.count(1)


class Users:
    """A server, and users made on it with settings and grants of their own."""

    def __init__(self, server: ServerWithUsers, tables: Tables) -> None:
        self.server = server
        self.tables = tables
        self.admin = open_server(server.url("default"))
        self._made: list[str] = []

    def make(self, settings: str = "", grants: str = "ALL", on: str | None = None) -> str:
        """Make a user; give the URL to connect as it."""
        name = f"user_{next(numbers)}"
        more = f" SETTINGS {settings}" if settings else ""
        self.admin.command(f"CREATE USER {name} IDENTIFIED WITH plaintext_password BY 'pw'{more}")
        self._made.append(name)
        where = on or f"{self.tables.database}.*"
        self.admin.command(f"GRANT {grants} ON {where} TO {name}")
        return self.server.url(self.tables.database, name, "pw")

    @property
    def latest(self) -> str:
        return self._made[-1]

    def close(self) -> None:
        for name in self._made:
            self.admin.command(f"DROP USER {name}")
        self.admin.command(f"DROP DATABASE IF EXISTS {self.tables.database}")
        self.admin.close()


@pytest.fixture
def users(server_with_users: ServerWithUsers) -> Iterator[Users]:
    made = Users(server_with_users, Tables(f"users_{next(numbers)}"))
    yield made
    made.close()


@pytest.fixture
def desk_of(
    users: Users, api_key: Account, serve: Callable[..., PracticeExchange]
) -> Callable[[Warehouse], Desk]:
    """Return the desk of a user; the tables are the same for all."""
    return lambda warehouse: Desk(warehouse, users.tables, api_key, serve)


def filled(desk: Desk) -> PracticeAccount:
    """Migrate, and let an engine write a wrong row of each fill, with links."""
    account = one_day(60)
    desk.migrate()
    desk.serve(account)
    for size in (1, 2):
        desk.write(
            *(
                engine_row(fill, fill_id=fill.fill_id, size=fill.count + size, client_order_id="")
                for fill in account.fills
            )
        )
    return account


def works(users: Users, desk: Desk, as_user: Warehouse) -> None:
    """Assert that a sync and a diagnosis of a user are what they are for everybody."""
    account = filled(desk)
    desk.warehouse = as_user
    done = desk.run(full=True)

    assert (done.counts.n_corrected, done.breaks) == (60, [])
    admin = users.admin
    name = users.tables.name()
    columns = "fill_id, client_order_id, engine_instance_id, toString(decision_id)"
    held = admin.rows(f"SELECT {columns} FROM {name} FINAL")
    assert len(held) == 60
    assert {row[2] for row in held} == {"mm-7"}
    assert {row[3] for row in held} == {"00000000-0000-0000-0000-000000000007"}
    desk.warehouse = admin
    assert desk.fills() == truth(account)
    desk.warehouse = as_user
    desk.clock.now += MINUTE
    assert desk.run(full=True).counts.n_known == 60
    assert_well(desk.diagnose(DAY * 2))


@pytest.mark.sampled(13)
@pytest.mark.parametrize("name", HOSTILE)
def test_a_setting_of_the_profile_decides_nothing(
    users: Users, desk_of: Callable[[Warehouse], Desk], name: str
) -> None:
    url = users.make(f"{name} = {HOSTILE[name]}")
    # A limit may end a statement, and never cuts an answer short.
    loud = pytest.raises(WarehouseError) if name.startswith(LIMITS) else nullcontext()
    with loud, closing(open_server(url)) as as_user:
        works(users, desk_of(users.admin), as_user)


def test_all_of_them_together_decide_nothing(
    users: Users, desk_of: Callable[[Warehouse], Desk]
) -> None:
    settings = ", ".join(
        f"{name} = {value}" for name, value in HOSTILE.items() if not name.startswith(LIMITS)
    )
    with closing(open_server(users.make(settings))) as as_user:
        works(users, desk_of(users.admin), as_user)


def test_a_filter_of_the_profile_hides_nothing(
    users: Users, desk_of: Callable[[Warehouse], Desk]
) -> None:
    hidden = f"{{'{users.tables.database}.mm_fills': 'size > 5'}}"
    url = users.make(f'additional_table_filters = "{hidden}"'.replace('"', "$$"))
    with closing(open_server(url)) as as_user:
        works(users, desk_of(users.admin), as_user)


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    "settings",
    [
        "readonly = 1",
        "readonly = 2",
        "readonly = 2, final = 1, extremes = 1, limit = 1",
        "final = 0 CONST, join_use_nulls = 0 CONST, limit = 0 CONST, offset = 0 CONST",
        "max_threads = 1 CONST, max_memory_usage = 2000000000 CONST, load_balancing = 'in_order'",
        "readonly = 1, async_insert = 1, insert_deduplicate = 1, max_execution_time = 60",
    ],
)
def test_a_user_who_may_not_change_harmless_settings_can_diagnose(
    users: Users, desk_of: Callable[[Warehouse], Desk], settings: str
) -> None:
    desk = desk_of(users.admin)
    desk.healthy(one_day(60))
    url = users.make(settings, "SELECT")
    with closing(open_server(url)) as as_user:
        desk.warehouse = as_user
        assert_well(desk.diagnose(DAY * 2))
        assert desk.diagnose(offline=True).verdict == "pass"


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ("readonly = 1, final = 1", "final"),
        ("readonly = 1, extremes = 1", "extremes"),
        ("readonly = 1, limit = 2", "limit"),
        ("readonly = 1, limit = 1000000", "limit"),
        ("readonly = 1, offset = 1", "offset"),
        ("final = 1 CONST", "final"),
        ("join_use_nulls = 1 MIN 1 MAX 1", "join_use_nulls"),
        ("readonly = 1, bool_true_representation = '1'", "bool_true_representation"),
        ("readonly = 1, read_overflow_mode = 'break'", "read_overflow_mode"),
        ("readonly = 1, read_overflow_mode = 'break', max_rows_to_read = 10", "read_overflow_mode"),
    ],
)
def test_a_setting_that_would_decide_and_may_not_be_changed_is_named(
    users: Users, settings: str, name: str
) -> None:
    url = users.make(settings, "SELECT")

    with pytest.raises(WarehouseError, match=name) as caught:
        open_server(url)

    assert caught.value.exit_code == 5


def test_a_setting_that_spoils_writing_alone_does_not_stop_a_reader(users: Users) -> None:
    url = users.make("async_insert = 1 CONST, wait_for_async_insert = 0 CONST")
    with closing(open_server(url)) as as_user:
        assert as_user.rows("SELECT 1") == [(1,)]
        with pytest.raises(WarehouseError, match="wait_for_async_insert"):
            as_user.command(f"CREATE DATABASE {users.tables.database}")
        with pytest.raises(WarehouseError, match="wait_for_async_insert"):
            as_user.insert("x", ["y"], [[1]])


def test_settings_a_server_does_not_know_are_not_sent() -> None:
    found = profile([Setting("final", "1", fixed=False)])

    assert found.reading == {"final": "0"}
    assert found.spoils_reading == []
    assert embedded_profile({"final", "format_tsv_null_representation", "compile_expressions"}) == {
        "final": "0",
        "format_tsv_null_representation": "\\N",
        "compile_expressions": "0",
    }


def test_every_setting_is_one_of_this_server_or_of_the_embedded_engine(
    server_with_users: ServerWithUsers, embedded: Warehouse
) -> None:
    with closing(open_server(server_with_users.url("default"))) as opened:
        of_server = {row[0] for row in opened.rows("SELECT name FROM system.settings")}
    of_embedded = {row[0] for row in embedded.rows("SELECT name FROM system.settings")}

    assert {*READING, *WRITING} - of_server - of_embedded == set()
    assert SHORT_LIVED.keys() <= of_embedded


# Grants and row policies


def test_without_the_right_to_delete_a_ticker_is_not_corrected_and_nothing_written(
    users: Users, desk_of: Callable[[Warehouse], Desk]
) -> None:
    account = one_day(20)
    desk = desk_of(users.admin)
    desk.migrate()
    desk.serve(account)
    desk.write(
        *(
            engine_row(fill, fill_id=fill.fill_id, market_ticker="KXOLD", client_order_id="")
            for fill in account.fills
        )
    )
    before = users.admin.rows(f"SELECT * FROM {users.tables.name()} ORDER BY ALL")
    url = users.make(grants="SELECT, INSERT")
    with closing(open_server(url)) as as_user:
        desk.warehouse = as_user
        with pytest.raises(WarehouseError, match="may not delete") as caught:
            desk.run(full=True)
        assert "GRANT ALTER DELETE ON" in caught.value.hint
        assert users.admin.rows(f"SELECT * FROM {users.tables.name()} ORDER BY ALL") == before

        users.admin.command(f"GRANT ALTER DELETE ON {users.tables.name()} TO {users.latest}")
        assert desk.run(full=True).breaks == []
    desk.warehouse = users.admin
    assert desk.fills() == truth(account)


@pytest.mark.parametrize("policy", ["size > 5", "0", "ts > now()"])
def test_a_row_policy_that_hides_rows_is_refused_not_read_past(
    users: Users, desk_of: Callable[[Warehouse], Desk], policy: str
) -> None:
    desk = desk_of(users.admin)
    desk.healthy(one_day(20))
    url = users.make()
    users.admin.command(
        f"CREATE ROW POLICY hiding ON {users.tables.name()} USING {policy} TO {users.latest}"
    )
    with closing(open_server(url)) as as_user:
        desk.warehouse = as_user
        for attempt in (
            lambda: desk.run(full=True),
            lambda: desk.diagnose(),
            lambda: desk.diagnose(offline=True),
        ):
            with pytest.raises(WarehouseError, match="row policy"):
                attempt()
    users.admin.command(f"DROP ROW POLICY hiding ON {users.tables.name()}")


def test_a_row_policy_that_shows_everything_is_fine(
    users: Users, desk_of: Callable[[Warehouse], Desk]
) -> None:
    desk = desk_of(users.admin)
    desk.healthy(one_day(20))
    url = users.make()
    users.admin.command(
        f"CREATE ROW POLICY showing ON {users.tables.name()} USING 1 TO {users.latest}"
    )
    with closing(open_server(url)) as as_user:
        desk.warehouse = as_user
        assert desk.run(full=True).counts.n_known == 20
    users.admin.command(f"DROP ROW POLICY showing ON {users.tables.name()}")


# What an error says


def test_an_error_is_one_printable_sentence(users: Users) -> None:
    with closing(open_server(users.server.url("default"))) as as_user:
        for text in ("\x1b[31mred", "two\nlines\r", "\u202eright to left", "\x00", "pw \\x"):
            with pytest.raises(WarehouseError) as caught:
                as_user.rows("SELECT throwIf(1, {text:String})", {"text": text})
            assert caught.value.message.isprintable()
            with pytest.raises(WarehouseError) as caught:
                as_user.rows(f"SELECT `{text}\x1b` FROM nowhere")
            assert caught.value.message.isprintable()


def test_an_option_the_driver_does_not_take_is_not_repeated() -> None:
    with pytest.raises(Exception, match="option") as caught:
        open_server("clickhouse://u:pw@127.0.0.1:1/x?send_receive_timeout=hunter2")
    assert "hunter2" not in str(caught.value)
