"""The commands, thin: options in, one call, a report out."""

from __future__ import annotations

import contextlib
import logging
import re
import sys
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Final

import typer

from kalshi_fills.cli.api_url import environment_of
from kalshi_fills.cli.app import Context, begin, command, kept_option
from kalshi_fills.cli.connections import open_exchange, open_exchange_to_compare, open_warehouse
from kalshi_fills.cli.diagnosis import check_page, report_diagnosis
from kalshi_fills.cli.metrics import RunOutcome, write_metrics_at_end
from kalshi_fills.cli.options import duration, moment, share
from kalshi_fills.cli.settings import METRICS_FILE
from kalshi_fills.errors import DeclinedError, KalshiFillsError, Mistakes
from kalshi_fills.host.printable import looks_like_key, quoted
from kalshi_fills.report.console import show
from kalshi_fills.report.progress import spinner, sync_progress
from kalshi_fills.report.sync import show_sync, sync_json

if TYPE_CHECKING:
    from kalshi_fills.diagnose.run import Diagnosis
    from kalshi_fills.pipeline.window import Window
    from kalshi_fills.sync.report import SyncReport
    from kalshi_fills.sync.watermark import SyncRequest
    from kalshi_fills.truncate.plan import TruncationReport

log = logging.getLogger(__name__)

_TABLE_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}").fullmatch

Until = Annotated[
    str | None,
    typer.Option(
        metavar="T", help="End of the range (exclusive), like --since; now, unless given."
    ),
]


MetricsFile = Annotated[str | None, kept_option(METRICS_FILE, "Monitoring")]


def _flag(name: str, text: str) -> object:
    """Return how Typer shows an option that is given or not, without a --no- of its own."""
    return typer.Option(name, help=text, show_default=False)


@command
def migrate(
    ctx: typer.Context,
    dry_run: Annotated[bool, _flag("--dry-run", "Show the plan and write nothing.")] = False,
) -> None:
    """Bring any mm_fills table to today's schema.

    Safe to run again at any time: a second run does nothing.
    """
    from kalshi_fills.host.lock import exclusive
    from kalshi_fills.migrate.run import migrate as bring_to_today
    from kalshi_fills.report.migrate import migration_json, show_migration

    context = begin(ctx)
    context.mistakes.raise_if_any()
    settings = context.settings
    with (
        exclusive(settings.clickhouse.identity(), settings.tables.name()),
        spinner() as show_step,
        open_warehouse(settings) as warehouse,
    ):
        report = bring_to_today(
            warehouse, settings.tables, context.now, dry_run=dry_run, progress=show_step
        )
    log.info(f"{settings.tables.fills} columns: {report.columns}")
    if context.json:
        show(migration_json(report))
    else:
        show_migration(report, settings.tables)


