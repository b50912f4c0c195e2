"""Certificate `<name>`: what cert-manager is asked for, where it is to make the certificate that clients are shown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from helios.kube.kinds import CERTIFICATE
from helios_crds.workload import Workload
from helios_operator.desired.metadata import Owner

__all__ = ["certificate"]


def certificate(owner: Owner, work: Workload) -> dict[str, Any] | None:
    """The Certificate; None where none is asked for. Its key is another one after each renewal."""
    wanted = work.certificate
    if wanted is None:
        return None
    names = (*_service_names(owner.key.name, owner), *_service_names(owner.key.readers, owner), *wanted.dns_names)
    spec = {
        "secretName": owner.key.certificate,
        "dnsNames": list(dict.fromkeys(names)),
        "issuerRef": wanted.issuer_ref.model_dump(),
        "usages": ["server auth", "digital signature", "key encipherment"],
        "privateKey": {"algorithm": "ECDSA", "size": 256, "rotationPolicy": "Always"},
    }
    return {**owner.child(CERTIFICATE, owner.key.name), "spec": spec}


def _service_names(service: str, owner: Owner) -> Iterator[str]:
    """As clients of the namespace and of others know it."""
    yield from (service, f"{service}.{owner.key.namespace}", f"{service}.{owner.key.namespace}.svc")
