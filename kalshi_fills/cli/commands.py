"""The commands, thin: options in, one call, a report out."""

from __future__ import annotations

import contextlib
import gc
import logging
import re
import sys
import tempfile
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from kalshi_fills.cli.app import (
    Context,
    app,
    asked_for_json,
    command,
    named_command,
    show_usage_failure,
    tell_failure,
)
from kalshi_fills.cli.options import duration, moment, share
from kalshi_fills.cli.settings import Settings, environment_of
from kalshi_fills.errors import (
    DeclinedError,
    ExchangeError,
    Interrupted,
    KalshiFillsError,
    Mistakes,
    SettingsError,
)
from kalshi_fills.host import process
from kalshi_fills.host.printable import looks_like_key, masked, quoted
from kalshi_fills.host.trusted import make_private_folder
from kalshi_fills.report.console import show
from kalshi_fills.report.diagnose import diagnosis_json, query_json, show_diagnosis, show_query
from kalshi_fills.report.migrate import migration_json, show_migration
from kalshi_fills.report.progress import spinner, sync_progress
from kalshi_fills.report.sync import show_sync, sync_json
from kalshi_fills.report.truncate import show_backups, show_truncation, truncation_json

log = logging.getLogger(__name__)


_TABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}").fullmatch

Since = Annotated[
    str | None,
    typer.Option(
        metavar="T", help="Start: an ISO 8601 instant (UTC) or a time back: 90s, 24h, 7d."
    ),
]

Until = Annotated[
    str | None, typer.Option(metavar="T", help="End (exclusive), written like --since. Now.")
]


@contextlib.contextmanager
def _warehouse(settings: Settings, *, only_to_look: bool = False) -> Iterator[Any]:
    from kalshi_fills.warehouse.embedded import open_embedded
    from kalshi_fills.warehouse.server import open_server

    target = settings.clickhouse
    with contextlib.ExitStack() as stack:
        if target.url is not None:
            warehouse = open_server(target.url)
        else:
            folder = target.folder
            assert folder is not None
            if only_to_look and not folder.exists():  # the engine would make it
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            with contextlib.suppress(OSError):  # the engine says what is wrong with it
                make_private_folder(folder)
            warehouse = open_embedded(folder)
        stack.callback(warehouse.close)
        yield warehouse


@command
def migrate(
    context: Context,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the plan, write nothing.", show_default=False)
    ] = False,
) -> None:
    """Bring any mm_fills table to today's schema.

    Safe to run again at any time: a second run does nothing.
    """
    from kalshi_fills.host.lock import exclusive
    from kalshi_fills.migrate.plan import Migration

    context.mistakes.settle()
    settings = context.settings
    with (
        exclusive(settings.clickhouse.identity(), settings.tables.name()),
        _warehouse(settings) as warehouse,
        spinner() as say,
    ):
        done = Migration(warehouse, settings.tables, context.now, say).run(dry_run=dry_run)
    log.info(f"{settings.tables.fills} columns: {done.columns}")
    if context.json:
        show(migration_json(done))
    else:
        show_migration(done, settings.tables)


