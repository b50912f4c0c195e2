"""Pods that come and go while clients are in transactions: the example, its clients, and what they have counted.

Called by the tests of level node; `transactions.py`, the clients' program, runs in a pod.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from harness.installed import CLIENTS, Installed
from harness.wait import until

__all__ = ["COUNT", "assert_undisturbed", "begin", "names", "settle", "under_load", "written"]

COUNT = 50
SETTLE_SECONDS = 120.0
"""Until pods have come or gone: drain and readiness take some seconds for each."""
WORK_SECONDS = 60.0


def begin(shop: Installed) -> Installed:
    """The example with two pods, and the tables of the clients."""
    shop.apply_example()
    until(lambda: shop.psql("select 1"), "the Service answers psql", deadline=60)
    shop.psql("create table written (number bigserial primary key, client int)")
    shop.psql("create table ended ()")
    return shop


def under_load(busy: Installed, change: Callable[[], None]) -> dict[str, Any]:
    """Make a change while all clients work; what they counted."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        counts = pool.submit(busy.python, CLIENTS.read_text(), str(COUNT))
        try:
            until(lambda: written(busy) > COUNT or counts.done(), "the clients are at work", WORK_SECONDS)
            change()
            before = written(busy)
            until(lambda: written(busy) > before + COUNT or counts.done(), "the clients still work", WORK_SECONDS)
        finally:
            busy.psql("insert into ended default values")
        answer = counts.result()
    assert isinstance(answer, dict)
    print(answer)
    return answer


def written(busy: Installed) -> int:
    """Transactions so far."""
    return int(busy.psql("select count(*) from written") or 0)


def names(busy: Installed) -> set[str]:
    """The proxy's pods, those that are leaving too."""
    return {pod["metadata"]["name"] for pod in busy.pods()}


def settle(busy: Installed, pods: int, gone: set[str]) -> None:
    """Wait until there are as many pods, all ready, and none of those that had to go."""

    def settled() -> bool:
        found = names(busy)
        status = busy.get("heliosproxy", "minimal")["status"]
        return len(found) == pods and not found & gone and status.get("readyReplicas") == pods

    until(settled, f"{pods} pods are ready and the others gone", SETTLE_SECONDS)


def assert_undisturbed(busy: Installed, counts: dict[str, Any]) -> None:
    """Nobody saw an exception, and what was committed is there, once."""
    assert counts["errors"] == []
    assert written(busy) == counts["transactions"]
