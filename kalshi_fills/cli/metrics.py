"""The metrics file: what a run of `sync` or `diagnose` leaves there when it has ended."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from kalshi_fills.cli.app import Context, Invocation
from kalshi_fills.cli.options import is_identifier, reason_of
from kalshi_fills.errors import LockedError
from kalshi_fills.host.printable import path_to_show
from kalshi_fills.host.trusted import Untrusted

if TYPE_CHECKING:
    from kalshi_fills.cli.settings import Settings
    from kalshi_fills.diagnose.run import Diagnosis
    from kalshi_fills.sync.report import SyncReport

log = logging.getLogger(__name__)


@dataclass
class RunOutcome:
    """What a run leaves behind, filled in as it goes."""

    command: str
    sync: SyncReport | None = None
    diagnosis: Diagnosis | None = None


def write_metrics_at_end(ctx: typer.Context, context: Context, outcome: RunOutcome) -> None:
    """Have the metrics file written once the command has ended, whatever its exit code.

    A run that gave way to another one is none of which the monitoring should know. Where the
    table's name is not certain there is nothing to name the samples by.
    """
    settings, began = context.settings, time.monotonic()
    if settings.metrics_file is None or not _knows_its_table(settings):
        return

    def write(exit_code: int) -> None:
        if exit_code != LockedError.exit_code:
            _write(settings, outcome, exit_code, time.monotonic() - began)

    ctx.ensure_object(Invocation).at_end.append(write)


def _knows_its_table(settings: Settings) -> bool:
    target = settings.clickhouse
    is_named = is_identifier(settings.tables.database) and is_identifier(settings.tables.fills)
    return is_named and (target.url is not None or target.folder is not None)


def _write(settings: Settings, outcome: RunOutcome, exit_code: int, seconds: float) -> None:
    """Write the file; where that fails it is told, and changes nothing of what the run did."""
    from kalshi_fills.host.shared_file import change_shared
    from kalshi_fills.report.metrics import EndedRun, NotOurs, metrics_after

    path, tables = settings.metrics_file, settings.tables
    assert path is not None
    run = EndedRun(
        outcome.command,
        f"{tables.database}.{tables.fills}",
        exit_code,
        time.time(),
        seconds,
        outcome.sync,
        outcome.diagnosis,
    )
    try:
        change_shared(path, lambda before: metrics_after(run, before))
        return
    except Untrusted as error:
        why = error.why
    except (NotOurs, UnicodeDecodeError) as error:
        other = str(error) if isinstance(error, NotOurs) else "it is not text"
        why = f"was not written: {other}; name another file, or remove it"
    except OSError as error:
        why = f"was not written: {reason_of(error)}"
    where = path_to_show(path, "that KALSHI_FILLS_METRICS_FILE names")
    warning = f"the metrics file {where} {why}"
    log.warning("metrics_not_written", extra={"fields": {"warning": warning}})
