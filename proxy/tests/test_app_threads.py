"""Blocking calls on daemon threads: results, errors, and an end that does not wait for them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest

from helios.threads import on_daemon_thread


async def test_the_result_comes_back() -> None:
    assert await on_daemon_thread("answer", lambda: 42) == 42


async def test_an_error_is_raised_where_it_is_awaited() -> None:
    def fail() -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await on_daemon_thread("fail", fail)


async def test_a_call_that_hangs_can_be_left_behind() -> None:
    release = threading.Event()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await on_daemon_thread("hang", release.wait)

    release.set()


def test_the_process_does_not_wait_for_a_call_that_hangs() -> None:
    script = """
import asyncio, threading
from helios.threads import on_daemon_thread

async def main():
    task = asyncio.create_task(on_daemon_thread("hang", threading.Event().wait))
    await asyncio.sleep(0)
    task.cancel()

asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", script], timeout=20, check=False, capture_output=True, text=True)

    assert (done.returncode, done.stderr) == (0, "")
