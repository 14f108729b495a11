"""How the Python interpreter spends its time."""

from __future__ import annotations

import contextlib
import gc
import sys
import threading
from collections.abc import Callable


def expect_many_objects() -> None:
    """Prepare for many small objects without cycles, and for threads that wait for answers."""
    gc.set_threshold(500_000, 20, 20)  # looking for cycles would be a third of the work
    # A thread that an answer wakes up waits for its turn.
    sys.setswitchinterval(0.001)


def import_meanwhile(load: Callable[[], None]) -> None:
    """Import modules in a thread of its own; whoever needs one waits for what is left of that.

    Args:
        load: imports them. Where that fails, it fails once more where they are needed.
    """

    def work() -> None:
        with contextlib.suppress(Exception):
            load()

    threading.Thread(target=work, daemon=True).start()
