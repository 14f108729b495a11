"""The range of event times that a run asks for."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple


class Window(NamedTuple):
    """A half-open range [start, end) of event times, aware UTC."""

    start: datetime | None
    """None: from the account's first fill."""
    end: datetime

    def holds(self, moment: datetime) -> bool:
        """Return whether an event time lies in the window."""
        return (self.start is None or self.start <= moment) and moment < self.end
