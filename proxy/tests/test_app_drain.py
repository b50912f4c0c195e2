"""The end of a running `helios serve`: not ready at once, accepting a while, transactions finish, exit 0."""

from __future__ import annotations

import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import psycopg
import pytest

from harness.proxy import HeliosProcess, StartProxy
from harness.wait import until

ENDPOINT_DELAY_SECONDS = 2

Connect = Callable[[HeliosProcess], psycopg.Connection]


@pytest.fixture
def start_ready(start_proxy: StartProxy) -> StartProxy:
    def start(**sections: object) -> HeliosProcess:
        process = start_proxy(**sections)
        until(lambda: process.get("/readyz")[0] == 200, "the proxy is ready")
        return process

    return start


@pytest.fixture
def connect() -> Iterator[Connect]:
    with ExitStack() as stack:
        yield lambda process: stack.enter_context(closing(open_connection(process)))


def open_connection(process: HeliosProcess) -> psycopg.Connection:
    return psycopg.connect(process.target().dsn(), connect_timeout=10)


def is_accepting(process: HeliosProcess) -> bool:
    try:
        open_connection(process).close()
    except psycopg.OperationalError:
        return False
    return True


def exit_code(process: HeliosProcess, seconds: float = 10) -> int:
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        pytest.fail(f"the process did not end:\n{process.log()}")


def test_sigterm_drains_in_order(start_ready: StartProxy, connect: Connect) -> None:
    process = start_ready(drain={"endpoint_delay_seconds": ENDPOINT_DELAY_SECONDS, "timeout_seconds": 20})
    idle, busy = connect(process), connect(process)
    idle.execute("select 1")
    idle.commit()
    busy.execute("insert into notes values (-2, 'drain')")

    process.signal(signal.SIGTERM)

    until(lambda: process.get("/readyz")[0] == 503, "not ready at once", deadline=1.0)
    assert '"draining":true' in process.get("/readyz")[1]
    assert is_accepting(process), "clients are accepted during the endpoint delay"
    assert idle.execute("select 2").fetchone() == (2,)
    idle.commit()

    until(lambda: not is_accepting(process), "the listener closes", deadline=ENDPOINT_DELAY_SECONDS + 5)
    until(lambda: select.select([idle.fileno()], [], [], 0)[0], "the idle client is told")
    with pytest.raises(psycopg.errors.AdminShutdown):
        idle.execute("select 3")
    assert process.running(), "a transaction is still open"
    assert process.get("/readyz")[0] == 503
    busy.execute("delete from notes where id = -2")
    busy.commit()

    assert exit_code(process) == 0
    assert "drained" in process.log()


def test_sigint_drains_without_the_delay(start_ready: StartProxy) -> None:
    process = start_ready(drain={"endpoint_delay_seconds": 60, "timeout_seconds": 20})

    process.signal(signal.SIGINT)

    assert exit_code(process) == 0


def test_a_transaction_that_never_ends_is_cut_off_at_the_timeout(start_ready: StartProxy, connect: Connect) -> None:
    process = start_ready(drain={"endpoint_delay_seconds": 0, "timeout_seconds": 1})
    busy = connect(process)
    busy.execute("select 1")
    started = time.monotonic()

    process.signal(signal.SIGTERM)

    assert exit_code(process) == 0
    assert time.monotonic() - started >= 1
    assert "drain timed out" in process.log()
    with pytest.raises(psycopg.OperationalError):
        busy.execute("select 2")


@pytest.mark.parametrize("delay", [60, 0], ids=["while still accepting", "while transactions finish"])
def test_a_second_signal_ends_at_once(start_ready: StartProxy, connect: Connect, delay: int) -> None:
    process = start_ready(drain={"endpoint_delay_seconds": delay, "timeout_seconds": 60})
    busy = connect(process)
    busy.execute("select 1")
    process.signal(signal.SIGTERM)
    until(lambda: process.get("/readyz")[0] == 503, "the drain begins")
    if delay == 0:
        until(lambda: not is_accepting(process), "the listener closes")

    process.signal(signal.SIGTERM)

    assert exit_code(process, 5) == 128 + signal.SIGTERM
    assert "asked a second time" in process.log()


def test_a_client_that_waits_for_a_primary_does_not_hold_up_the_end(start_proxy: StartProxy) -> None:
    process = start_proxy(monitor={"password": "wrong"}, drain={"endpoint_delay_seconds": 0, "timeout_seconds": 5})

    process.signal(signal.SIGTERM)

    assert exit_code(process) == 0
