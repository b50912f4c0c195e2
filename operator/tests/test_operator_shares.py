"""A total of server connections over the pods of a proxy: never more than the total, and in the end all of it."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from helios_crds.shares import first_share
from helios_operator.shares import Holder, PodShare, divide


def holder(
    name: str, limit: int | None = None, excess: int = 0, *, running: bool = True, leaving: bool = False
) -> Holder:
    return Holder(name, running, leaving, None if limit is None else PodShare(limit, excess))


def test_what_no_pod_needs_aside_is_divided_evenly() -> None:
    division = divide(20, 3, 2, [holder("a", 3), holder("b", 3)])

    assert division.grants == {"a": 8, "b": 8}, "3 of 20 stay aside for the pod of a rolling update"
    assert division.pods == 2


def test_nothing_is_given_before_it_is_free() -> None:
    full = [holder("a", 8), holder("b", 8)]

    coming = divide(20, 1, 5, [*full, *(holder(name, running=False) for name in "cde")])
    there = divide(20, 1, 5, [holder("a", 3, excess=5), holder("b", 3), *(holder(name, 1) for name in "cde")])
    free = divide(20, 1, 5, [holder("a", 3), holder("b", 3), *(holder(name, 1) for name in "cde")])

    assert coming.grants == {"a": 3, "b": 3}
    assert there.grants == {"a": 3, "b": 3, "c": 3, "d": 3, "e": 2}, "of 20, 8 are with a, 3 with b and one stays aside"
    assert free.grants == dict.fromkeys("abcde", 3)


def test_pods_are_asked_for_as_far_as_there_are_server_connections() -> None:
    first = first_share(120, 5)

    held = divide(120, first, 5, [holder("a", 90)])
    let_go = divide(120, first, 5, [holder("a", held.grants["a"])])

    assert first == 10
    assert (held.grants, held.pods) == ({"a": 70}, 3)
    assert let_go.pods == 5


def test_a_pod_that_was_not_heard_keeps_others_from_more_but_not_from_less() -> None:
    division = divide(20, 3, 2, [holder("a", 10), holder("b", 3), holder("c", None, leaving=True)])

    assert division.grants == {"a": 7, "b": 3}
    assert divide(20, 3, 3, [holder("a", 3), holder("b")]).pods == 2, "nor is another one asked for"


def test_what_a_leaving_pod_holds_is_not_anybody_elses() -> None:
    leaving = holder("a", 3, excess=4, leaving=True)

    assert divide(20, 3, 2, [leaving, holder("b", 3), holder("c", 3)]).grants == {"b": 5, "c": 5}
    assert divide(20, 3, 2, [holder("b", 5), holder("c", 5)]).grants == {"b": 8, "c": 8}


def sidecar(name: str, limit: int | None = None, *, started: bool = True, granted: bool = True) -> Holder:
    share = None if limit is None else PodShare(limit, 0, granted)
    return Holder(name, started, is_leaving=False, share=share, is_sidecar=True)


def test_sidecars_wait_for_a_share_and_count_in_the_total() -> None:
    pods = [holder("a", 8), holder("b", 8)]

    came = divide(20, 3, 2, [*pods, sidecar("x", 1, started=False, granted=False)])
    assert came.grants == {"a": 5, "b": 5, "x": 1}, "what is over goes to it, the rest once the pods have given it back"
    given = divide(20, 3, 2, [holder("a", 5), holder("b", 5), sidecar("x", 1)])
    assert given.grants == {"a": 5, "b": 5, "x": 5}
    alone = divide(20, 10, 0, [sidecar(name, 1, started=False, granted=False) for name in "xy"])
    assert (alone.grants, alone.pods) == ({"x": 10, "y": 10}, 0), "without pods nothing is kept aside for one"


def test_a_sidecar_for_which_nothing_is_left_gets_nothing() -> None:
    waiting = [sidecar(name, 1, started=False, granted=False) for name in "vwxyz"]

    grants = divide(10, 3, 2, [holder("a", 3), holder("b", 3), *waiting]).grants
    assert grants == {"a": 3, "b": 3, "v": 1}, "3 stay aside for the pods' update"
    assert divide(3, 1, 0, [sidecar("u", 1), *waiting]).grants == {"u": 1, "v": 1, "w": 1}


def test_a_sidecar_that_was_started_and_not_heard_keeps_others_from_more() -> None:
    assert divide(20, 3, 1, [holder("a", 3), sidecar("x")]).grants == {"a": 3}
    assert divide(20, 3, 1, [holder("a", 3), sidecar("x", started=False)]).grants == {"a": 17}


@dataclass
class Process:
    """A pod as it really is. `limit` None: nobody granted anything."""

    granted: int | None = None
    open: int = 0
    running: bool = False
    leaving: bool = False

    def limit(self, first: int) -> int:
        return first if self.granted is None else self.granted


@dataclass
class Cluster:
    """Pods, what the operator believes of them, and clients that take all they can get."""

    chance: random.Random
    total: int
    wanted: int
    pods: dict[str, Process] = field(default_factory=dict)
    heard: dict[str, PodShare] = field(default_factory=dict)
    grants: dict[str, int] = field(default_factory=dict)
    asked: int = 0
    made: int = 0

    @property
    def first(self) -> int:
        staying = [pod for pod in self.pods.values() if not pod.leaving]
        return first_share(self.total, max(self.wanted, len(staying) - 1))

    def look(self) -> None:
        holders = [Holder(n, pod.running, pod.leaving, self.heard.get(n)) for n, pod in self.pods.items()]
        division = divide(self.total, self.first, self.wanted, holders)
        self.grants |= division.grants
        self.asked = min(self.wanted, max(division.pods, self.asked))

    def ask(self, name: str) -> None:
        """As the poller does; an answer may be lost."""
        pod = self.pods[name]
        if not pod.running:
            return
        limit = pod.limit(self.first)
        share = PodShare(limit, max(0, pod.open - limit), pod.granted is not None)
        grant = self.grants.get(name)
        if grant is not None and not pod.leaving and (grant != limit or pod.granted is None):
            self.heard[name] = PodShare(max(limit, grant), share.excess)
            if self.chance.random() < 0.2:
                return
            pod.granted = grant
            share = PodShare(grant, max(0, pod.open - grant))
            if self.chance.random() < 0.2:
                return
        self.heard[name] = share

    def work(self) -> None:
        """Clients come and go; who has more than it may gives up what comes back."""
        for pod in self.pods.values():
            if not pod.running:
                continue
            limit = pod.limit(self.first)
            if pod.open > limit or pod.leaving:
                pod.open -= self.chance.randint(0, pod.open)
            else:
                pod.open = self.chance.choice((limit, self.chance.randint(0, limit)))

    def control(self, rolling: bool) -> None:
        """One step of the Deployment's controller and of the kubelet."""
        staying = [pod for pod in self.pods.values() if not pod.leaving]
        for name, pod in list(self.pods.items()):
            if pod.leaving and pod.open == 0:
                del self.pods[name]
                self.heard.pop(name, None)
        if len(staying) < self.asked + rolling:
            self.made += 1
            self.pods[f"pod-{self.made}"] = Process()
        elif len(staying) > self.asked and all(pod.running for pod in staying):
            gone = staying[0]
            gone.granted = min(gone.limit(self.first), self.first)
            gone.leaving = True
        for pod in staying:
            pod.running = pod.running or self.chance.random() < 0.5

    def settle(self, rounds: int) -> None:
        for _ in range(rounds):
            self.look()
            for name in list(self.pods):
                self.ask(name)
            self.work()
            self.check()

    def check(self) -> None:
        present = sum(pod.open for pod in self.pods.values())
        assert present <= self.total, (present, self.total, self.pods)


@pytest.mark.parametrize("seed", range(100))
def test_no_history_exceeds_the_total_and_in_the_end_all_is_used(seed: int) -> None:
    chance = random.Random(seed)
    total = chance.choice((8, 20, 21, 60, 120))
    cluster = Cluster(chance, total, wanted=2)

    for _ in range(12):
        cluster.wanted = chance.randint(1, min(7, total - 1))
        cluster.asked = min(cluster.asked, cluster.wanted)
        rolling = chance.random() < 0.5
        for _ in range(8):
            cluster.control(rolling)
            cluster.settle(2)
    for _ in range(60):
        cluster.control(False)
        cluster.settle(2)

    assert len(cluster.pods) == cluster.wanted
    limits = [pod.limit(cluster.first) for pod in cluster.pods.values()]
    assert max(limits) == min(limits)
    assert sum(limits) > total - cluster.first - cluster.wanted, "only rounding is lost beside what is kept aside"