@command
def sync(
    context: Context,
    since: Since = None,
    until: Until = None,
    full: Annotated[
        bool,
        typer.Option("--full", help="From the account's first fill.", show_default=False),
    ] = False,
    overlap: Annotated[
        str, typer.Option(metavar="D", help="How far behind the watermark to read again.")
    ] = "1h",
    rate_share: Annotated[
        float, typer.Option(help="Part of the account's read limit to use, up to 1.")
    ] = 0.5,
    accept_rejected: Annotated[
        bool,
        typer.Option(
            "--accept-rejected",
            help="Also accept what is refused so far: it costs no exit code from then on.",
            show_default=False,
        ),
    ] = False,
    same_account: Annotated[
        bool,
        typer.Option(
            "--same-account",
            help="The address in --api-url is new, the account is that of the runs before.",
            show_default=False,
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Do everything but write.", show_default=False)
    ] = False,
) -> int:
    """Pull the account's fills and store each exactly once.

    One bounded pass, for cron. Reads from the last watermark on, or as --since, --until and --full
    say, and proves what it stored before the watermark moves. Safe to run again at any time.
    """
    from kalshi_fills.sync.report import SyncReport
    from kalshi_fills.sync.watermark import SyncRequest

    mistakes, now = context.mistakes, context.now
    start = moment(since, now, "--since", mistakes) if since is not None else None
    end = moment(until, now, "--until", mistakes) if until is not None else None
    if start and end and start >= end:
        mistakes.add("--since is not before --until", "swap them, or leave --until out")
    if start and not end and start >= now:
        mistakes.add("--since lies in the future", "give a time that has passed")
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
    share(rate_share, "--rate-share", mistakes)
    mistakes.settle()
    signer = context.settings.require_signer()
    done = SyncReport(uuid.uuid4(), dry_run)
    try:
        _sync(context, signer, rate_share, request, done)
    except KalshiFillsError:
        if done.window is not None and not context.json:
            show_sync(done, context.settings.tables)
        raise
    if context.json:
        show(sync_json(done))
    else:
        show_sync(done, context.settings.tables)
    return 3 if done.has_findings else 0


def _sync(context: Context, signer: Any, rate_share: float, request: Any, done: Any) -> None:
    from kalshi_fills.exchange.client import Exchange
    from kalshi_fills.host.lock import exclusive
    from kalshi_fills.sync.run import sync as run_sync
    from kalshi_fills.warehouse.fills import FillStore
    from kalshi_fills.warehouse.schema import require_today
    from kalshi_fills.warehouse.standing import account_of

    settings = context.settings
    # A pass makes many small objects and no circles of them: looking for circles is a third of it.
    gc.freeze()
    gc.set_threshold(500_000, 20, 20)
    with (
        exclusive(settings.clickhouse.identity(), settings.tables.name()),
        _warehouse(settings) as warehouse,
        contextlib.closing(
            Exchange(
                settings.api_url,
                signer,
                rate_share=rate_share,
                max_answer_bytes=settings.max_answer_bytes,
            )
        ) as exchange,
        sync_progress() as progress,
    ):
        require_today(warehouse, settings.tables)
        store = FillStore(warehouse, settings.tables, done.run_id, context.now, request.dry_run)
        run_sync(
            exchange,
            store,
            request,
            done,
            account=account_of(environment_of(settings.api_url), signer.key_id),
            now=context.now,
            clock=lambda: datetime.now(UTC),
            progress=progress,
        )


@command
def diagnose(
    context: Context,
    since: Annotated[
        str, typer.Option(metavar="T", help="Start: an ISO 8601 instant (UTC) or a time back.")
    ] = "24h",
    until: Until = None,
    offline: Annotated[
        bool,
        typer.Option(
            "--offline", help="Look at the table only; needs no API key.", show_default=False
        ),
    ] = False,
    page: Annotated[
        str | None,
        typer.Option(
            "--report",
            metavar="FILE.html",
            help="Write one page with plots, too; needs kalshi-fills\\[report].",
        ),
    ] = None,
    query: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Print one of the diagnostic queries in full."),
    ] = None,
) -> int:
    """Prove that table and exchange agree, or name the root cause.

    Looks and never writes, whatever the table is like: of today, old, empty, or not there at all.
    """
    from kalshi_fills.diagnose.run import diagnose as run_diagnosis
    from kalshi_fills.diagnose.run import schema_of_fills
    from kalshi_fills.diagnose.survey import SurveyQueries, query_names
    from kalshi_fills.pipeline.window import Window
    from kalshi_fills.warehouse.runs import last_environment
    from kalshi_fills.warehouse.standing import require_same_account

    mistakes, now, settings = context.mistakes, context.now, context.settings
    start = moment(since, now, "--since", mistakes)
    end = (moment(until, now, "--until", mistakes) if until is not None else None) or now
    if start and start >= end:
        mistakes.add(
            "--since is not before --until",
            "give a --since before it (left out, it is 24h back from now), or leave --until out",
        )
    if query is not None and query not in query_names():
        mistakes.add(
            f"there is no diagnostic query{quoted(query)}",
            f"use one of: {', '.join(query_names())}",
        )
    if page is not None and (not page or "://" in page or "@" in page or looks_like_key(page)):
        mistakes.add("--report names no file", "name it like --report diagnosis.html")
    elif page is not None:
        from kalshi_fills.report.page import require_page

        require_page(page, mistakes)
    mistakes.settle()
    window = Window(start, end)
    if query is not None:
        with _warehouse(settings, only_to_look=True) as warehouse:
            schema = schema_of_fills(warehouse, settings.tables)
            answer = SurveyQueries(warehouse, settings.tables, schema, window).query(query)
        if context.json:
            show({"command": "diagnose", "query": query_json(answer)})
        else:
            show_query(answer)
        return 0
    with contextlib.ExitStack() as stack:
        exchange = None if offline else stack.enter_context(_exchange_to_read(settings))
        warehouse = stack.enter_context(_warehouse(settings, only_to_look=True))
        if exchange is not None:
            require_same_account(
                last_environment(warehouse, settings.tables),
                environment_of(settings.api_url),
                f"{settings.tables.database}.{settings.tables.fills}",
            )
        say = stack.enter_context(spinner())
        found = run_diagnosis(warehouse, settings.tables, exchange, window, now, say)
    if not context.json:  # the verdict is not lost to a disk that has no room for the page
        show_diagnosis(found, settings.tables)
    if page is not None:
        from kalshi_fills.report.page import write_page

        write_page(found, settings.tables, now, page)
    if context.json:
        show(diagnosis_json(found))
    return 3 if found.verdict == "fail" else 0


