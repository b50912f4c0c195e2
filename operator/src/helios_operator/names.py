"""Names, labels and annotations of what the operator makes. Read by the builders, the watcher and the tests."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from helios.kube import Kind
from helios_crds import GROUP, KINDS, VERSION
from helios_crds.placement import CERTIFICATE_SUFFIX, LEASE_SUFFIX, PEERS_SUFFIX, READERS_SUFFIX

__all__ = [
    "APPLIED",
    "AUTOSCALED",
    "CERTIFICATE_ENDS",
    "COMPONENT",
    "CONFIG_FOLDER",
    "CONFIG_KEY",
    "CUSTOM",
    "EXPIRY_NOTICE",
    "GENERATION",
    "GROUP_KIND",
    "HOLD",
    "INSTANCE",
    "MANAGED_BY",
    "MANAGED_SELECTOR",
    "MANAGER",
    "OPERATOR",
    "POLICIES",
    "PROXY",
    "PROXY_CONTAINER",
    "REPLICAS_MANAGER",
    "RESTART",
    "ROTATE",
    "ROTATED",
    "SIDECAR",
    "SIDECAR_CONTAINER",
    "STATUS_MANAGER",
    "WEBHOOKS",
    "WEBHOOK_MANAGER",
    "ProxyKey",
    "labels_of",
    "pod_labels",
    "selector_text",
]

OPERATOR: Final = "helios-operator"
MANAGER: Final = OPERATOR
"""Field manager of every child."""
REPLICAS_MANAGER: Final = "helios-operator-replicas"
"""Field manager of the number of pods from the moment we give it up until an autoscaler writes it: a field that nobody
owns would fall back to one."""
STATUS_MANAGER: Final = "helios-operator-status"
"""Field manager of every status."""
WEBHOOK_MANAGER: Final = "helios-operator-webhook"
"""Field manager of the webhooks' certificate, and of where the API server finds it."""
WEBHOOKS: Final = "helios-operator-webhook"
"""Name of both webhook configurations, of their Service, and of the Secret with their certificate."""

NAME: Final = "app.kubernetes.io/name"
INSTANCE: Final = "app.kubernetes.io/instance"
MANAGED_BY: Final = "app.kubernetes.io/managed-by"
COMPONENT: Final = "app.kubernetes.io/component"
"""Label of the Services: which of a proxy's it is."""
APPLICATION: Final = "heliosproxy"
MANAGED_SELECTOR: Final = f"{MANAGED_BY}={OPERATOR}"

APPLIED: Final = f"{GROUP}/applied"
"""Annotation of a child: hash of what was applied, so that a pass without changes writes nothing."""
GENERATION: Final = f"{GROUP}/config-generation"
"""Annotation of ConfigMap and Deployment: the generation of the document, kept where the other is lost."""
AUTOSCALED: Final = f"{GROUP}/autoscaled"
"""Annotation of a Deployment whose number of pods is no longer ours to say."""
RESTART: Final = f"{GROUP}/restart"
"""Annotation of the pod template: hash over the settings that only a start of the process applies."""
HOLD: Final = f"{GROUP}/hold"
"""Annotation that `kubectl helios pause` puts on a HeliosProxy: who has its clients wait, and until when."""
ROTATE: Final = f"{GROUP}/rotate-admin"
"""Annotation that a user puts on a HeliosProxy; a new value makes a new admin token and certificate."""
ROTATED: Final = f"{GROUP}/rotated-at"
"""Annotation of the admin Secret: when the token before the present one was replaced."""

SIDECAR: Final = f"{GROUP}/sidecar"
"""Label of an application's pod that is to have a proxy in it; the value is the HeliosProxy's name."""
SIDECAR_CONTAINER: Final = "helios-proxy"
"""Name of the container there."""
EXPIRY_NOTICE: Final = timedelta(days=7)
"""How long before its end a certificate of the webhooks that is not renewed is told of."""
CERTIFICATE_ENDS: Final = "helios_operator_webhook_certificate_expiry_timestamp_seconds"
"""Figure of the operator that an alert looks at."""
PROXY_CONTAINER: Final = "proxy"
"""Name of the container in a proxy's pod."""
CONFIG_KEY: Final = "helios.toml"
CONFIG_FOLDER: Final = "/etc/heliosproxy"

CUSTOM: Final = {name: Kind(f"{GROUP}/{VERSION}", model.names.plural, name) for name, model in KINDS.items()}
"""Our own kinds by name."""
PROXY: Final = CUSTOM["HeliosProxy"]
GROUP_KIND: Final = f"{PROXY.plural}.{GROUP}"
"""HeliosProxies as kubectl is asked for them."""
POLICIES: Final = tuple(kind for kind in CUSTOM.values() if kind is not PROXY)
"""What HeliosProxies refer to."""


@dataclass(frozen=True, slots=True, order=True)
class ProxyKey:
    """Which HeliosProxy, and what its children are called."""

    namespace: str
    name: str

    @property
    def config_map(self) -> str:
        """ConfigMap with the document."""
        return f"{self.name}-config"

    @property
    def admin(self) -> str:
        """Secret with token and certificate of the admin API, and the Service that leads to it."""
        return f"{self.name}-admin"

    @property
    def connection(self) -> str:
        """Secret that tells applications where to connect."""
        return f"{self.name}-connection"

    @property
    def certificate(self) -> str:
        """Secret with the certificate that cert-manager makes."""
        return f"{self.name}{CERTIFICATE_SUFFIX}"

    @property
    def peers(self) -> str:
        """Headless Service over all pods, ready or not."""
        return f"{self.name}{PEERS_SUFFIX}"

    @property
    def readers(self) -> str:
        """Service that leads to standbys, where there is one."""
        return f"{self.name}{READERS_SUFFIX}"

    @property
    def lease(self) -> str:
        """Lease that is the pods' right to promote a standby."""
        return f"{self.name}{LEASE_SUFFIX}"

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


def pod_labels(key: ProxyKey) -> dict[str, str]:
    """What selects the pods of one proxy; it can never change, for a Deployment's selector cannot."""
    return {NAME: APPLICATION, INSTANCE: key.name}


def labels_of(key: ProxyKey) -> dict[str, str]:
    """Labels of every child and every pod."""
    return {**pod_labels(key), MANAGED_BY: OPERATOR}


def selector_text(key: ProxyKey) -> str:
    """The pods' selector as the scale subresource wants it."""
    return ",".join(f"{name}={value}" for name, value in pod_labels(key).items())
