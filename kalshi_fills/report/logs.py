"""How a log line looks: one JSON object, or text on a terminal; always on stderr.

A log call names an event and passes its facts as `extra={"fields": {...}}`. On a terminal only
warnings are shown unless more is asked for, and of those not what a command prints anyway
(`extra={"printed": True}`). Known secrets are removed from whatever is written, as the last step.
"""

from __future__ import annotations

import logging
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TextIO

from kalshi_fills.host.printable import ascii_json, redact, visible


def configure(log_format: str, *, verbose: bool, secrets: Iterable[str] = ()) -> None:
    """Send the log to stderr as `json` or `text`; `verbose` adds details for debugging."""
    handler = _Stderr()
    is_calm = sys.stderr.isatty() and not verbose
    text = _Warning if is_calm else _Text
    handler.setFormatter(_Json(secrets) if log_format == "json" else text(secrets))
    if is_calm:
        handler.setLevel(logging.WARNING)
        handler.addFilter(lambda record: not getattr(record, "printed", False))
    logger = logging.getLogger("kalshi_fills")
    logger.handlers = [handler]
    logger.propagate = False
    logger.setLevel(logging.DEBUG if verbose else logging.INFO)


class _Stderr(logging.StreamHandler[TextIO]):
    """Writes to what stderr is at the time: a progress bar puts itself below the lines."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]  # it is read only, by design
        return sys.stderr


class _Form(logging.Formatter, ABC):
    def __init__(self, secrets: Iterable[str]) -> None:
        super().__init__()
        self._secrets = tuple(secrets)

    def format(self, record: logging.LogRecord) -> str:
        fields = getattr(record, "fields", {})
        moment = datetime.fromtimestamp(record.created, tz=UTC)
        return redact(self.line(moment, record, fields), self._secrets)

    @abstractmethod
    def line(self, moment: datetime, record: logging.LogRecord, fields: dict[str, object]) -> str:
        """Return one record as a line, secrets included."""


class _Json(_Form):
    def line(self, moment: datetime, record: logging.LogRecord, fields: dict[str, object]) -> str:
        return ascii_json(
            {
                "event": record.getMessage(),
                **fields,
                "level": record.levelname.lower(),
                "at": moment.isoformat(timespec="milliseconds"),
            },
            default=str,
        )


class _Text(_Form):
    def line(self, moment: datetime, record: logging.LogRecord, fields: dict[str, object]) -> str:
        facts = " ".join(f"{name}={value}" for name, value in fields.items())
        return visible(f"{moment:%H:%M:%S} {record.getMessage()} {facts}".rstrip())


class _Warning(_Form):
    """For people who run a command on a terminal."""

    def line(self, moment: datetime, record: logging.LogRecord, fields: dict[str, object]) -> str:
        if sentence := fields.get("warning"):
            return visible(f"warning: {sentence}")
        facts = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in fields.items())
        return visible(f"warning: {record.getMessage().replace('_', ' ')}: {facts}".rstrip(": "))