@contextlib.contextmanager
def _exchange_to_read(settings: Settings) -> Iterator[Any]:
    """The exchange for a diagnosis, which can do without it: an error says so."""
    from kalshi_fills.exchange.client import Exchange

    offline = "`kalshi-fills diagnose --offline` looks at the table without the exchange"
    try:
        signer = settings.require_signer()
    except SettingsError as error:
        raise SettingsError(error.message, hint=f"{error.hint}; {offline}") from None
    opened = Exchange(settings.api_url, signer, max_answer_bytes=settings.max_answer_bytes)
    with contextlib.closing(opened) as exchange:
        try:
            yield exchange
        except ExchangeError as error:
            raise ExchangeError(
                error.message, hint=f"{error.hint}; {offline}", status=error.status
            ) from error


@command
def truncate(
    context: Context,
    garbage: Annotated[
        bool,
        typer.Option(
            "--garbage", help="Only rows that are no valid fills, or repeats.", show_default=False
        ),
    ] = False,
    before: Annotated[
        str | None,
        typer.Option(
            metavar="T", help="Only rows older than T: an ISO 8601 instant, or a time back."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the plan, write nothing.", show_default=False)
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not ask for the table's name.", show_default=False)
    ] = False,
    no_backup: Annotated[
        bool, typer.Option("--no-backup", help="Keep nothing of what goes.", show_default=False)
    ] = False,
    list_backups: Annotated[
        bool,
        typer.Option(
            "--list-backups", help="List the backups and how to drop them.", show_default=False
        ),
    ] = False,
    restore: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Bring this backup back into the empty table."),
    ] = None,
) -> None:
    """Remove rows as the last resort: all of them, the garbage, or the old.

    What goes is kept as a backup, and the watermark is rewound so that the next sync reads it
    again. Asks for the table's name first.
    """
    from kalshi_fills.host.lock import exclusive
    from kalshi_fills.truncate.run import TruncateRequest, Truncation

    mistakes, settings = context.mistakes, context.settings
    moment_before = (
        moment(before, context.now, "--before", mistakes) if before is not None else None
    )
    if moment_before and moment_before > context.now:
        mistakes.add("--before lies in the future", "leave it out to remove every row")
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
            "see first what it would do with --dry-run, then give --yes",
        )
    mistakes.settle()
    if list_backups:
        with _warehouse(settings) as warehouse:
            listed = Truncation(warehouse, settings.tables, uuid.uuid4(), context.now).listing()
        if context.json:
            show(truncation_json(listed, settings.tables))
        else:
            show_backups(listed, settings.tables, context.now)
        return
    request = TruncateRequest(garbage, moment_before, restore, not no_backup)
    with (
        exclusive(settings.clickhouse.identity(), settings.tables.name()),
        _warehouse(settings) as warehouse,
    ):
        truncation = Truncation(warehouse, settings.tables, uuid.uuid4(), context.now)
        done = truncation.plan(request)
        done.dry_run = dry_run
        if done.has_work and not dry_run:
            if asks:
                _ask_for_the_name(context, done)
            with spinner() as say:
                done = truncation.act(request, say)
    if context.json:
        show(truncation_json(done, settings.tables))
    else:
        show_truncation(done, settings.tables, sys.stdout)


def _refuse_contradictions(mistakes: Mistakes, *options: tuple[str, bool]) -> None:
    given = [name for name, is_given in options if is_given]
    if len(given) > 1:
        mistakes.add(f"{' and '.join(given)} contradict each other", "give one of them")


def _ask_for_the_name(context: Context, planned: Any) -> None:
    """Show the plan, and have the operator type the table's name.

    Raises:
        DeclinedError: something else was typed; nothing was changed.
    """
    tables = context.settings.tables
    stream = sys.stdout if sys.stdout.isatty() and not context.json else sys.stderr
    show_truncation(planned, tables, stream)
    stream.write(f"Type the table's name, {tables.fills}, to go on: ")
    stream.flush()
    typed = sys.stdin.readline().strip()
    if typed != tables.fills:
        raise DeclinedError(
            f"declined: what was typed is not {tables.fills}; nothing was changed",
            hint="run it again and type the name, or see first what it would do with --dry-run",
        )


def main() -> NoReturn:
    """Run the command line as a process, and end it with the command's exit code."""
    process.run(lambda: sys.modules[__name__])


def run(words: list[str]) -> int:
    """Run one command and return its exit code; a usage error is told like every other error."""
    try:
        code = app(args=words, standalone_mode=False)
    except typer.Exit as ended:
        code = ended.exit_code
    except Exception as error:
        tell = getattr(error, "format_message", None)
        if tell is None and type(error).__name__ == "Abort":
            return Interrupted.exit_code
        wanted = "json" if asked_for_json(words) else "table"
        if tell is None:
            return tell_failure(named_command(words), error, (), wanted)
        sentence = masked(str(tell()).strip().rstrip("."))
        code = SettingsError.exit_code
        if sentence:
            sentence = sentence[0].lower() + sentence[1:]
            show_usage_failure(code, sentence, "see `kalshi-fills --help`", words)
    return code if isinstance(code, int) else 0


def show_interruption(words: list[str]) -> None:
    """Print that a command was ended before it could say more."""
    show_usage_failure(Interrupted.exit_code, process.INTERRUPTED, process.RUN_AGAIN, words)
