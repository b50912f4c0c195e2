"""How long the proxies hold for a switchover of somebody else: from its announcement, at most half a minute."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from helios.config import Provider
from helios.kube.kinds import ENDPOINTS
from helios_crds.render import Discovery
from helios_operator import switchovers
from helios_operator.names import ProxyKey
from helios_operator.providers import Announced, Switch
from helios_operator.switchovers import Switchovers
from helios_operator.world import World

KEY = ProxyKey("shop", "web")
FOUND = [Discovery("main", "pg", Provider.ZALANDO), Discovery("other", "other-backends")]


def announce(world: World, switch: Switch | None) -> None:
    place = ("shop", Provider.ZALANDO.value, "pg")
    world.seen_announced[(ENDPOINTS, "spilo")] = {place: {"pg-failover": Announced(switch)}}


@pytest.fixture
def world() -> World:
    made = World()
    announce(made, None)
    return made


def test_the_pods_are_told_as_long_as_it_is_announced(world: World) -> None:
    asked = Switchovers(world)
    assert asked.orders(KEY, FOUND) == {}
    assert asked.next_turn(KEY, FOUND) is None

    announce(world, Switch("pg-0", "pg-1"))

    (order,) = asked.orders(KEY, FOUND).values()
    assert order.reason == "Zalando's postgresql/pg makes pg-1 the primary in the place of pg-0"
    assert order.primary == "pg-0"
    assert asked.orders(KEY, FOUND) == {"main": order}, "the same each time, so that nobody is told twice"
    assert 0 < (asked.next_turn(KEY, FOUND) or 0) <= switchovers.HOLD_SECONDS
    announce(world, None)
    assert asked.orders(KEY, FOUND) == {}


def test_one_that_takes_too_long_stops_nobody_for_ever(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Switchovers(world)
    now = 1000.0
    monkeypatch.setattr("helios_operator.switchovers.time.monotonic", lambda: now)
    announce(world, Switch("pg-0", None))
    assert "another server" in asked.orders(KEY, FOUND)["main"].reason

    now += switchovers.HOLD_SECONDS

    assert asked.orders(KEY, FOUND) == {}
    announce(world, Switch("pg-0", "pg-1"))
    assert asked.orders(KEY, FOUND)["main"].ends == now + switchovers.HOLD_SECONDS, "what is new counts from now"


def test_a_scheduled_one_holds_from_its_time_on(world: World) -> None:
    asked = Switchovers(world)
    announce(world, Switch("pg-0", None, datetime.now(UTC) + timedelta(hours=1)))

    assert asked.orders(KEY, FOUND) == {}
    assert 3500 < (asked.next_turn(KEY, FOUND) or 0) <= 3600
    announce(world, Switch("pg-0", None, datetime.now(UTC) - timedelta(seconds=1)))
    assert list(asked.orders(KEY, FOUND)) == ["main"]
