"""Of two proxies with one lease, the one that promotes is stopped in each step of its way: nobody is promoted twice,
and no two servers take writes of clients.

What it says to the servers goes through gates, which hold a statement before the server has it, or the server's answer;
then it is stopped. It is killed, and what was held comes to the server after the other proxy has taken over; or it goes
on. The lease is the lock of a file, or a Lease of a real API server.
"""

from __future__ import annotations

import itertools
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.failover import (
    PATIENCE,
    await_nodes,
    empty_ledger,
    mend,
    primaries,
    primary_of,
    settings,
    status,
    successor_of,
    synchronous_of,
    timeline_of,
)
from harness.gate import Gate
from harness.ledger import SCHEMA, Ledger, lost
from harness.proxy import HeliosProcess
from harness.replicas import ReplicatedCluster
from harness.shared_lease import LeaseToShare, PodsLease, file_lease
from harness.wait import until

Gates = dict[str, Gate]


@dataclass(frozen=True)
class Step:
    """A statement of the holder, held before the server has it or with its answer."""

    name: str
    text: bytes
    answer: bool = False


STEPS = (
    Step("asks the standbys", b"pg_is_in_recovery() AS in_recovery"),
    Step("tells for whom commits wait", b"ALTER SYSTEM SET synchronous_standby_names"),
    Step("has told for whom commits wait", b"ALTER SYSTEM SET synchronous_standby_names", answer=True),
    Step("promotes", b"pg_promote(false)"),
    Step("has promoted and does not know", b"pg_promote(false)", answer=True),
    Step("looks where the histories part", b"pg_snapshot_xmax"),
    Step("points the other standby", b"ALTER SYSTEM SET primary_conninfo"),
    Step("has pointed the other standby", b"ALTER SYSTEM SET primary_conninfo", answer=True),
)
ENDS = pytest.mark.parametrize("is_killed", [True, False], ids=["killed", "goes on"])


@pytest.fixture(scope="module")
def cluster() -> Iterator[ReplicatedCluster]:
    """Three servers, whichever leads."""
    with ReplicatedCluster(schema=SCHEMA) as made:
        yield made


@pytest.fixture(scope="module")
def gates(cluster: ReplicatedCluster) -> Iterator[Gates]:
    """One before each server; standbys come through them as well, once they were pointed."""
    made = {name: Gate(server.port) for name, server in cluster.servers.items()}
    yield made
    for gate in made.values():
        gate.stop()


@pytest.fixture(scope="module")
def seen(report: list[str]) -> Iterator[list[str]]:
    """Steps in which the holder was stopped."""
    steps: list[str] = []
    yield steps
    report += [
        f"{len(steps)} times the holder of the lease was stopped (SIGSTOP) in a certain step of a promotion and",
        "killed, or let go on; two proxies, both with clients of the ledger. Each time the timeline grew by one, one",
        "server took writes, and no acknowledged transfer was missing:",
        "",
        *(f"- {step}" for step in steps),
        "",
    ]


@pytest.fixture(params=["file", "kubernetes"])
def lease(request: pytest.FixtureRequest, tmp_path: Path) -> LeaseToShare:
    if request.param == "file":
        return file_lease(tmp_path)
    shared: PodsLease = request.getfixturevalue("pods_lease")
    return shared.fresh()


@contextmanager
def pair(
    cluster: ReplicatedCluster, gates: Gates, folder: Path, lease: LeaseToShare, **failover: object
) -> Iterator[tuple[HeliosProcess, HeliosProcess]]:
    """The holder of the lease, and the other one."""
    with ExitStack() as stack:
        made: list[HeliosProcess] = []
        for name in ("first", "second"):
            config = settings(cluster, folder / name, folder, **failover)
            lease.put_into(config)
            for node in config["clusters"][0]["nodes"]:
                node["port"] = gates[node["name"]].port
            process = HeliosProcess(folder / name, config, environment=lease.environment)
            stack.callback(process.kill)
            await_nodes(process)
            until(lambda: status(made[0] if made else process)["holds_lease"], "the lease", PATIENCE)  # noqa: B023
            made.append(process)
        first, second = made
        assert [status(each)["holds_lease"] for each in made] == [True, False]
        yield first, second


