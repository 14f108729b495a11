"""Which settings of a ClickHouse user decide what a statement of the tool means.

A profile may set any of them for its users: statements are sent with the values they were written
for. Where the user may not change one, the value it has is judged here; limits that end a
statement with an error (memory, time, rows) are the administrator's and stay as they are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final, NamedTuple

_OVERFLOWS: Final = (
    "distinct",
    "group_by",
    "join",
    "read",
    "result",
    "set",
    "sort",
    "timeout",
    "transfer",
)

READING: Final[Mapping[str, str]] = {
    # Whole answers: a limit that is met ends the statement, and never cuts its rows short.
    **{f"{name}_overflow_mode": "throw" for name in _OVERFLOWS},
    "read_overflow_mode_leaf": "throw",
    "timeout_overflow_mode_leaf": "throw",
    "partial_result_on_first_cancel": "0",
    "limit": "0",
    "offset": "0",
    "page": "0",
    "extremes": "0",
    "discard_query_data": "0",
    "skip_unavailable_shards": "0",
    "optimize_skip_unused_shards": "0",
    # Which rows are read: today's, all of them, merged only where the statement says so.
    "final": "0",
    "use_query_cache": "0",
    "additional_table_filters": "{}",
    "additional_result_filter": "",
    "filter": "",
    "select": "",
    "sort": "",
    "order": "",
    "apply_deleted_mask": "1",
    "do_not_merge_across_partitions_select_final": "0",
    "optimize_move_to_prewhere_if_final": "0",
    "use_skip_indexes_if_final": "0",
    "use_skip_indexes_if_final_exact_mode": "1",
    "ignore_cold_parts_seconds": "0",
    "prefer_warmed_unmerged_parts_seconds": "0",
    "enable_parallel_replicas": "0",
    "parallel_replica_offset": "0",
    "optimize_trivial_approximate_count_query": "0",
    "optimize_using_constraints": "0",
    "convert_query_to_cnf": "0",
    # What an expression gives.
    "enable_analyzer": "1",
    "dialect": "clickhouse",
    "aggregate_functions_null_for_empty": "0",
    "any_join_distinct_right_table_keys": "0",
    "asterisk_include_alias_columns": "0",
    "asterisk_include_materialized_columns": "0",
    "asterisk_include_virtual_columns": "0",
    "bool_false_representation": "false",
    "bool_true_representation": "true",
    "cast_ipv4_ipv6_default_on_conversion_error": "0",
    "cast_keep_nullable": "0",
    "cast_string_to_date_time_mode": "basic",
    "count_distinct_implementation": "uniqExact",
    "count_distinct_optimization": "0",
    "date_time_64_output_format_cut_trailing_zeros_align_to_groups_of_thousands": "0",
    "date_time_output_format": "simple",
    "date_time_overflow_behavior": "ignore",
    "decimal_check_overflow": "1",
    "empty_result_for_aggregation_by_constant_keys_on_empty_set": "1",
    "empty_result_for_aggregation_by_empty_set": "0",
    "enable_extended_results_for_datetime_functions": "0",
    "enable_named_columns_in_function_tuple": "0",
    "enable_order_by_all": "1",
    "enable_positional_arguments": "1",
    "except_default_mode": "ALL",
    "formatdatetime_f_prints_single_zero": "0",
    "group_by_use_nulls": "0",
    "intersect_default_mode": "ALL",
    "join_any_take_last_row": "0",
    "join_default_strictness": "ALL",
    "join_use_nulls": "0",
    "optimize_if_transform_strings_to_enum": "0",
    "prefer_column_name_to_alias": "0",
    "session_timezone": "",
    "short_circuit_function_evaluation": "enable",
    "transform_null_in": "0",
    "union_default_mode": "",
    "use_variant_as_common_type": "0",
    # What an index must be used for, however small the table.
    "force_aggregation_in_order": "0",
    "force_index_by_date": "0",
    "force_optimize_projection": "0",
    "force_primary_key": "0",
    "use_index_for_in_with_subqueries": "1",
    # How values come and go.
    "output_format_decimal_trailing_zeros": "0",
    "output_format_native_encode_types_in_binary_format": "0",
    "input_format_native_decode_types_in_binary_format": "0",
}
"""Settings that decide what a query answers, and the values the tool's queries are written for."""

