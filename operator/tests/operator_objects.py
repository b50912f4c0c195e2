"""HeliosProxies and children as the API server would give them. Used by the tests of this folder."""

from __future__ import annotations

from typing import Any

from helios.config import ProxyConfig
from helios_crds import HeliosProxy
from helios_crds.parse import parse_as
from helios_crds.references import References
from helios_crds.render import RenderResult, render
from helios_operator.desired import Owner, config_map
from helios_operator.document import ConfigDocument, next_document
from helios_operator.names import ProxyKey
from helios_operator.records import Child, child_of

KEY = ProxyKey("shop", "web")
OWNER = Owner(KEY, "uid-of-web")
NODES = [{"host": "db-0", "port": 5432, "role": "primary"}, {"host": "db-1", "port": 5432}]


def proxy(**spec: Any) -> HeliosProxy:
    """A HeliosProxy named shop/web; trusts its clients unless the spec says otherwise."""
    value = {
        "apiVersion": "helios.heliosproxy.dev/v1alpha1",
        "kind": "HeliosProxy",
        "metadata": {"name": KEY.name, "namespace": KEY.namespace, "uid": OWNER.uid, "generation": 3},
        "spec": {"nodes": NODES, "auth": {"method": "trust"}, **spec},
    }
    return parse_as(HeliosProxy, value)


def rendered(resource: HeliosProxy, references: References | None = None) -> RenderResult:
    """What becomes of it."""
    return render(resource, references or References())


def config_of(**spec: Any) -> ProxyConfig:
    """The configuration of a valid HeliosProxy."""
    config = rendered(proxy(**spec)).config
    assert config is not None
    return config


def document_of(**spec: Any) -> ConfigDocument:
    """Its first document."""
    return next_document(config_of(**spec), None, ())


def stored(value: dict[str, Any], version: int = 10) -> Child:
    """An object as a watch stream shows it after it was written."""
    metadata = {**value["metadata"], "uid": f"uid-of-{value['metadata']['name']}", "resourceVersion": str(version)}
    return child_of({**value, "metadata": metadata})


def stored_config(document: ConfigDocument) -> Child:
    """The ConfigMap that holds a document."""
    return stored(config_map(OWNER, document))
