"""Run many clients at once and collect what each saw. Called by the isolation, pooling, reload and drain tests."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import TypeVar

from harness.client import Client, LoginRefusedError, Target
from harness.wait import until

T = TypeVar("T")


def in_parallel(count: int, job: Callable[[int], T], deadline: float = 60.0) -> list[T]:
    """Run `job(0) … job(count - 1)`, each in a thread of its own; results in order. The first error is raised."""
    with ThreadPoolExecutor(max_workers=count) as pool:
        futures = [pool.submit(job, number) for number in range(count)]
        return [future.result(timeout=deadline) for future in futures]


@dataclass
class Background:
    """Clients that repeat a query until told to stop; a context manager. `errors` collects what went wrong."""

    target: Target
    clients: int
    sql: str = "select 1"
    pause_seconds: float = 0.002
    queries: int = 0
    errors: list[str] = field(default_factory=list)
    _threads: list[threading.Thread] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Background:
        for _ in range(self.clients):
            thread = threading.Thread(target=self._run, daemon=True)
            thread.start()
            self._threads.append(thread)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(20)

    def wait_for_queries(self, count: int) -> None:
        """Wait until `count` more queries have been answered; DeadlineExceededError if they stall."""
        goal = self.queries + count
        until(lambda: self.queries >= goal, f"{count} more answers (errors: {self.errors})")

    def _run(self) -> None:
        try:
            with Client(self.target) as client:
                while not self._stop.is_set():
                    client.value(self.sql)
                    self.queries += 1
                    time.sleep(self.pause_seconds)
        except (
            AssertionError,
            OSError,
            LoginRefusedError,
        ) as error:  # what ended this client is the finding the test asserts on
            self.errors.append(f"{type(error).__name__}: {error}")
