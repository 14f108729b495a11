"""The Typer app: shared options, signals, and the one place that turns errors into exit codes."""

from __future__ import annotations

import functools
import inspect
import itertools
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Annotated, Any, NoReturn, get_type_hints

import typer

from kalshi_fills import __version__
from kalshi_fills.cli.settings import OPTIONS, Settings, build
from kalshi_fills.errors import Interrupted, KalshiFillsError, Mistakes
from kalshi_fills.host import process
from kalshi_fills.host.printable import redact, visible_lines
from kalshi_fills.report import logs
from kalshi_fills.report.console import show_failure

log = logging.getLogger(__name__)


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


def command(function: Callable[..., int | None]) -> Callable[..., None]:
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
        code = tell_failure(name, error, secrets, wanted)
    raise typer.Exit(code)


def tell_failure(name: str, error: BaseException, secrets: tuple[str, ...], wanted: str) -> int:
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
    show_failure(name, code, redact(message, secrets), redact(hint, secrets), wanted)
    return code


def show_usage_failure(code: int, sentence: str, hint: str, words: list[str]) -> None:
    """Show a failure of the command line itself, in the format that its words ask for."""
    wanted = "json" if asked_for_json(words) else "table"
    show_failure(named_command(words), code, sentence, hint, wanted)


def named_command(words: list[str]) -> str:
    """Return the first word that names a command, or an empty text."""
    commands = {command.name for command in app.registered_commands}
    return next((word for word in words if word in commands), "")


def asked_for_json(words: list[str]) -> bool:
    """Return whether the words or the environment ask for JSON."""
    if os.environ.get("KALSHI_FILLS_FORMAT") == "json" and "--format" not in " ".join(words):
        return True
    return "--format=json" in words or any(
        pair == ("--format", "json") for pair in itertools.pairwise(words)
    )
