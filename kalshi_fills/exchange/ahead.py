"""Questions that are asked before their answers are needed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

from kalshi_fills.errors import KalshiFillsError

T = TypeVar("T")


class Ahead(Generic[T]):
    """The answer to a question that a thread of its own asks at once, a single time.

    An exchange that is down is not asked again and again by several threads: where the first try
    fails, it is asked anew, with all patience, once the answer is needed.

    Args:
        ask: asks, trying as often as it is told; None is as often as usual.
    """

    def __init__(self, ask: Callable[[int | None], T]) -> None:
        self._ask = ask
        self._answers: list[T] = []
        # It does not keep the process from ending.
        self._thread = threading.Thread(target=self._try, daemon=True)
        self._thread.start()

    def _try(self) -> None:
        try:
            self._answers.append(self._ask(1))
        except KalshiFillsError:
            return  # it is raised where the answer is needed, if it still holds then

    def result(self, attempts: int | None = None) -> T:
        """Wait for the answer and return it, or raise what asking raises.

        Args:
            attempts: how often it is tried where it has to be asked anew.
        """
        self._thread.join()
        return self._answers[0] if self._answers else self._ask(attempts)


def read_ahead(pages: Iterator[T]) -> Iterator[T]:
    """Return each page, while a thread of its own asks for the next one, from now on."""
    thread = ThreadPoolExecutor(1, thread_name_prefix="ahead")

    def following(under_way: Future[T | None]) -> Iterator[T]:
        try:
            while (page := under_way.result()) is not None:
                under_way = thread.submit(next, pages, None)
                yield page
        finally:
            thread.shutdown(wait=False)

    return following(thread.submit(next, pages, None))