@command
def sync(
    ctx: typer.Context,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="T",
            help="Start of the range: an ISO 8601 time (UTC), or a time ago: 90s, 24h, 7d.",
        ),
    ] = None,
    until: Until = None,
    full: Annotated[
        bool, _flag("--full", "Read everything, from the account's first fill on.")
    ] = False,
    overlap: Annotated[
        str, typer.Option(metavar="D", help="How far before the watermark to start.")
    ] = "1h",
    rate_share: Annotated[
        str, typer.Option(metavar="S", help="Share of the account's read limit to use, up to 1.")
    ] = "0.5",
    accept_rejected: Annotated[
        bool,
        _flag(
            "--accept-rejected",
            "Accept everything refused so far: it no longer ends a run with exit code 3.",
        ),
    ] = False,
    same_account: Annotated[
        bool,
        _flag(
            "--same-account",
            "Confirm that a new --api-url leads to the same account as the runs before.",
        ),
    ] = False,
    dry_run: Annotated[bool, _flag("--dry-run", "Do everything except write.")] = False,
    metrics_file: MetricsFile = None,
) -> int:
    """Pull the account's fills and store each exactly once.

    One bounded pass, for cron. Starts at the last watermark, or where --since or --full says, and
    proves what it stored before the watermark moves. Safe to run again at any time.
    """
    from kalshi_fills.sync.report import SyncReport
    from kalshi_fills.sync.watermark import SyncRequest

    context = begin(ctx)
    outcome = RunOutcome("sync")
    if not dry_run:
        write_metrics_at_end(ctx, context, outcome)
    mistakes, now = context.mistakes, context.now
    start = moment(since, now, "--since", mistakes) if since is not None else None
    end = moment(until, now, "--until", mistakes) if until is not None else None
    if start and end and start >= end:
        mistakes.add("--since is not before --until", "swap them, or leave --until out")
    if start and not end and start >= now:
        mistakes.add("--since is in the future", "give a time that has passed")
    if since and full:
        mistakes.add("--since and --full contradict each other", "give one of them")
    request = SyncRequest(
        start,
        end,
        full,
        duration(overlap, "--overlap", mistakes),
        accept_rejected,
        dry_run,
        same_account,
    )
    read_share = share(rate_share, "--rate-share", mistakes)
    mistakes.raise_if_any()
    report = outcome.sync = SyncReport(uuid.uuid4(), dry_run)
    try:
        _run_sync(context, request, report, read_share)
    except (KalshiFillsError, KeyboardInterrupt):
        if report.window is not None and not context.json:
            show_sync(report, context.settings.tables)
        raise
    if context.json:
        show(sync_json(report))
    else:
        show_sync(report, context.settings.tables)
    return 3 if report.has_findings else 0


def _load_sync() -> None:
    import kalshi_fills.sync.run

    assert kalshi_fills.sync.run


def _run_sync(
    context: Context, request: SyncRequest, report: SyncReport, rate_share: float
) -> None:
    from kalshi_fills.host.interpreter import import_meanwhile
    from kalshi_fills.host.lock import exclusive

    settings = context.settings
    signer = settings.require_signer()
    with contextlib.ExitStack() as stack:
        stack.enter_context(exclusive(settings.clickhouse.identity(), settings.tables.name()))
        progress = stack.enter_context(sync_progress())
        import_meanwhile(_load_sync)  # while ClickHouse is opened
        warehouse = stack.enter_context(open_warehouse(settings))

        from kalshi_fills.sync.run import sync as run_sync
        from kalshi_fills.warehouse.schema import require_today
        from kalshi_fills.warehouse.standing import account_of
        from kalshi_fills.warehouse.store import FillStore

        exchange = stack.enter_context(open_exchange(settings, rate_share))
        require_today(warehouse, settings.tables)
        store = FillStore(warehouse, settings.tables, report.run_id, context.now, request.dry_run)
        run_sync(
            exchange,
            store,
            request,
            report,
            account=account_of(environment_of(settings.api_url), signer.key_id),
            now=context.now,
            clock=lambda: datetime.now(UTC),
            progress=progress,
        )


