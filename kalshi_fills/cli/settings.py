"""What the operator asked for: options, environment and env file, in that order, as one value.

Everything is checked here before any connection is opened, and every mistake gets its own
sentence. No other module reads the project's variables from the environment. No secret shows in a
repr.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from kalshi_fills.cli.api_key import read_signer
from kalshi_fills.cli.api_url import read_api_url
from kalshi_fills.cli.clickhouse_url import ClickHouseTarget, read_clickhouse_url, secrets_of
from kalshi_fills.cli.env_file import read_env_file
from kalshi_fills.cli.options import is_identifier
from kalshi_fills.cli.secret_files import CLICKHOUSE_PASSWORD, read_secret_file, with_password
from kalshi_fills.errors import Mistakes, SettingsError
from kalshi_fills.exchange.signing import Signer
from kalshi_fills.host.printable import looks_like_key, quoted
from kalshi_fills.warehouse.statements import Tables

DEFAULT_TABLE: Final = "mm_fills"

_FORMAT_VARIABLE: Final = "KALSHI_FILLS_FORMAT"

FORMATS: Final = ("table", "json")
"""What every command can print."""

_DEFAULT_ANSWER_MIB: Final = 64


class Option(NamedTuple):
    """One shared option: where else its value may come from, and what it is by default."""

    name: str
    variable: str | None
    default: str | None
    help: str
    metavar: str = "NAME"

    def help_with_sources(self) -> str:
        """Return the help text with the variable and the default behind it."""
        notes = [f"env: {self.variable}"] if self.variable else []
        notes += [f"default: {self.default}"] if self.default else []
        return f"{self.help} ({'; '.join(notes)})" if notes else self.help


OPTIONS: Final = (
    Option(
        "clickhouse",
        "CLICKHOUSE_URL",
        None,
        "Where the tables are: a server, clickhouse://HOST:9000/DB with USER:PASSWORD@ before the "
        "host (clickhouses:// for TLS), or the embedded engine, chdb:///folder.",
        "URL",
    ),
    Option("table", "KALSHI_FILLS_TABLE", DEFAULT_TABLE, "Name of the fills table."),
    Option(
        "cluster", "CLICKHOUSE_CLUSTER", None, "Keep the tables on every replica of this cluster."
    ),
    Option(
        "api-url",
        "KALSHI_API_URL",
        "prod",
        "The exchange: prod, demo, or the API's root URL.",
        "URL",
    ),
    Option("api-key-id", "KALSHI_API_KEY_ID", None, "Id of the API key.", "ID"),
    Option(
        "private-key",
        "KALSHI_PRIVATE_KEY_PATH",
        None,
        "File of the private key; its text can be in KALSHI_PRIVATE_KEY instead.",
        "PATH",
    ),
    Option(
        "env-file",
        None,
        None,
        "Read variables from this file instead of .env in the working folder.",
        "PATH",
    ),
    Option(
        "format",
        _FORMAT_VARIABLE,
        "table",
        "What to print on stdout: table or json; query also prints csv.",
        "FORMAT",
    ),
    Option(
        "log-format",
        "KALSHI_FILLS_LOG_FORMAT",
        None,
        "How to log on stderr: text or json. Unless given, text on a terminal and json elsewhere.",
        "FORMAT",
    ),
)
"""The options every command has, in the order of their help."""

METRICS_FILE: Final = Option(
    "metrics-file",
    "KALSHI_FILLS_METRICS_FILE",
    None,
    "Also write metrics of the run into this file, for Prometheus' textfile collector.",
    "PATH",
)
"""An option of the commands that cron runs."""

_ALL: Final = (*OPTIONS, METRICS_FILE)

FROM_FILES: Final = ("CLICKHOUSE_URL", "KALSHI_API_KEY_ID")
"""Variables whose value may also be the text of the file that `<variable>_FILE` names."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything the commands share, valid as a whole."""

    clickhouse: ClickHouseTarget
    tables: Tables
    api_url: str
    signer: Signer | None
    format: str
    log_format: str
    warnings: tuple[str, ...] = ()
    secrets: tuple[str, ...] = field(default=(), repr=False)
    max_answer_bytes: int = _DEFAULT_ANSWER_MIB << 20
    """How large an answer of the exchange may be."""
    metrics_file: Path | None = None

    def require_signer(self) -> Signer:
        """Return the signer.

        Raises:
            SettingsError: no key was configured.
        """
        if self.signer is None:
            raise SettingsError(
                "no API key is configured",
                hint="set KALSHI_API_KEY_ID and KALSHI_PRIVATE_KEY_PATH, here or in a .env file",
            )
        return self.signer


def load(
    options: Mapping[str, str],
    mistakes: Mistakes,
    *,
    needs_exchange: bool = True,
    formats: Sequence[str] = FORMATS,
) -> Settings:
    """Return the settings of this process; an option that is given, but empty, is a mistake.

    Such an option is most likely an unset variable of the shell: no default is meant.
    """
    for option in _ALL:
        if options.get(option.name) == "":
            mistakes.add(
                f"--{option.name} is given, but empty",
                f"give --{option.name} a value or leave it out",
            )
    return build(options, os.environ, mistakes, needs_exchange=needs_exchange, formats=formats)


def format_asked_for(option: str | None) -> str:
    """Return the format that a failure is shown in while there are no settings yet."""
    return option or os.environ.get(_FORMAT_VARIABLE) or "table"


