"""How the Python interpreter spends its time."""

from __future__ import annotations

import gc
import sys


def expect_many_objects() -> None:
    """Prepare for many small objects without cycles, and for threads that wait for answers."""
    gc.set_threshold(500_000, 20, 20)  # looking for cycles would be a third of the work
    # A thread that an answer wakes up waits for its turn.
    sys.setswitchinterval(0.001)
