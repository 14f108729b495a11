"""The Typer app: shared options, and the one place that turns errors into exit codes.

The commands register themselves here when `cli.commands` is imported.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import logging
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Concatenate, Final, ParamSpec

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from kalshi_fills import __version__
from kalshi_fills.cli.settings import FORMATS, OPTIONS, Option, Settings, format_asked_for, load
from kalshi_fills.errors import Interrupted, KalshiFillsError, Mistakes, SettingsError
from kalshi_fills.host import process
from kalshi_fills.host.printable import masked, redact, visible_lines
from kalshi_fills.report import logs
from kalshi_fills.report.console import show_failure

log = logging.getLogger(__name__)

Arguments = ParamSpec("Arguments")

_PROGRAM: Final = "kalshi-fills"

_SHARED: Final = "Shared options"

_HELP_OPTIONS: Final = ["-h", "--help"]

_ORDER: Final = ("migrate", "sync", "diagnose", "status", "query", "truncate")
"""The commands in the order of the help."""

_EPILOG: Final = (
    "Exit codes: 0 done, 1 a bug or a declined prompt, 2 usage or configuration, 3 done with "
    "findings, 4 the exchange, 5 ClickHouse, 6 the counts do not add up, 75 another run holds the "
    "lock, 130 interrupted."
)

app = typer.Typer(
    name=_PROGRAM,
    help="Keep a ClickHouse table of your Kalshi fills exactly right: every fill once, with exact "
    "money.",
    epilog=_EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": _HELP_OPTIONS},
)


@dataclass
class Invocation:
    """What one command line has asked for so far; Typer passes it on as `ctx.obj`."""

    options: dict[str, str] = field(default_factory=dict)
    """The shared options, as given before or after the command; the later one wins."""
    verbose: bool = False
    settings: Settings | None = None
    """None until the command has begun."""
    at_end: list[Callable[[int], None]] = field(default_factory=list)
    """What is called with the exit code once the command has ended."""

    @property
    def format(self) -> str:
        """How results and failures are printed."""
        return (
            self.settings.format if self.settings else format_asked_for(self.options.get("format"))
        )

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must be blotted out of everything that is printed."""
        return self.settings.secrets if self.settings else ()


@dataclass(frozen=True)
class Context:
    """What a command works with."""

    settings: Settings
    mistakes: Mistakes
    """What is wrong with the settings, for the command to add to and to raise."""
    now: datetime

    @property
    def json(self) -> bool:
        """Return whether the result is printed as JSON."""
        return self.settings.format == "json"


def begin(
    ctx: typer.Context, *, needs_exchange: bool = True, formats: Sequence[str] = FORMATS
) -> Context:
    """Return what a command works with: its settings, not yet checked, and the time it began.

    Args:
        ctx: of the command.
        needs_exchange: whether the API key and the exchange's address are read.
        formats: what the command can print.
    """
    invocation = ctx.ensure_object(Invocation)
    mistakes = Mistakes()
    settings = load(invocation.options, mistakes, needs_exchange=needs_exchange, formats=formats)
    invocation.settings = settings
    logs.configure(settings.log_format, verbose=invocation.verbose, secrets=settings.secrets)
    for warning in settings.warnings:
        log.warning("warning", extra={"fields": {"warning": warning}})
    return Context(settings, mistakes, datetime.now(UTC))


def command(
    function: Callable[Concatenate[typer.Context, Arguments], int | None],
) -> Callable[Concatenate[typer.Context, Arguments], int | None]:
    """Register a command and return it; its result, or its error, becomes the exit code."""

    @functools.wraps(function)
    def run_command(
        ctx: typer.Context, *arguments: Arguments.args, **named: Arguments.kwargs
    ) -> None:
        try:
            code = function(ctx, *arguments, **named) or 0
        except (Exception, KeyboardInterrupt) as error:
            code = _report_failure(function.__name__, error, ctx.ensure_object(Invocation))
        for act in ctx.ensure_object(Invocation).at_end:
            act(code)
        raise typer.Exit(code)

    app.command(name=function.__name__, help=_unwrapped(function.__doc__ or ""), epilog=_EPILOG)(
        run_command
    )
    return function


def _unwrapped(text: str) -> str:
    """Return a docstring with one line for each paragraph: the help is wrapped where it is read."""
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


# Shared options


def _keep_option(ctx: typer.Context, option: typer.CallbackParam, value: str | None) -> None:
    if value is not None:
        ctx.ensure_object(Invocation).options[str(option.name).replace("_", "-")] = value


def _keep_verbose(ctx: typer.Context, value: bool) -> None:
    if value:
        ctx.ensure_object(Invocation).verbose = True


def _show_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"kalshi-fills {__version__}\n")
        raise typer.Exit


def _shared(name: str) -> object:
    """Return how Typer shows and reads one of the shared options."""
    return kept_option(next(option for option in OPTIONS if option.name == name), _SHARED)


