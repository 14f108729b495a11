"""A question that is asked before its answer is needed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Ahead(Generic[T]):
    """The answer to a question that a thread of its own asks at once.

    The thread does not keep the process from ending.
    """

    def __init__(self, ask: Callable[[], T]) -> None:
        self._answers: list[T] = []
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(ask,), daemon=True)
        self._thread.start()

    def _run(self, ask: Callable[[], T]) -> None:
        try:
            self._answers.append(ask())
        except BaseException as error:  # raised again where the answer is needed
            self._failure = error

    def result(self) -> T:
        """Wait for the answer and return it, or raise what asking raised."""
        self._thread.join()
        if self._failure is not None:
            raise self._failure
        return self._answers[0]
