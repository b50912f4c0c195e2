"""Patroni's REST API as a source of membership: GET /cluster at whichever member answers. Made by `watch`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp

from helios.topology.membership.provider import Hint, Member, ProviderFailure

__all__ = ["PatroniProvider", "hint_of"]

_SECONDS = 2.0
_LEADERS = ("leader", "standby_leader", "master")
_LEAVING = ("stopping", "restarting")
"""States of a leader that takes no new transactions: it is being switched over or started anew."""
_AHEAD = timedelta(seconds=2)
"""Before a scheduled switchover: Patroni begins up to a second early, and this is asked twice a second."""


class PatroniProvider:
    """One cluster; the first URL that answers is asked first the next time."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._urls = [url.rstrip("/") for url in urls]

    async def look(self) -> Hint:
        """Ask the members one after the other until one answers."""
        causes = []
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_SECONDS)) as session:
            for url in tuple(self._urls):
                try:
                    async with session.get(f"{url}/cluster") as answer:
                        answer.raise_for_status()
                        hint = hint_of(await answer.json(content_type=None), datetime.now(UTC))
                except (TimeoutError, aiohttp.ClientError, ValueError, OSError) as error:
                    causes.append(f"{url}: {str(error) or type(error).__name__}")
                    continue
                self._urls.sort(key=lambda each: each != url)
                return hint
        raise ProviderFailure("; ".join(causes))


def hint_of(document: Any, now: datetime) -> Hint:
    """What /cluster says at this moment. `ValueError` for what is no such document."""
    try:
        listed = [
            (each, Member(str(each["name"]), str(each["host"]), int(each["port"]))) for each in document["members"]
        ]
        scheduled = _moment(document.get("scheduled_switchover"))
    except (AttributeError, TypeError, KeyError, ValueError) as error:
        raise ValueError(f"/cluster is not as Patroni documents it: {error!r}") from error
    leader = next(((each, member) for each, member in listed if each.get("role") in _LEADERS), None)
    members = tuple(member for _, member in listed)
    if leader is None:
        return Hint(members)
    state, name = leader[0].get("state"), leader[1].name
    if state in _LEAVING:
        return Hint(members, name, f"Patroni: {name} is {state}")
    is_due = scheduled is not None and scheduled - now < _AHEAD
    return Hint(members, name, f"Patroni: {name} is about to be switched over" if is_due else None)


def _moment(scheduled: Any) -> datetime | None:
    if scheduled is None:
        return None
    at = datetime.fromisoformat(scheduled["at"])
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)
