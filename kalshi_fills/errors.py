"""Every failure that ends a command, as one small tree.

    KalshiFillsError
    ├── SettingsError      2   the command line, the environment or a key file is wrong
    ├── ExchangeError      4   unreachable, refused, or not speaking the API
    ├── WarehouseError     5   ClickHouse unreachable or refused
    │   ├── InsertUnknown  5   an insert was sent and its answer never came
    │   └── SchemaError    5   the tables are not today's, or not ours
    ├── CountsError        6   the counts of a pass do not add up
    ├── DeclinedError      1   the operator was asked, and did not say yes
    └── LockedError       75   another run is at work on the same table

    KeyboardInterrupt
    └── Interrupted      130   the operator or the system asked the pass to end

A fill that is refused is not here: it is a value with a reason (see `fills`).
Only the command line catches these; it prints `error:` with the sentence and `hint:` with
what to run next, and exits with the code.
"""

from __future__ import annotations

from typing import ClassVar


class KalshiFillsError(Exception):
    """A failure with one sentence for the operator, what to do next, and an exit code."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class SettingsError(KalshiFillsError):
    """Something asked for on the command line or in the environment cannot be meant."""

    exit_code = 2


class ExchangeError(KalshiFillsError):
    """The exchange could not be reached, refused us, or answered with something else.

    `status` is the HTTP status of a final refusal, None where none came.
    """

    exit_code = 4

    def __init__(self, message: str, *, hint: str, status: int | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status


class WarehouseError(KalshiFillsError):
    """ClickHouse could not be reached or refused a statement; `code` is its own number."""

    exit_code = 5

    def __init__(self, message: str, *, hint: str, code: int | None = None) -> None:
        super().__init__(message, hint=hint)
        self.code = code


class InsertUnknown(WarehouseError):
    """A block was sent and the connection ended before the answer: it may be stored or not."""


class SchemaError(WarehouseError):
    """The tables are missing, older or newer than this version, or somebody else's."""


class CountsError(KalshiFillsError):
    """Items went in that did not come out: a bug, never hidden."""

    exit_code = 6


class DeclinedError(KalshiFillsError):
    """The operator was asked before something is removed, and did not say yes."""

    exit_code = 1


class LockedError(KalshiFillsError):
    """Another run holds the lock on this table."""

    exit_code = 75


class Interrupted(KeyboardInterrupt):
    """The pass was asked to end; what was stored stays, the watermark stays where it was.

    It comes out of any line, and is no `Exception`: libraries that clean up after each of those,
    as Python does while it starts a thread, would take it for one of their own.
    """

    exit_code: ClassVar[int] = 130

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class Mistakes:
    """Collects what is wrong, so that one run reports everything."""

    def __init__(self) -> None:
        self._found: list[SettingsError] = []

    def add(self, message: str, hint: str) -> None:
        """Note one mistake."""
        self._found.append(SettingsError(message, hint=hint))

    def note(self, error: SettingsError) -> None:
        """Note a mistake found elsewhere."""
        self._found.append(error)

    def raise_if_any(self) -> None:
        """Raise what was found as one error; its hint is that of the first mistake.

        Raises:
            SettingsError: there was a mistake.
        """
        if self._found:
            raise SettingsError(
                "; ".join(error.message for error in self._found), hint=self._found[0].hint
            )