class Scene:
    """A primary that dies before two proxies, both with clients."""

    def __init__(self, cluster: ReplicatedCluster, holder: HeliosProcess, other: HeliosProcess) -> None:
        self.cluster, self.holder, self.other = cluster, holder, other
        self.primary = primary_of(other)
        synchronous_of(cluster, self.primary)
        self.timeline = timeline_of(cluster, self.primary)
        empty_ledger(cluster, self.primary)
        numbers = (itertools.count(1), itertools.count(1_000_000))
        self.ledgers = [
            Ledger(proxy.target(), clients=2, extended=bool(place), _ids=numbers[place])
            for place, proxy in enumerate((holder, other))
        ]

    def __enter__(self) -> Scene:
        for ledger in self.ledgers:
            ledger.__enter__()
            ledger.await_more(5, PATIENCE)
        return self

    def __exit__(self, *_: object) -> None:
        for ledger in self.ledgers:
            ledger.stop()

    def end(self, is_killed: bool, let_go: Callable[[], object]) -> None:
        """The holder is stopped: it is killed, and the rest comes late; or all goes on. Looks what became of it."""
        self.holder.signal(signal.SIGSTOP)
        if is_killed:
            self.holder.kill()
        else:
            let_go()
            self.holder.signal(signal.SIGCONT)
        heir = str(until(lambda: successor_of(self.other, self.primary), "another primary", PATIENCE))
        self.ledgers[1].await_more(5, PATIENCE)
        if is_killed:
            let_go()
        else:
            until(lambda: successor_of(self.holder, self.primary) == heir, "the same primary", PATIENCE)
            self.ledgers[0].await_more(5, PATIENCE)
        self.cluster.await_streaming(heir, 1, PATIENCE)
        self.ledgers[1].await_more(5, PATIENCE)
        for ledger in self.ledgers:
            ledger.stop()
        assert primaries(self.cluster, self.primary) == [heir]
        assert timeline_of(self.cluster, heir) == self.timeline + 1, "promoted once"
        assert [lost(ledger, self.cluster.app(heir)) for ledger in self.ledgers] == [[], []]
        mend(self.cluster, self.other, self.primary, heir)


def let_go(gates: Gates) -> None:
    """What is held comes to where it was sent."""
    for gate in gates.values():
        gate.let_go()


def note(seen: list[str], step: str, lease: LeaseToShare, is_killed: bool) -> None:
    shared = "a file's lock" if "lease_file" in lease.failover else "a Lease of Kubernetes"
    seen.append(f"{shared}, {step}: {'killed' if is_killed else 'went on'}")


@ENDS
@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_a_holder_that_is_stopped_while_it_talks_to_servers(
    cluster: ReplicatedCluster,
    gates: Gates,
    tmp_path: Path,
    lease: LeaseToShare,
    seen: list[str],
    step: Step,
    is_killed: bool,
) -> None:
    with pair(cluster, gates, tmp_path, lease) as (holder, other), Scene(cluster, holder, other) as scene:
        for name, gate in gates.items():
            if name != scene.primary:
                gate.hold(step.text, answer=step.answer)
        cluster[scene.primary].kill()
        holding = until(lambda: [each for each in gates.values() if each.is_holding.is_set()], step.name, PATIENCE)
        for gate in gates.values():
            gate.forget()

        scene.end(is_killed, lambda: let_go(gates))

        assert holding
    note(seen, step.name, lease, is_killed)


@ENDS
def test_a_holder_that_is_stopped_before_the_other_has_followed(
    cluster: ReplicatedCluster, gates: Gates, tmp_path: Path, lease: LeaseToShare, seen: list[str], is_killed: bool
) -> None:
    with pair(cluster, gates, tmp_path, lease) as (holder, other), Scene(cluster, holder, other) as scene:
        other.signal(signal.SIGSTOP)
        cluster[scene.primary].kill()
        until(lambda: "did not confirm" in str(status(holder)["refused"]), "the refusal", PATIENCE)
        holder.signal(signal.SIGSTOP)
        other.signal(signal.SIGCONT)

        scene.end(is_killed, lambda: None)
    note(seen, "waits for the other proxy to follow", lease, is_killed)


@ENDS
def test_a_holder_that_is_stopped_while_the_fence_runs(
    cluster: ReplicatedCluster, gates: Gates, tmp_path: Path, lease: LeaseToShare, seen: list[str], is_killed: bool
) -> None:
    begun, go = tmp_path / "begun", tmp_path / "go"
    command = ["sh", "-c", f"touch {begun}; until [ -e {go} ]; do sleep 0.05; done"]
    fence = {"fence_command": command, "fence_timeout_seconds": PATIENCE}
    with pair(cluster, gates, tmp_path, lease, **fence) as (holder, other), Scene(cluster, holder, other) as scene:
        cluster[scene.primary].kill()
        until(begun.exists, "the fence", PATIENCE)
        holder.signal(signal.SIGSTOP)
        assert primaries(cluster, scene.primary) == []
        go.touch()

        scene.end(is_killed, lambda: None)
    note(seen, "waits for fence_command", lease, is_killed)
