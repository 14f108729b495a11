"""The command line: options to settings, one call, a report, an exit code.

The only module that speaks Typer and the only one that catches the tool's errors. Everything the
commands share is declared once, in `settings.OPTIONS`, and may stand before or after the command.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import inspect
import itertools
import logging
import os
import re
import sys
import tempfile
import traceback
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn, get_type_hints

import typer

from kalshi_fills import __version__, logs, process, report
from kalshi_fills.errors import (
    DeclinedError,
    ExchangeError,
    Interrupted,
    KalshiFillsError,
    SettingsError,
)
from kalshi_fills.printable import looks_like_key, masked, quoted, redact, visible_lines
from kalshi_fills.settings import (
    OPTIONS,
    Mistakes,
    Settings,
    build,
    duration,
    environment_of,
    moment,
    share,
)
from kalshi_fills.trusted import make_private_folder

log = logging.getLogger(__name__)

_TABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}").fullmatch

_EPILOG = (
    "Exit codes: 0 done, 1 a bug or a declined prompt, 2 usage or configuration, 3 done with "
    "findings, 4 the exchange, 5 ClickHouse, 6 the counts do not add up, 75 another run holds the "
    "lock, 130 interrupted."
)

app = typer.Typer(
    name="kalshi-fills",
    help="Keep a ClickHouse table of your Kalshi fills exactly right: every fill once, with exact "
    "money.",
    epilog=_EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Since = Annotated[
    str | None,
    typer.Option(
        metavar="T", help="Start: an ISO 8601 instant (UTC) or a time back: 90s, 24h, 7d."
    ),
]
Until = Annotated[
    str | None, typer.Option(metavar="T", help="End (exclusive), written like --since. Now.")
]


class Context:
    """What a command works with: settings checked as a whole, and the time it began."""

    def __init__(self, command: str, settings: Settings, mistakes: Mistakes, now: datetime) -> None:
        self.command = command
        self.settings = settings
        self.mistakes = mistakes
        self.now = now

    @property
    def json(self) -> bool:
        """Whether stdout holds JSON."""
        return self.settings.format == "json"


def _shared_parameters() -> list[inspect.Parameter]:
    parameters = []
    for option in OPTIONS:
        notes = [f"env: {option.variable}"] if option.variable else []
        notes += [f"default: {option.default}"] if option.default else []
        told = f" ({'; '.join(notes)})" if notes else ""
        kind = Annotated[
            str | None,
            typer.Option(
                f"--{option.name}",
                metavar=option.metavar,
                help=option.help + told,
                rich_help_panel="Shared options",
                show_default=False,
            ),
        ]
        parameters.append(
            inspect.Parameter(
                option.name.replace("-", "_"),
                inspect.Parameter.KEYWORD_ONLY,
                default=None,
                annotation=kind,
            )
        )
    verbose = Annotated[
        bool,
        typer.Option(
            "--verbose",
            help="Log what is for debugging, too.",
            rich_help_panel="Shared options",
            show_default=False,
        ),
    ]
    parameters.append(
        inspect.Parameter(
            "verbose", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=verbose
        )
    )
    return parameters


def _with_shared_options(function: Callable[..., None]) -> Callable[..., None]:
    """Give a function the shared options; it gets their values as one dict, `shared`."""
    own = [
        parameter.replace(annotation=hint)
        for parameter, hint in _hinted(function)
        if parameter.name != "shared"
    ]
    added = _shared_parameters()

    @functools.wraps(function)
    def wrapper(**given: Any) -> None:
        shared = {parameter.name: given.pop(parameter.name) for parameter in added}
        function(**given, shared=shared)

    parameters = own + added
    wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {entry.name: entry.annotation for entry in parameters}
    return wrapper


def _hinted(function: Callable[..., Any]) -> Iterator[tuple[inspect.Parameter, Any]]:
    hints = get_type_hints(function, include_extras=True)
    for parameter in inspect.signature(function).parameters.values():
        yield (
            parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY),
            hints.get(parameter.name, parameter.annotation),
        )


def _version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"kalshi-fills {__version__}\n")
        raise typer.Exit


@app.callback()
@_with_shared_options
def _everywhere(
    ctx: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
    *,
    shared: dict[str, Any],
) -> None:
    ctx.obj = shared


def _command(function: Callable[..., int | None]) -> Callable[..., None]:
    """Make a command of a function that takes a Context and gives an exit code.

    Here errors become sentences: nothing above knows of them.
    """
    name = function.__name__

    def run(*, ctx: typer.Context, shared: dict[str, Any], **own: Any) -> None:
        earlier = ctx.obj or {}
        given = {
            key: earlier.get(key) if value is None or value is False else value
            for key, value in shared.items()
        }
        _run(name, given, function, own)

    own = [entry for entry in _hinted(function) if entry[0].name != "context"]
    context = inspect.Parameter("ctx", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
    parameters = [context, *(parameter for parameter, _ in own)]
    run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            *parameters,
            inspect.Parameter("shared", inspect.Parameter.KEYWORD_ONLY, annotation=dict[str, Any]),
        ]
    )
    run.__annotations__ = {
        "ctx": typer.Context,
        **{parameter.name: hint for parameter, hint in own},
        "shared": dict[str, Any],
    }
    run.__doc__ = function.__doc__
    run.__name__ = name
    app.command(name=name, epilog=_EPILOG)(_with_shared_options(run))
    return run


def _run(
    name: str, given: dict[str, Any], function: Callable[..., int | None], own: dict[str, Any]
) -> NoReturn:
    secrets: tuple[str, ...] = ()
    wanted = str(given.get("format") or os.environ.get("KALSHI_FILLS_FORMAT") or "table")
    try:
        mistakes = Mistakes()
        options = {key.replace("_", "-"): value for key, value in given.items()}
        for option in (entry.name for entry in OPTIONS if options.get(entry.name) == ""):
            # An unset variable of the shell, most likely: no default is meant.
            mistakes.add(f"--{option} is given, but empty", f"give --{option} a value or leave it")
        settings = build(options, os.environ, mistakes)
        wanted, secrets = settings.format, settings.secrets
        logs.configure(settings.log_format, verbose=bool(given["verbose"]), secrets=secrets)
        for warning in settings.warnings:
            log.warning("warning", extra={"fields": {"warning": warning}})
        context = Context(name, settings, mistakes, datetime.now(UTC))
        code = function(context, **own) or 0
    except (Exception, KeyboardInterrupt) as error:
        code = _tell_failure(name, error, secrets, wanted)
    raise typer.Exit(code)


def _tell_failure(name: str, error: BaseException, secrets: tuple[str, ...], wanted: str) -> int:
    """Print what ended a command, and return its exit code."""
    if isinstance(error, KalshiFillsError):
        code, message, hint = error.exit_code, error.message, error.hint
    elif isinstance(error, KeyboardInterrupt):
        code, message, hint = Interrupted.exit_code, process.INTERRUPTED, process.RUN_AGAIN
    else:
        lines = "".join(traceback.format_exception(error))
        sys.stderr.write(visible_lines(redact(lines, secrets)))
        code, message = 1, f"a bug: {type(error).__name__}: {error}"
        hint = "please report it with the lines above; nothing was recorded"
    report.show_failure(name, code, redact(message, secrets), redact(hint, secrets), wanted)
    return code


@contextlib.contextmanager
def _warehouse(settings: Settings, *, only_to_look: bool = False) -> Iterator[Any]:
    from kalshi_fills.warehouse import open_embedded, open_server

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


@_command
def migrate(
    context: Context,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the plan, write nothing.", show_default=False)
    ] = False,
) -> None:
    """Bring any mm_fills table to today's schema.

    Safe to run again at any time: a second run does nothing.
    """
    from kalshi_fills.locks import exclusive
    from kalshi_fills.migrations import Migration

    context.mistakes.settle()
    settings = context.settings
    with (
        exclusive(settings.clickhouse.identity(), settings.tables.name()),
        _warehouse(settings) as warehouse,
        report.spinner() as say,
    ):
        done = Migration(warehouse, settings.tables, context.now, say).run(dry_run=dry_run)
    log.info(f"{settings.tables.fills} columns: {done.columns}")
    if context.json:
        report.show(report.migration_json(done))
    else:
        report.show_migration(done, settings.tables)


@_command
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
    from kalshi_fills.sync import SyncReport, SyncRequest

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
            report.show_sync(done, context.settings.tables)
        raise
    if context.json:
        report.show(report.sync_json(done))
    else:
        report.show_sync(done, context.settings.tables)
    return 3 if done.has_findings else 0


def _sync(context: Context, signer: Any, rate_share: float, request: Any, done: Any) -> None:
    from kalshi_fills.exchange import Exchange
    from kalshi_fills.locks import exclusive
    from kalshi_fills.migrations import require_today
    from kalshi_fills.standing import account_of
    from kalshi_fills.store import FillStore
    from kalshi_fills.sync import sync as run_sync

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
        report.sync_progress() as progress,
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


@_command
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
    from kalshi_fills.diagnose import diagnose as run_diagnosis
    from kalshi_fills.diagnose import schema_of_fills
    from kalshi_fills.evidence import Evidence, query_names
    from kalshi_fills.listing import Window
    from kalshi_fills.standing import require_same_account
    from kalshi_fills.store import last_environment

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
        from kalshi_fills.page import require_page

        require_page(page, mistakes)
    mistakes.settle()
    window = Window(start, end)
    if query is not None:
        with _warehouse(settings, only_to_look=True) as warehouse:
            schema = schema_of_fills(warehouse, settings.tables)
            answer = Evidence(warehouse, settings.tables, schema, window).query(query)
        if context.json:
            report.show({"command": "diagnose", "query": report.query_json(answer)})
        else:
            report.show_query(answer)
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
        say = stack.enter_context(report.spinner())
        found = run_diagnosis(warehouse, settings.tables, exchange, window, now, say)
    if not context.json:  # the verdict is not lost to a disk that has no room for the page
        report.show_diagnosis(found, settings.tables)
    if page is not None:
        from kalshi_fills.page import write_page

        write_page(found, settings.tables, now, page)
    if context.json:
        report.show(report.diagnosis_json(found))
    return 3 if found.verdict == "fail" else 0


@contextlib.contextmanager
def _exchange_to_read(settings: Settings) -> Iterator[Any]:
    """The exchange for a diagnosis, which can do without it: an error says so."""
    from kalshi_fills.exchange import Exchange

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


@_command
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
    from kalshi_fills.locks import exclusive
    from kalshi_fills.truncation import TruncateRequest, Truncation

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
            report.show(report.truncation_json(listed, settings.tables))
        else:
            report.show_backups(listed, settings.tables, context.now)
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
            with report.spinner() as say:
                done = truncation.act(request, say)
    if context.json:
        report.show(report.truncation_json(done, settings.tables))
    else:
        report.show_truncation(done, settings.tables, sys.stdout)


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
    report.show_truncation(planned, tables, stream)
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
        wanted = "json" if _asked_for_json(words) else "table"
        if tell is None:
            return _tell_failure(_named_command(words), error, (), wanted)
        sentence = masked(str(tell()).strip().rstrip("."))
        code = SettingsError.exit_code
        if sentence:
            sentence = sentence[0].lower() + sentence[1:]
            _show_usage_failure(code, sentence, "see `kalshi-fills --help`", words)
    return code if isinstance(code, int) else 0


def show_interruption(words: list[str]) -> None:
    """Print that a command was ended before it could say more."""
    _show_usage_failure(Interrupted.exit_code, process.INTERRUPTED, process.RUN_AGAIN, words)


def _show_usage_failure(code: int, sentence: str, hint: str, words: list[str]) -> None:
    wanted = "json" if _asked_for_json(words) else "table"
    report.show_failure(_named_command(words), code, sentence, hint, wanted)


def _named_command(words: list[str]) -> str:
    commands = {command.name for command in app.registered_commands}
    return next((word for word in words if word in commands), "")


def _asked_for_json(words: list[str]) -> bool:
    if os.environ.get("KALSHI_FILLS_FORMAT") == "json" and "--format" not in " ".join(words):
        return True
    return "--format=json" in words or any(
        pair == ("--format", "json") for pair in itertools.pairwise(words)
    )
