"""The canary: clients ask for their own number while servers are killed, pools change, and some cancel or leave.

CANARY_SECONDS says how long. What a client may be told is in `harness.canary`; anything else is a leak or a lost place
in the stream, and fails.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from harness.canary import DISTURBANCES, SHORT_WAYS, WAYS, Asker, DisturbedError, break_off, cancel
from harness.certificates import Authority
from harness.client import Client, ClosedError, LoginRefusedError, Target
from harness.postgres import APP, PostgresCluster
from harness.proxy import HeliosProcess, base_settings
from harness.wait import until

CLIENTS = 24
SECONDS = float(os.environ.get("CANARY_SECONDS", "60"))
DATABASE = "canary"
SIZES = {"transaction": (2, 3, 5), "session": (6, 8, 12)}
"""Pool mode → sizes that the reloads go through. A session needs a server of its own, so these are larger."""


@dataclass
class Flock:
    """What all clients and those who disturb them have done; `faults` is what must not be."""

    ways: Counter[str] = field(default_factory=Counter)
    disturbances: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def fault(self, who: str, error: BaseException) -> None:
        """Note what must not be, and end everything."""
        self.faults.append(f"{who}: {type(error).__name__}: {error}"[:2000])
        self.stop.set()


@pytest.fixture
def proxy(postgres: PostgresCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HeliosProcess]:
    """Few servers for many clients, in both pool modes, with TLS for who wants it."""
    folder: Path = tmp_path_factory.mktemp("canary")
    shown = Authority(folder).sign("proxy")
    postgres.execute(f"create database {DATABASE} owner {APP}", "postgres")
    postgres.execute("create table items (id int); grant all on items to public", DATABASE)
    sections = {
        "tls": {"mode": "allow", "cert_file": str(shown.cert), "key_file": str(shown.key)},
        "pool": {"acquire_timeout_seconds": 2},
        "databases": databases(0),
    }
    with HeliosProcess(folder, base_settings(postgres, folder, **sections)) as process:
        yield process
    postgres.execute(f"drop database {DATABASE} with (force)", "postgres")


def databases(turn: int) -> list[dict[str, object]]:
    """The entries of both pool modes, with the sizes of this turn."""
    return [
        {"name": mode, "database": DATABASE, "pool": {"mode": mode, "max_size": sizes[turn % len(sizes)]}}
        for mode, sizes in SIZES.items()
    ]


def live(target: Target, number: int, flock: Flock, until_time: float) -> None:
    """One client's life: sessions one after the other, each broken off or ended."""
    generator = random.Random(f"{number} {time.time_ns()}")
    while time.monotonic() < until_time and not flock.stop.is_set():
        try:
            live_once(target, number, generator, flock)
        except DisturbedError as error:
            flock.disturbances.update(error.args[0])
        except LoginRefusedError as error:
            if error.sqlstate not in DISTURBANCES:
                flock.fault(f"login of client {number}", error)
            flock.disturbances[error.sqlstate] += 1
        except (ClosedError, ConnectionError):
            flock.disturbances["closed"] += 1
        except (AssertionError, TimeoutError, OSError, ValueError, IndexError) as error:
            flock.fault(f"client {number}", error)


def live_once(target: Target, number: int, generator: random.Random, flock: Flock) -> None:
    """One session."""
    ways = SHORT_WAYS if generator.random() < 0.3 else WAYS
    client = Client(target, deadline=20)
    asker = Asker(client, number, generator, flock.ways)
    try:
        for _ in range(generator.randint(1, 30)):
            if generator.random() < 0.03:
                cancel(client)
            asker.take_turn(ways)
        if generator.random() < 0.6:
            break_off(client, number, generator)
        else:
            client.terminate()
    finally:
        client.close()


def kill_servers(postgres: PostgresCluster, flock: Flock) -> None:
    """Now and then end one of the proxy's server processes, whatever it does."""
    kill = (
        "select pg_terminate_backend(pid) from pg_stat_activity "
        f"where datname = '{DATABASE}' and backend_type = 'client backend' order by random() limit 1"
    )
    with Client(postgres.superuser(), deadline=20) as admin:
        while not flock.stop.wait(random.uniform(0.1, 0.6)):
            flock.disturbances["kills"] += len(admin.query(kill)) > 3


def reload_often(proxy: HeliosProcess, flock: Flock) -> None:
    """Change the sizes of the pools, over and over."""
    turn = 0
    while not flock.stop.wait(1.5):
        turn += 1
        proxy.write({**proxy.settings, "databases": databases(turn)})
        proxy.signal(signal.SIGHUP)
        flock.disturbances["reloads"] += 1


def test_nobody_sees_a_foreign_value(proxy: HeliosProcess, postgres: PostgresCluster) -> None:
    flock = Flock()
    end = time.monotonic() + SECONDS
    modes = list(SIZES)
    targets = [
        # Every second one of each mode by TLS.
        replace(proxy.target(modes[number % 2]), is_encrypted=number % 4 >= 2)
        for number in range(CLIENTS)
    ]
    threads = [
        threading.Thread(target=live, args=(target, number + 1, flock, end)) for number, target in enumerate(targets)
    ]
    trouble = [
        threading.Thread(target=kill_servers, args=(postgres, flock)),
        threading.Thread(target=reload_often, args=(proxy, flock)),
    ]

    for thread in (*threads, *trouble):
        thread.start()
    for thread in threads:
        thread.join()
    flock.stop.set()
    for thread in trouble:
        thread.join()

    asked = sum(flock.ways.values())
    print(f"\n{CLIENTS} clients asked {asked} times in {SECONDS:g} s; {dict(flock.disturbances)}")
    assert not flock.faults, "\n".join(flock.faults)
    assert set(flock.ways) == {way.__name__ for way in WAYS}
    assert min(flock.disturbances[kind] for kind in ("kills", "reloads", "57014", "57P01")) > 0
    until(lambda: at_rest(proxy), "clients and servers to be given back", deadline=20)


def at_rest(proxy: HeliosProcess) -> bool:
    """Nobody is connected, and no server is in use."""
    busy = sum(pool["active_connections"] + pool["pending_requests"] for pool in proxy.json("/pools"))
    return bool(busy == 0 and proxy.json("/sessions")["active_sessions"] == 0)