@command
def diagnose(
    ctx: typer.Context,
    since: Annotated[
        str,
        typer.Option(
            metavar="T", help="Start of the range: an ISO 8601 time (UTC), or a time ago."
        ),
    ] = "24h",
    until: Until = None,
    offline: Annotated[bool, _flag("--offline", "Check the table only; needs no API key.")] = False,
    page: Annotated[
        str | None,
        typer.Option(
            "--report",
            metavar="FILE.html",
            help="Also write a page with plots; needs kalshi-fills\\[report].",
        ),
    ] = None,
    query: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Print only the answer of one diagnostic query, in full."
        ),
    ] = None,
    breaks: Annotated[
        str | None,
        typer.Option(metavar="all", help="List all breaks, not only the first few."),
    ] = None,
    metrics_file: MetricsFile = None,
) -> int:
    """Prove that table and exchange agree, or name the root cause.

    Only reads, and works on any table: today's, an old one, an empty one, or none at all.
    """
    from kalshi_fills.diagnose.survey import query_names
    from kalshi_fills.pipeline.window import Window

    context = begin(ctx)
    outcome = RunOutcome("diagnose")
    if query is None:
        write_metrics_at_end(ctx, context, outcome)
    mistakes, now = context.mistakes, context.now
    start = moment(since, now, "--since", mistakes)
    end = (moment(until, now, "--until", mistakes) if until is not None else None) or now
    if start and start >= end:
        mistakes.add(
            "--since is not before --until",
            "give an earlier --since (unless given, it is 24h ago), or leave --until out",
        )
    if query is not None and query not in query_names():
        mistakes.add(
            f"there is no diagnostic query{quoted(query)}",
            f"use one of: {', '.join(query_names())}",
        )
    if breaks not in (None, "all"):
        mistakes.add(f"--breaks{quoted(breaks or '')} is not known", "use --breaks all")
    if page is not None:
        check_page(page, mistakes)
    mistakes.raise_if_any()
    if query is not None:
        _run_query(context, query, Window(start, end))
        return 0
    outcome.diagnosis = _run_diagnosis(
        context, Window(start, end), offline=offline, with_days=page is not None
    )
    return report_diagnosis(context, outcome.diagnosis, page, all_breaks=breaks is not None)


def _run_query(context: Context, query: str, window: Window) -> None:
    from kalshi_fills.diagnose.run import schema_of_fills
    from kalshi_fills.diagnose.survey import SurveyQueries
    from kalshi_fills.report.diagnose import query_json, show_query

    tables = context.settings.tables
    with spinner(), open_warehouse(context.settings, read_only=True) as warehouse:
        schema = schema_of_fills(warehouse, tables)
        answer = SurveyQueries(warehouse, tables, schema, window).query(query)
    if context.json:
        show({"command": "diagnose", "query": query_json(answer)})
    else:
        show_query(answer)


def _run_diagnosis(
    context: Context, window: Window, *, offline: bool, with_days: bool
) -> Diagnosis:
    from kalshi_fills.diagnose.run import diagnose as run_diagnosis
    from kalshi_fills.warehouse.runs import last_environment
    from kalshi_fills.warehouse.standing import require_same_account

    settings, tables = context.settings, context.settings.tables
    with contextlib.ExitStack() as stack:
        show_step = stack.enter_context(spinner())
        exchange = None if offline else stack.enter_context(open_exchange_to_compare(settings))
        warehouse = stack.enter_context(open_warehouse(settings, read_only=True))
        if exchange is not None:
            require_same_account(
                last_environment(warehouse, tables),
                environment_of(settings.api_url),
                f"{tables.database}.{tables.fills}",
            )
        return run_diagnosis(
            warehouse,
            tables,
            exchange,
            window,
            context.now,
            show_step,
            with_days=with_days,
        )


