"""How the Python interpreter spends its time."""

from __future__ import annotations

import contextlib
import gc
import sys
import threading
from importlib import import_module


def expect_many_objects() -> None:
    """Prepare for many small objects without cycles, and for threads that wait for answers."""
    gc.set_threshold(500_000, 20, 20)  # looking for cycles would be a third of the work
    # A thread that an answer wakes up waits for its turn.
    sys.setswitchinterval(0.001)


def import_meanwhile(name: str) -> None:
    """Import a module in a thread of its own; whoever needs it waits for what is left of that.

    Where it fails, it fails once more there.
    """

    def load() -> None:
        with contextlib.suppress(Exception):
            import_module(name)

    threading.Thread(target=load, daemon=True).start()
