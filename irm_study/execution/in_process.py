"""Batches trained in this process: with one job, as on a GPU."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any


class InProcess(Executor):
    """A batch is trained when results are waited for: what was trained before is written by then.

    waiting: what was submitted and is not trained, in its order.
    """

    def __init__(self) -> None:
        self.waiting: deque[tuple[Future[Any], Callable[[], Any]]] = deque()

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **keywords: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.waiting.append((future, lambda: function(*arguments, **keywords)))
        return future

    def train_next(self) -> None:
        """Train what was submitted first."""
        future, work = self.waiting.popleft()
        try:
            future.set_result(work())
        except Exception as error:
            future.set_exception(error)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self.waiting.clear()
