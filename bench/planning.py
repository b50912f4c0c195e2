"""The planner at the wire: new shapes, floods, stampedes, reloads, many users. Prints one JSON object.

Run with the environment of this clone. Helios in transaction mode before one server, with reads split so that plans
read the catalog; everybody comes in by trust, as a user of its own. Times are of whole simple queries, sent and read by
one thread here; what floods is a process of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import random
import re
import selectors
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "e2e")]

from harness.postgres import APP, DATABASE, PASSWORDS, start_cluster  # noqa: E402 - the folder is put on the path above
from harness.proxy import HeliosProcess, base_settings  # noqa: E402
from harness.wait import until  # noqa: E402

HOST = "127.0.0.1"
PROTOCOL_3_0 = 196_608
TIMEOUT_SECONDS = 60
SHAPES = 300
POLICIES = 3
"""Sets of rules that hold for clients: none, one, the other."""

RULES = [
    {"name": "one", "application_name": ["one"], "route": "primary"},
    {"name": "two", "application_name": ["two"], "route": "any"},
]
_numbers = itertools.count(random.SystemRandom().randrange(1 << 40))


class Asker:
    """One client by a blocking socket."""

    def __init__(self, port: int, user: str, application_name: str = "") -> None:
        self.socket = socket.create_connection((HOST, port), TIMEOUT_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.errors = 0
        self._pending = b""
        parameters = f"user\0{user}\0database\0{DATABASE}\0application_name\0{application_name}\0\0".encode()
        self.socket.sendall(struct.pack("!ii", 8 + len(parameters), PROTOCOL_3_0) + parameters)
        self.read_ready()

    def send(self, *texts: str) -> None:
        """Simple queries, in one write."""
        bodies = (text.encode() + b"\0" for text in texts)
        self.socket.sendall(b"".join(b"Q" + struct.pack("!i", 4 + len(body)) + body for body in bodies))

    def read_ready(self) -> None:
        """Read up to one ReadyForQuery."""
        while not self.take_ready():
            self.fill()

    def fill(self) -> None:
        """Take in what has come, or wait for something."""
        chunk = self.socket.recv(65_536)
        assert chunk, "the proxy has closed a connection"
        self._pending += chunk

    def take_ready(self) -> bool:
        """Whether what has come holds the end of an answer, which is taken out of it."""
        at = 0
        while len(self._pending) - at >= 5:
            end = at + 1 + struct.unpack_from("!i", self._pending, at + 1)[0]
            if end > len(self._pending):
                break
            tag = self._pending[at : at + 1]
            self.errors += tag == b"E"
            at = end
            if tag == b"Z":
                self._pending = self._pending[at:]
                return True
        self._pending = self._pending[at:]
        return False

    def ask(self, text: str) -> float:
        """Milliseconds of one query."""
        began = time.perf_counter()
        self.send(text)
        self.read_ready()
        return (time.perf_counter() - began) * 1000

    def close(self) -> None:
        """Leave without a word."""
        self.socket.close()


def new_shape() -> str:
    """A SELECT with a join and a subselect, as no one has sent before."""
    number = next(_numbers)
    return (
        f"select i.id, i.name, n.body as b{number} from items i left join notes n on n.id = i.id "
        "where i.id = 7 and exists (select 1 from notes x where x.id = i.id or i.id > 3) order by i.name limit 5"
    )


def spread(times: list[float]) -> dict[str, float]:
    """Median, 99th percentile and the worst, in milliseconds."""
    cuts = statistics.quantiles(times, n=100)
    return {"p50": round(cuts[49], 3), "p99": round(cuts[98], 3), "worst": round(max(times), 3)}


@contextmanager
def asker(port: int, user: str, application_name: str = "") -> Iterator[Asker]:
    """A client, for as long as it is needed."""
    with contextlib.closing(Asker(port, user, application_name)) as made:
        yield made


@contextmanager
def helios() -> Iterator[HeliosProcess]:
    """A server with the tables of the tests, and a proxy before it."""
    cluster = start_cluster(with_standby=False)
    try:
        with tempfile.TemporaryDirectory(prefix="helios-bench-") as folder:
            settings = base_settings(
                cluster,
                Path(folder),
                auth={"method": "trust"},
                databases=[{"name": DATABASE, "user": APP, "password": PASSWORDS[APP]}],
                pool={"mode": "transaction", "max_size": 40},
                routing={"read_write_split": True, "rules": RULES},
                limits={"max_client_connections": 12_000},
                workers=0,
            )
            with HeliosProcess(Path(folder), settings, nofile=20_000) as process:
                with asker(process.port, "warm") as client:
                    known = new_shape()
                    until(lambda: client.ask(known) and client.errors == 0, "an answer")
                yield process
    finally:
        cluster.stop()


def metric(proxy: HeliosProcess, name: str) -> float:
    """One sample without labels."""
    _, text = proxy.get("/metrics", accept="text/plain")
    found = re.search(rf"^heliosproxy_{name} (\S+)$", text, re.MULTILINE)
    assert found, name
    return float(found[1])


def plan_times(proxy: HeliosProcess, count: int) -> dict[str, Any]:
    """What a new shape takes longer than a known one, in pairs of both."""
    missed = metric(proxy, "plans_missed_total")
    with asker(proxy.port, "planner") as client:
        known = new_shape()
        pairs = [(client.ask(new_shape()), client.ask(known)) for _ in range(count)]
    extra = [new - old for new, old in pairs]
    return {
        "new shape, ms": spread([new for new, _ in pairs]),
        "known shape, ms": spread([old for _, old in pairs]),
        "new beyond known, ms": spread(extra),
        "ran without a plan": metric(proxy, "plans_missed_total") - missed,
    }


def during(proxy: HeliosProcess, seconds: float, text: Callable[[], str], user: str = "other") -> dict[str, float]:
    """Queries of one client, a hundred a second, for so long."""
    times: list[float] = []
    end = time.monotonic() + seconds
    with asker(proxy.port, user) as client:
        while time.monotonic() < end:
            times.append(client.ask(text()))
            time.sleep(0.01)
        assert client.errors == 0
    return spread(times)


def flood(proxy: HeliosProcess, seconds: float, rate: int) -> dict[str, Any]:
    """Others before and while one client sends new shapes."""
    known = new_shape()
    figures: dict[str, Any] = {
        "known shape, alone": during(proxy, seconds, lambda: known),
        "new shapes, alone": during(proxy, seconds, new_shape),
    }
    made = metric(proxy, "plans_made_total")
    began = time.monotonic()
    command = [sys.executable, __file__, "--flood", str(proxy.port), "--rate", str(rate)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        try:
            until(lambda: metric(proxy, "plans_made_total") > made + rate // 4, "the flood to begin")
            figures["known shape, in the flood"] = during(proxy, seconds, lambda: known)
            figures["new shapes, in the flood"] = during(proxy, seconds, new_shape)
            figures["plans a second"] = round((metric(proxy, "plans_made_total") - made) / (time.monotonic() - began))
        finally:
            process.kill()
    for kind in ("known shape", "new shapes"):
        raised = figures[f"{kind}, in the flood"]["p99"] - figures[f"{kind}, alone"]["p99"]
        figures[f"p99 of others, {kind}, raised by"] = round(raised, 3)
    return figures


def flooding(port: int, rate: int) -> None:
    """New shapes of one client, so many a second, until the process is killed."""
    with asker(port, "flooder") as client:
        batch = max(1, rate // 50)
        while True:
            began = time.monotonic()
            client.send(*(new_shape() for _ in range(batch)))
            for _ in range(batch):
                client.read_ready()
            time.sleep(max(0.0, batch / rate - (time.monotonic() - began)))


def stampede(proxy: HeliosProcess, clients: int) -> dict[str, Any]:
    """So many clients send 300 unseen shapes at once; each waits for its answers in turn."""
    made, missed = (metric(proxy, name) for name in ("plans_made_total", "plans_missed_total"))
    with contextlib.ExitStack() as stack, selectors.DefaultSelector() as selector:
        askers = [stack.enter_context(asker(proxy.port, f"user{number}")) for number in range(clients)]
        for client in askers:
            client.ask("select 1")
        shares = [[new_shape() for _ in range(SHAPES // clients + (n < SHAPES % clients))] for n in range(clients)]
        for client in askers:
            selector.register(client.socket, selectors.EVENT_READ, client)
        left = sum(map(len, shares))
        began = time.perf_counter()
        for client, texts in zip(askers, shares, strict=True):
            client.send(*texts)
        waits: list[float] = []
        while left:
            for key, _ in selector.select(TIMEOUT_SECONDS):
                key.data.fill()
                while key.data.take_ready():
                    left -= 1
                    waits.append((time.perf_counter() - began) * 1000)
        return {
            "clients": clients,
            "waits, ms": spread(waits),
            "plans made": metric(proxy, "plans_made_total") - made,
            "ran without a plan": metric(proxy, "plans_missed_total") - missed,
            "refused": sum(client.errors for client in askers),
        }


def reloads(proxy: HeliosProcess, seconds: float) -> dict[str, Any]:
    """A client of a known shape while the configuration is reloaded all the time, each time with another rule."""
    known = new_shape()
    quiet = during(proxy, seconds, lambda: known)
    plain, over, count = proxy.settings, threading.Event(), 0

    def reload() -> None:
        nonlocal count
        while not over.wait(0.5):
            count += 1
            rule = {"name": f"rule{count}", "application_name": [f"nobody{count}"], "route": "primary"}
            proxy.write({**plain, "routing": {**plain["routing"], "rules": [*RULES, rule]}})
            assert proxy.post("/config/reload")[0] == 200

    thread = threading.Thread(target=reload)
    thread.start()
    try:
        busy = during(proxy, seconds, lambda: known)
    finally:
        over.set()
        thread.join()
        proxy.write(plain)
        assert proxy.post("/config/reload")[0] == 200
    return {"reloads": count, "quiet": quiet, "reloading": busy, "p99 raised by": round(busy["p99"] - quiet["p99"], 3)}


def many_users(proxy: HeliosProcess, users: int) -> dict[str, Any]:
    """So many users send the same 300 shapes, under three sets of rules."""
    kept, made = (metric(proxy, name) for name in ("plans_kept", "plans_made_total"))
    texts = [new_shape() for _ in range(SHAPES)]
    failed = 0
    for number in range(users):
        with asker(proxy.port, f"user{number}", ("", "one", "two")[number % POLICIES]) as client:
            client.send(*texts)
            for _ in texts:
                client.read_ready()
            failed += client.errors
    return {
        "users": users,
        "shapes": SHAPES,
        "policies": POLICIES,
        "plans kept": metric(proxy, "plans_kept") - kept,
        "plans made": metric(proxy, "plans_made_total") - made,
        "failed": failed,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="The planner at the wire; see the docstring.")
    parser.add_argument("--plans", type=int, default=2_000)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rate", type=int, default=2_000)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--users", type=int, default=10_000)
    parser.add_argument("--only", choices=("plan", "flood", "stampede", "reload", "users"))
    parser.add_argument("--flood", type=int, metavar="PORT", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.flood is not None:
        flooding(args.flood, args.rate)
    with helios() as proxy:
        figures: dict[str, Callable[[], Any]] = {
            "plan": lambda: plan_times(proxy, args.plans),
            "flood": lambda: flood(proxy, args.seconds, args.rate),
            "stampede": lambda: [stampede(proxy, args.clients) for _ in range(3)],
            "reload": lambda: reloads(proxy, args.seconds),
            "users": lambda: many_users(proxy, args.users),
        }
        measured = {name: figure() for name, figure in figures.items() if args.only in (None, name)}
    print(json.dumps(measured, indent=1))


if __name__ == "__main__":
    main()