def gather(
    options: Mapping[str, str | None],
    environment: Mapping[str, str],
    mistakes: Mistakes,
    *,
    folder: Path | None = None,
    needs_exchange: bool = True,
) -> tuple[dict[str, str | None], str | None]:
    """Resolve every shared option: as given, from the environment, from `.env`, or by default.

    Args:
        options: what the command line gave, by option name.
        environment: the process's environment.
        mistakes: collects an unreadable env file.
        folder: where `.env` is looked for; the working folder.
        needs_exchange: whether the file of the API key's id is read.

    Returns:
        The values by option name, and the private key's text if KALSHI_PRIVATE_KEY has one.
    """
    from_file = read_env_file(options.get("env-file"), folder, mistakes)

    def variable(name: str | None) -> str | None:
        return (environment.get(name) or from_file.get(name)) if name else None

    def given(name: str | None) -> str | None:
        """Return a variable's value, or the text of the file that its `_FILE` names."""
        value = variable(name)
        files = FROM_FILES if needs_exchange else FROM_FILES[:1]
        if name not in files or not (path := variable(f"{name}_FILE")):
            return value
        if value is not None:
            mistakes.add(f"{name} and {name}_FILE are both set", f"set {name} or {name}_FILE")
            return value
        return read_secret_file(f"{name}_FILE", path, mistakes)

    from_variables = {option.name: given(option.variable) for option in _ALL}
    values = {
        option.name: options.get(option.name) or from_variables[option.name] or option.default
        for option in _ALL
    }
    values["clickhouse"] = with_password(
        values["clickhouse"], variable(f"{CLICKHOUSE_PASSWORD}_FILE"), mistakes
    )
    values["max-answer-mib"] = variable("KALSHI_FILLS_MAX_ANSWER_MIB")
    return values, variable("KALSHI_PRIVATE_KEY")


def build(
    options: Mapping[str, str | None],
    environment: Mapping[str, str],
    mistakes: Mistakes,
    *,
    folder: Path | None = None,
    needs_exchange: bool = True,
    formats: Sequence[str] = FORMATS,
) -> Settings:
    """Return the settings; what is wrong is noted, for `mistakes.raise_if_any` of the caller.

    Args:
        options: what the command line gave, by option name.
        environment: the process's environment.
        mistakes: collects what is wrong.
        folder: where `.env` is looked for; the working folder.
        needs_exchange: whether the API key and the exchange's address are read.
        formats: what the command can print.
    """
    values, pem = gather(
        options, environment, mistakes, folder=folder, needs_exchange=needs_exchange
    )
    clickhouse = read_clickhouse_url(values["clickhouse"], mistakes)
    tables = Tables(
        clickhouse.database,
        _table_name(values["table"], mistakes),
        _cluster_name(values["cluster"], mistakes),
    )
    warnings: list[str] = []
    signer = None
    if needs_exchange:
        signer = read_signer(values["api-key-id"], values["private-key"], pem, mistakes, warnings)
    api_url = read_api_url((needs_exchange and values["api-url"]) or "prod", mistakes)
    output_format = _one_of("format", values["format"], formats, mistakes)
    log_format = _one_of(
        "log-format",
        values["log-format"] or ("text" if sys.stderr.isatty() else "json"),
        ("text", "json"),
        mistakes,
    )
    secrets = [text for text in (pem, values["private-key"]) if text and "-----BEGIN" in text]
    if clickhouse.url is not None:
        secrets += secrets_of(clickhouse.url)
    return Settings(
        clickhouse,
        tables,
        api_url,
        signer,
        output_format,
        log_format,
        tuple(warnings),
        tuple(secrets),
        _max_answer_bytes(values["max-answer-mib"], mistakes),
        _metrics_file(values["metrics-file"], mistakes),
    )


def _table_name(value: str | None, mistakes: Mistakes) -> str:
    name = value or DEFAULT_TABLE
    if not is_identifier(name):
        mistakes.add(
            f"the table name{quoted(name)} is not an identifier",
            "use letters, digits and underscores in --table, not starting with a digit",
        )
    return name


def _cluster_name(name: str | None, mistakes: Mistakes) -> str | None:
    if name is not None and (
        not re.fullmatch(r"[A-Za-z0-9_.{}-]{1,128}", name) or looks_like_key(name)
    ):
        mistakes.add(
            f"the cluster name{quoted(name)} cannot be one",
            "use a name from system.clusters for --cluster",
        )
    return name


def _max_answer_bytes(text: str | None, mistakes: Mistakes) -> int:
    """Return how large an answer of the exchange may be, from a number of MiB."""
    if text is None:
        return _DEFAULT_ANSWER_MIB << 20
    if re.fullmatch(r"[0-9]{1,5}", text.strip()) and int(text) > 0:
        return int(text) << 20
    mistakes.add(
        "KALSHI_FILLS_MAX_ANSWER_MIB is not a number of MiB",
        "set KALSHI_FILLS_MAX_ANSWER_MIB to a whole number such as 64, or leave it out",
    )
    return _DEFAULT_ANSWER_MIB << 20


def _metrics_file(value: str | None, mistakes: Mistakes) -> Path | None:
    if value is None:
        return None
    if "://" in value or "@" in value or "\0" in value or looks_like_key(value):
        mistakes.add(
            "KALSHI_FILLS_METRICS_FILE (or --metrics-file) is not the path of a file",
            "name a file in the folder of the textfile collector, such as kalshi-fills.prom",
        )
        return None
    try:
        return Path(value).expanduser().absolute()
    except (OSError, RuntimeError):  # the working folder is gone, or the home folder unknown
        mistakes.add(
            "the file in KALSHI_FILLS_METRICS_FILE (or --metrics-file) cannot be found from here",
            "name it from the root on",
        )
        return None


def _one_of(option: str, value: str | None, allowed: Sequence[str], mistakes: Mistakes) -> str:
    if value is None or value not in allowed:
        mistakes.add(
            f"--{option}{quoted(value or '')} is not known",
            f"use --{option} {' or '.join(allowed)}",
        )
        return allowed[0]
    return value
