"""Puts the proxy into pods whose label names a HeliosProxy of their namespace; else the pod is refused with the reason.

A pod that was let through without it would start, and never find its database.
"""

from __future__ import annotations

from helios.kube import Client, NotFound
from helios.kube.kinds import CONFIG_MAP
from helios_crds import HeliosProxy, ResourceError
from helios_crds.parse import parse_as
from helios_crds.workload import workload
from helios_operator.admission.review import Json, Verdict
from helios_operator.desired.sidecar import SidecarError, with_sidecar
from helios_operator.document import ConfigDocument, present_document
from helios_operator.names import PROXY, SIDECAR, ProxyKey
from helios_operator.records import child_of, slim
from helios_operator.settings import OperatorSettings

__all__ = ["Injector"]

DECISIVE = ("ReferencesResolved", "BackendsFound", "ConfigValid")
"""Conditions that tell why there is no configuration."""


class Injector:
    """Reviews pods."""

    def __init__(self, client: Client, settings: OperatorSettings) -> None:
        self._client = client
        self._image = settings.image

    async def review(self, asked: Json) -> Verdict:
        """The pod with its sidecar, or why it cannot have one."""
        pod: Json = asked["object"]
        name = (pod["metadata"].get("labels") or {}).get(SIDECAR)
        if not name:
            return Verdict(f"label {SIDECAR} must name a HeliosProxy of this namespace") if name == "" else Verdict()
        key = ProxyKey(asked["namespace"], name)
        try:
            proxy = await self._client.get(PROXY, key.namespace, key.name)
        except NotFound:
            return Verdict(f"label {SIDECAR}: HeliosProxy/{name} does not exist in this namespace")
        try:
            resource = parse_as(HeliosProxy, slim(proxy))
        except ResourceError as error:
            return Verdict(f"HeliosProxy/{name} cannot be read: {error}")
        document = await self._document(key, proxy)
        if document is None:
            return Verdict(f"HeliosProxy/{name} has no configuration yet{_why(proxy)}")
        image = resource.spec.image or self._image
        try:
            spec = with_sidecar(pod, key, workload(resource), document, image)
        except SidecarError as error:
            return Verdict(f"the pod cannot have HeliosProxy/{name} as a sidecar: {error}")
        changed = {field: value for field, value in spec.items() if pod["spec"].get(field) != value}
        return Verdict(patch=tuple({"op": "add", "path": f"/spec/{f}", "value": v} for f, v in changed.items()))

    async def _document(self, key: ProxyKey, proxy: Json) -> ConfigDocument | None:
        """What the operator has written for this very HeliosProxy."""
        try:
            found = child_of(await self._client.get(CONFIG_MAP, key.namespace, key.config_map))
        except NotFound:
            return None
        return present_document(found) if found.owner == proxy["metadata"]["uid"] else None


def _why(proxy: Json) -> str:
    conditions = (proxy.get("status") or {}).get("conditions") or ()
    wrong = [each["message"] for each in conditions if each["type"] in DECISIVE and each["status"] == "False"]
    return f": {wrong[0]}" if wrong else ""
