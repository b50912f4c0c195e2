"""The work queue: each key once, by one worker at a time, again after failures."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from helios.errors import HeliosError
from helios_operator.queue import WorkQueue


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - the condition is a counter
            await asyncio.sleep(0.005)


async def test_key_that_waits_is_there_once() -> None:
    queue: WorkQueue[str] = WorkQueue()
    for _ in range(3):
        queue.add("a")
    looked: list[str] = []

    async def look(key: str) -> None:
        looked.append(key)

    worker = asyncio.create_task(queue.work(look))
    await until(lambda: queue.done == 1)
    worker.cancel()

    assert looked == ["a"]
    assert len(queue) == 0


async def test_key_added_while_it_is_looked_at_comes_again_and_never_twice_at_once() -> None:
    queue: WorkQueue[str] = WorkQueue()
    at_once: list[int] = []
    running = 0

    async def look(key: str) -> None:
        nonlocal running
        running += 1
        at_once.append(running)
        if len(at_once) < 3:
            queue.add(key)
        await asyncio.sleep(0.01)
        running -= 1

    workers = [asyncio.create_task(queue.work(look)) for _ in range(3)]
    queue.add("a")
    await until(lambda: queue.done == 3)
    for worker in workers:
        worker.cancel()

    assert at_once == [1, 1, 1]


async def test_what_a_look_wrote_itself_does_not_bring_the_key_back() -> None:
    queue: WorkQueue[str] = WorkQueue()
    looked: list[str] = []

    async def look(key: str) -> None:
        looked.append(key)
        if key == "echo":
            queue.add("echo", 7)
            queue.own(7)
        elif looked.count(key) == 1:
            queue.add("mixed", 8)
            queue.add("mixed", 9)
            queue.own(8)

    worker = asyncio.create_task(queue.work(look))
    queue.add("echo")
    queue.add("mixed")
    await until(lambda: queue.done == 3)
    worker.cancel()

    assert looked == ["echo", "mixed", "mixed"], "what somebody else did in the meantime counts"
    assert len(queue) == 0


@pytest.mark.parametrize("error", [HeliosError("no"), KeyError("a fault of ours")])
async def test_failure_brings_a_key_back(error: Exception) -> None:
    queue: WorkQueue[str] = WorkQueue()

    async def look(_key: str) -> None:
        if queue.failed < 2:
            raise error

    worker = asyncio.create_task(queue.work(look))
    queue.add("a")
    await until(lambda: queue.done == 1)
    worker.cancel()

    assert queue.failed == 2


async def test_earlier_of_two_times_counts() -> None:
    queue: WorkQueue[str] = WorkQueue()
    looked = asyncio.Event()

    async def look(_key: str) -> None:
        looked.set()

    worker = asyncio.create_task(queue.work(look))
    queue.add_after("a", 0.01)
    queue.add_after("a", 3600)
    async with asyncio.timeout(5):
        await looked.wait()
    worker.cancel()