@command
def truncate(
    ctx: typer.Context,
    garbage: Annotated[
        bool, _flag("--garbage", "Remove only rows that are no valid fill or repeat one.")
    ] = False,
    before: Annotated[
        str | None,
        typer.Option(
            metavar="T", help="Remove only rows older than T: an ISO 8601 time, or a time ago."
        ),
    ] = None,
    dry_run: Annotated[bool, _flag("--dry-run", "Show the plan and write nothing.")] = False,
    yes: Annotated[bool, _flag("--yes", "Do not ask for the table's name.")] = False,
    no_backup: Annotated[bool, _flag("--no-backup", "Keep no backup of what is removed.")] = False,
    list_backups: Annotated[
        bool, _flag("--list-backups", "List the backups, and how to drop them.")
    ] = False,
    restore: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Bring this backup back into the empty table."),
    ] = None,
) -> None:
    """Remove rows as the last resort: all of them, the garbage, or the old.

    What is removed is kept as a backup, and the watermark is set back so that the next sync reads
    it again. Asks for the table's name first.
    """
    from kalshi_fills.host.lock import exclusive
    from kalshi_fills.report.truncate import show_truncation, truncation_json
    from kalshi_fills.truncate.place import place_of
    from kalshi_fills.truncate.plan import TruncateRequest, plan_truncation
    from kalshi_fills.truncate.run import truncate as remove_rows

    context = begin(ctx)
    mistakes, settings = context.mistakes, context.settings
    oldest = moment(before, context.now, "--before", mistakes) if before is not None else None
    if oldest and oldest > context.now:
        mistakes.add("--before is in the future", "leave it out to remove every row")
    _refuse_contradictions(
        mistakes,
        ("--list-backups", list_backups),
        ("--restore", restore is not None),
        ("--garbage", garbage),
        ("--before", before is not None),
    )
    if restore is not None and (not _TABLE_NAME(restore) or looks_like_key(restore)):
        mistakes.add(
            "--restore names no backup", "see them with `kalshi-fills truncate --list-backups`"
        )
    if no_backup and (list_backups or restore is not None):
        mistakes.add("--no-backup removes nothing by itself", "leave it out")
    asks = not (yes or dry_run or list_backups or restore is not None)
    if asks and not sys.stdin.isatty():
        mistakes.add(
            "truncate asks for the table's name, and there is no terminal to ask on",
            "see what it would do with --dry-run first, then give --yes",
        )
    mistakes.raise_if_any()
    if list_backups:
        _list_backups(context)
        return
    request = TruncateRequest(garbage, oldest, restore, not no_backup)
    with (
        exclusive(settings.clickhouse.identity(), settings.tables.name()),
        contextlib.ExitStack() as opened,
    ):
        with spinner() as show_step:  # nothing moves while the name is typed
            warehouse = opened.enter_context(open_warehouse(settings))
            show_step("looking at the table")
            place = place_of(warehouse, settings.tables, uuid.uuid4(), context.now)
            report = plan_truncation(place, request)
        report.dry_run = dry_run
        if report.has_work and not dry_run:
            if asks:
                _ask_for_the_name(context, report)
            with spinner() as show_step:
                report = remove_rows(place, request, show_step)
    if context.json:
        show(truncation_json(report, settings.tables))
    else:
        show_truncation(report, settings.tables, sys.stdout)


def _list_backups(context: Context) -> None:
    from kalshi_fills.report.truncate import show_backups, truncation_json
    from kalshi_fills.truncate.place import place_of
    from kalshi_fills.truncate.plan import list_backups

    tables = context.settings.tables
    with spinner(), open_warehouse(context.settings) as warehouse:
        report = list_backups(place_of(warehouse, tables, uuid.uuid4(), context.now))
    if context.json:
        show(truncation_json(report, tables))
    else:
        show_backups(report, tables, context.now)


def _refuse_contradictions(mistakes: Mistakes, *options: tuple[str, bool]) -> None:
    given = [name for name, is_given in options if is_given]
    if len(given) > 1:
        mistakes.add(f"{' and '.join(given)} contradict each other", "give one of them")


def _ask_for_the_name(context: Context, plan: TruncationReport) -> None:
    """Show the plan, and have the operator type the table's name.

    Raises:
        DeclinedError: something else was typed; nothing was changed.
    """
    from kalshi_fills.report.truncate import show_truncation

    tables = context.settings.tables
    stream = sys.stdout if sys.stdout.isatty() and not context.json else sys.stderr
    show_truncation(plan, tables, stream)
    stream.write(f"Type the table's name, {tables.fills}, to go on: ")
    stream.flush()
    typed = sys.stdin.readline().strip()
    if typed != tables.fills:
        raise DeclinedError(
            f"declined: what was typed is not {tables.fills}; nothing was changed",
            hint="run it again and type the name, or see what it would do with --dry-run",
        )
