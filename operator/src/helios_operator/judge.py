"""What a HeliosProxy comes to among what it refers to and stands beside. One judgement for reconciler and webhook.

The reconciler asks over the world that its streams have told, the webhook over one that was read for the question.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from helios.kube import Client
from helios_crds import HeliosProxy
from helios_crds.placement import Placement
from helios_crds.problems import Severity
from helios_crds.quotas import Claim, claim_of, divide_clients
from helios_crds.references import References
from helios_crds.render import RenderResult, certificate_secret, discoveries, render, secret_files
from helios_operator.claims import claim_problems, rivals
from helios_operator.discovery import discover
from helios_operator.names import ProxyKey
from helios_operator.references import PolicyReader
from helios_operator.scaling import scaling_problems
from helios_operator.user_secrets import UserSecrets
from helios_operator.world import World

__all__ = ["Judge", "Written", "secrets_of"]


@dataclass(frozen=True, slots=True)
class Written:
    """A HeliosProxy as the API server has it, or is about to."""

    spec: dict[str, Any]
    since: str = ""
    """When it was created; empty for one that is about to be."""
    uid: str | None = None
    """None for one that is about to be."""


class Judge:
    """Judges over one world."""

    def __init__(self, client: Client, world: World, believe: float) -> None:
        """`believe`: seconds until a Secret that is there is read again."""
        self._client = client
        self._world = world
        self._policies = PolicyReader(world)
        self._users = UserSecrets(client, believe)

    async def judge(self, key: ProxyKey, resource: HeliosProxy, written: Written, place: Placement) -> RenderResult:
        """The configuration of `resource`, which stands in the API server as `written`, or what is wrong."""
        spec = written.spec
        found = await discover(self._client, self._world, key.namespace, discoveries(resource))
        references = References.among(
            self._policies.policies(key, spec),
            await self._users.keys_of(key, secrets_of(resource)),
            found.nodes,
            found.missing,
        )
        shares = self._client_shares(key, written, references)
        result = render(resource, replace(references, client_shares=shares), place)
        known = ((other, self._world.proxy(other)) for other in rivals(key))
        others = {other: stored for other, stored in known if stored is not None}
        beside = (
            *claim_problems(key, resource, written.since, others),
            *scaling_problems(key, written.uid, resource, self._world.scalers(key.namespace)),
        )
        blocked = any(problem.severity is Severity.ERROR for problem in beside)
        return replace(result, problems=(*beside, *result.problems), config=None if blocked else result.config)

    async def authority(self, namespace: str, resource: HeliosProxy) -> str | None:
        """Who signed the certificate that clients are shown, as its Secret holds it; None where it does not say."""
        shown = certificate_secret(resource)
        return None if shown is None else await self._users.authority(namespace, shown.secret)

    def _client_shares(self, key: ProxyKey, written: Written, references: References) -> dict[str, int]:
        """Clients that each of its pods may have, by the name of a quota that there is room in."""
        shares: dict[str, int] = {}
        for name, quota in references.tenant_quotas.items():
            if (total := quota.spec.max_concurrent_connections) is None:
                continue
            sharing = self._world.proxies_of(key.namespace, quota.kind, name)
            others = [(other, self._world.proxy(other)) for other in sharing if other != key]
            claims = [
                self._claim(other, seen.value["spec"], seen.created) for other, seen in others if seen is not None
            ]
            divided = divide_clients(total, [self._claim(key, written.spec, written.since), *claims])
            if key.name in divided:
                shares[name] = divided[key.name]
        return shares

    def _claim(self, key: ProxyKey, spec: dict[str, Any], since: str) -> Claim:
        return claim_of(key.name, spec, since, self._world.settled_pods(key))

    def doubt(self, namespace: str, secrets: Iterable[str]) -> None:
        """Read these Secrets again next time: something about them was not as wanted."""
        self._users.doubt(namespace, secrets)

    async def changed_secrets(self) -> set[ProxyKey]:
        """HeliosProxies that read a Secret which is not what it was. Raises ServerUnreachable."""
        return await self._users.changed()

    def forget(self, key: ProxyKey) -> None:
        """The HeliosProxy is gone."""
        self._users.forget(key)


def secrets_of(resource: HeliosProxy) -> list[str]:
    """Secrets that it reads."""
    return [file.secret for file in secret_files(resource, References(), Placement())]