WRITING: Final[Mapping[str, str]] = {
    # Replicated tables remember blocks: without this a purged row could not be inserted again.
    "insert_deduplicate": "0",
    "deduplicate_insert": "disable",
    "deduplicate_insert_select": "disable",
    "insert_deduplication_token": "",
    # An insert is stored when it is answered.
    "async_insert": "0",
    "wait_for_async_insert": "1",
    "implicit_transaction": "0",
    # What is made is what the statement says.
    "data_type_default_nullable": "0",
    "create_if_not_exists": "0",
    "ignore_drop_queries_probability": "0",
    "insert_null_as_default": "1",
    # No block holds a row that replaces another of it, so that looking for one takes time only.
    "optimize_on_insert": "0",
}
"""The same of statements that write."""

TEXT: Final[Mapping[str, str]] = {
    "date_time_input_format": "best_effort",
    "format_tsv_null_representation": "\\N",
    "input_format_allow_errors_num": "0",
    "input_format_allow_errors_ratio": "0",
    "input_format_tsv_empty_as_default": "0",
    "input_format_tsv_skip_first_lines": "0",
    "output_format_json_named_tuples_as_objects": "0",
    "output_format_json_quote_64bit_floats": "0",
    "output_format_json_quote_64bit_integers": "0",
    "output_format_json_quote_decimals": "1",
    "output_format_json_quote_denormals": "1",
    "output_format_json_validate_utf8": "0",
}
"""How values come and go as text, as they do with the embedded engine."""

SHORT_LIVED: Final[Mapping[str, str]] = {
    # Compiling what is met for the third time pays off on a server, not in one run.
    "compile_aggregate_expressions": "0",
    "compile_expressions": "0",
    "compile_sort_description": "0",
}
"""Settings of an engine that ends with the process: they change what answers cost, not what they
say."""

_HARMLESS: Final[Mapping[str, frozenset[str]]] = {
    # An asynchronous insert that is waited for is stored when it is answered.
    "async_insert": frozenset(("1",)),
    "deduplicate_insert": frozenset(("backward_compatible_choice",)),
    "deduplicate_insert_select": frozenset(
        ("backward_compatible_choice", "enable_when_possible", "enable_even_for_bad_queries")
    ),
    "optimize_on_insert": frozenset(("1",)),
    "use_index_for_in_with_subqueries": frozenset(("0",)),
}
"""Other values with which the tool's statements still mean the same."""


class Setting(NamedTuple):
    """A setting as the server tells it of this user."""

    name: str
    value: str
    fixed: bool
    """This user may not change it."""
    least: str | None = None
    most: str | None = None


class Profile(NamedTuple):
    """What to send with each statement, and what stands against it."""

    reading: dict[str, str]
    """Settings to send with queries."""
    writing: dict[str, str]
    """Settings to send with statements that write: those of queries, and more."""
    spoils_reading: list[Setting]
    """Settings this user may not change, and with which an answer may be wrong."""
    spoils_writing: list[Setting]
    """Settings this user may not change, and with which a write may go wrong."""


def profile(found: Iterable[Setting]) -> Profile:
    """Return what to send to a server, judged by its settings as they are for this user.

    Args:
        found: the settings the server knows; those it does not know are not sent.
    """
    by_name = {setting.name: setting for setting in found}
    known = set(by_name)
    if "use_skip_indexes_if_final_exact_mode" in known:  # then such an index hides no row
        known.discard("use_skip_indexes_if_final")
    reading, spoils_reading = _judged(READING, by_name, known)
    writing, spoils_writing = _judged(WRITING, by_name, known)
    return Profile(reading, reading | writing, spoils_reading, spoils_writing)


def embedded_profile(known: Collection[str]) -> dict[str, str]:
    """Return what to set in the embedded engine, of whose settings these are the names."""
    free = profile(Setting(name, "", fixed=False) for name in known)
    own = {**TEXT, **SHORT_LIVED}
    return free.writing | {name: value for name, value in own.items() if name in known}


def _judged(
    wanted: Mapping[str, str], by_name: Mapping[str, Setting], known: set[str]
) -> tuple[dict[str, str], list[Setting]]:
    settings: dict[str, str] = {}
    spoils: list[Setting] = []
    for name, value in wanted.items():
        if name not in known:
            continue
        setting = by_name[name]
        if not setting.fixed and _within(value, setting):
            settings[name] = value
        elif value != setting.value and (
            _plain(setting.value) not in {value, *_HARMLESS.get(name, ())}
        ):
            spoils.append(setting)
    return settings, spoils


def _within(value: str, setting: Setting) -> bool:
    """Return whether a value keeps to the bounds that an administrator set."""
    try:
        number = float(value)
        least, most = (
            None if bound is None else float(_plain(bound))
            for bound in (setting.least, setting.most)
        )
    except ValueError:
        return setting.least is None and setting.most is None
    return (least is None or number >= least) and (most is None or number <= most)


def _plain(value: str) -> str:
    return {"true": "1", "false": "0"}.get(value, value)
