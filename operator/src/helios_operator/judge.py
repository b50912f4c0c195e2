"""What a HeliosProxy comes to among what it refers to and stands beside. One judgement for reconciler and webhook.

The reconciler asks over the world that its streams have told, the webhook over one that was read for the question.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from helios.kube import Client
from helios_crds import HeliosProxy
from helios_crds.placement import Placement
from helios_crds.problems import Severity
from helios_crds.references import References
from helios_crds.render import RenderResult, discoveries, render, secret_files
from helios_operator.claims import claim_problems, rivals
from helios_operator.discovery import discover
from helios_operator.names import ProxyKey
from helios_operator.references import PolicyReader
from helios_operator.user_secrets import UserSecrets
from helios_operator.world import World

__all__ = ["Judge", "secrets_of"]


class Judge:
    """Judges over one world."""

    def __init__(self, client: Client, world: World, believe: float) -> None:
        """`believe`: seconds until a Secret that is there is read again."""
        self._client = client
        self._world = world
        self._policies = PolicyReader(world)
        self._users = UserSecrets(client, believe)

    async def judge(
        self, key: ProxyKey, resource: HeliosProxy, spec: dict[str, Any], since: str, place: Placement
    ) -> RenderResult:
        """The configuration of `resource`, whose spec as written is `spec`, or what is wrong. `since`: its creation."""
        found = await discover(self._client, self._world, key.namespace, discoveries(resource))
        references = References.among(
            self._policies.policies(key, spec),
            await self._users.keys_of(key.namespace, secrets_of(resource)),
            found.nodes,
            found.missing,
        )
        result = render(resource, references, place)
        others = ((other, self._world.proxy(other)) for other in rivals(key))
        claims = claim_problems(key, resource, since, {other: stored for other, stored in others if stored is not None})
        blocked = any(problem.severity is Severity.ERROR for problem in claims)
        return replace(result, problems=(*claims, *result.problems), config=None if blocked else result.config)

    def doubt(self, namespace: str, secrets: Iterable[str]) -> None:
        """Read these Secrets again next time: something about them was not as wanted."""
        self._users.doubt(namespace, secrets)


def secrets_of(resource: HeliosProxy) -> list[str]:
    """Secrets that it reads."""
    return [file.secret for file in secret_files(resource, References(), Placement())]
