"""Switchovers of somebody else: which clusters of a HeliosProxy take no new transactions meanwhile, and until when.

Asked by the reconciler at each look; the poller tells the pods. A pod goes on by itself as soon as it sees the new
primary, so that what is taken back here is only what was given up. One announcement holds nobody for ever.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from helios_crds.render import Discovery
from helios_operator.names import ProxyKey
from helios_operator.providers import Switch
from helios_operator.world import World

__all__ = ["HOLD_SECONDS", "HoldOrder", "Switchovers"]

HOLD_SECONDS: Final = 30.0
"""Longest pause for one announcement, as where a proxy hears it from Patroni itself."""


@dataclass(frozen=True, slots=True)
class HoldOrder:
    """What the pods are told about one cluster."""

    reason: str
    primary: str | None
    """Name of the node that gives it up."""
    ends: float
    """On the monotonic clock."""


class Switchovers:
    """Remembers since when each is known."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._since: dict[tuple[ProxyKey, str], tuple[Switch, float]] = {}

    def orders(self, key: ProxyKey, discoveries: Iterable[Discovery]) -> dict[str, HoldOrder]:
        """Cluster → what its pods are told, for those that are being switched over."""
        now, orders = time.monotonic(), {}
        for one, switch in self._announced(key, discoveries):
            if switch is None or _seconds_until(switch) > 0:
                self._since.pop((key, one.cluster), None)
                continue
            known, since = self._since.get((key, one.cluster), (switch, now))
            since = since if known == switch else now
            self._since[(key, one.cluster)] = switch, since
            if now - since < HOLD_SECONDS:
                orders[one.cluster] = HoldOrder(_reason(one, switch), switch.primary, since + HOLD_SECONDS)
        return orders

    def next_turn(self, key: ProxyKey, discoveries: Collection[Discovery]) -> float | None:
        """Seconds until another look is needed although nobody says so."""
        turns = [order.ends - time.monotonic() for order in self.orders(key, discoveries).values()]
        for _, switch in self._announced(key, discoveries):
            if switch is not None and (rest := _seconds_until(switch)) > 0:
                turns.append(rest)
        return max(0.0, min(turns)) if turns else None

    def forget(self, key: ProxyKey) -> None:
        """The proxy is gone."""
        self._since = {place: known for place, known in self._since.items() if place[0] != key}

    def _announced(self, key: ProxyKey, discoveries: Iterable[Discovery]) -> Iterator[tuple[Discovery, Switch | None]]:
        """What is known now of each."""
        for one in discoveries:
            place = (key.namespace, one.provider.value, one.name) if one.provider else None
            yield one, None if place is None else self._world.switch(place)


def _seconds_until(switch: Switch) -> float:
    return (switch.at - datetime.now(UTC)).total_seconds() if switch.at is not None else 0.0


def _reason(one: Discovery, switch: Switch) -> str:
    target, primary = switch.target or "another server", switch.primary or "the present one"
    return f"{one.source} makes {target} the primary in the place of {primary}"