def kept_option(option: Option, panel: str | None = None) -> object:
    """Return how Typer shows and reads an option of the settings; its value goes to ctx.obj."""
    return typer.Option(
        f"--{option.name}",
        metavar=option.metavar,
        help=option.help_with_sources(),
        rich_help_panel=panel,
        show_default=False,
        expose_value=False,
        callback=_keep_option,
    )


@app.callback()
def _kalshi_fills(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
    clickhouse: Annotated[str | None, _shared("clickhouse")] = None,
    table: Annotated[str | None, _shared("table")] = None,
    cluster: Annotated[str | None, _shared("cluster")] = None,
    api_url: Annotated[str | None, _shared("api-url")] = None,
    api_key_id: Annotated[str | None, _shared("api-key-id")] = None,
    private_key: Annotated[str | None, _shared("private-key")] = None,
    env_file: Annotated[str | None, _shared("env-file")] = None,
    format: Annotated[str | None, _shared("format")] = None,  # noqa: A002 - the option's name
    log_format: Annotated[str | None, _shared("log-format")] = None,
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose",
            help="Log details for debugging, too.",
            rich_help_panel=_SHARED,
            show_default=False,
            expose_value=False,
            callback=_keep_verbose,
        ),
    ] = False,
) -> None:
    """Declare the options that may stand before the command; `command_line` adds them behind it."""


def _place(name: str) -> int:
    return _ORDER.index(name) if name in _ORDER else len(_ORDER)


def command_line() -> TyperGroup:
    """Return the app with its commands, each of which takes the shared options as well."""
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    shared = [
        option
        for option in group.params
        if isinstance(option, TyperOption) and option.rich_help_panel == _SHARED
    ]
    group.commands = {name: group.commands[name] for name in sorted(group.commands, key=_place)}
    for registered in group.commands.values():
        registered.params.extend(shared)
        assert isinstance(registered, TyperCommand)
        _leave_out_bool(registered)
    _leave_out_bool(group)
    return group


def _leave_out_bool(registered: TyperCommand | TyperGroup) -> None:
    """Have the help show options that are given or not without `<bool>` behind them."""
    context = typer.Context(registered, help_option_names=_HELP_OPTIONS)
    for option in registered.get_params(context):
        if isinstance(option, TyperOption) and option.is_flag:
            option.metavar = ""


# Words to an exit code


def run(words: list[str]) -> int:
    """Run one command and return its exit code; a usage error is shown like every other error."""
    try:
        code = command_line()(args=words, prog_name=_PROGRAM, standalone_mode=False)
    except typer.Exit as ended:
        code = ended.exit_code
    except Exception as error:
        if isinstance(error, typer.Abort):
            return Interrupted.exit_code
        format_message = getattr(error, "format_message", None)
        if format_message is None:
            unknown = Invocation({"format": _format_in(words)})
            return _report_failure(_command_in(words), error, unknown)
        code = SettingsError.exit_code
        sentence = masked(str(format_message()).strip().rstrip("."))
        if sentence:
            sentence = sentence[0].lower() + sentence[1:]
            name = _command_in(words)
            hint = f"see `kalshi-fills {name} --help`" if name else "see `kalshi-fills --help`"
            show_failure(name, code, sentence, hint, _format_in(words))
    return code if isinstance(code, int) else 0


def show_interruption(words: list[str]) -> None:
    """Print that a command was ended before it could print anything itself."""
    show_failure(
        _command_in(words),
        Interrupted.exit_code,
        process.INTERRUPTED,
        process.RUN_AGAIN,
        _format_in(words),
    )


def _report_failure(name: str, error: BaseException, invocation: Invocation) -> int:
    """Print what ended a command, and return its exit code."""
    secrets = invocation.secrets
    if isinstance(error, KalshiFillsError | Interrupted):
        code, message, hint = error.exit_code, error.message, error.hint
    elif isinstance(error, KeyboardInterrupt):
        code, message, hint = Interrupted.exit_code, process.INTERRUPTED, process.RUN_AGAIN
    else:
        lines = "".join(traceback.format_exception(error))
        sys.stderr.write(visible_lines(redact(lines, secrets)))
        code, message = 1, f"a bug: {type(error).__name__}: {error}"
        hint = "please report it with the lines above; nothing was recorded"
    show_failure(name, code, redact(message, secrets), redact(hint, secrets), invocation.format)
    return code


def _command_in(words: list[str]) -> str:
    """Return the first word that names a command, or an empty text."""
    return next((word for word in words if word in command_names()), "")


def command_names() -> list[str]:
    """Return the names of the commands, in the order of the help."""
    return [str(entry.name) for entry in app.registered_commands]


def _format_in(words: list[str]) -> str:
    """Return the format that the words or the environment ask for, without reading all of them."""
    if "--format=json" in words or ("--format", "json") in itertools.pairwise(words):
        return "json"
    return "table" if "--format" in " ".join(words) else format_asked_for(None)
