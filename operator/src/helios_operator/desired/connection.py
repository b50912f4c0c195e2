"""Secret `<name>-connection`: where applications connect, in the forms that drivers take. It holds no password."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

from helios.kube.kinds import SECRET
from helios_crds.v1alpha1.references import CA_KEY
from helios_crds.workload import Workload
from helios_operator.desired.metadata import Owner

__all__ = ["connection_secret"]


def connection_secret(owner: Owner, work: Workload, authority: str | None) -> dict[str, Any]:
    """The Secret for the Services of clients. Who logs in, and whether by TLS, is the application's to say.

    `authority`: who signed the proxy's certificate, as a Secret holds it; None where that is not known.
    """
    told = dict(_places(owner.key.name, owner, work))
    if work.read_port is not None:
        told |= {f"read-only-{name}": value for name, value in _places(owner.key.readers, owner, work)}
    data = {name: base64.b64encode(text.encode()).decode() for name, text in told.items()}
    if authority is not None:
        data[CA_KEY] = authority
    return {**owner.child(SECRET, owner.key.connection), "type": "Opaque", "data": data}


def _places(service: str, owner: Owner, work: Workload) -> Iterator[tuple[str, str]]:
    host = f"{service}.{owner.key.namespace}.svc"
    yield "host", host
    yield "port", str(work.listen_port)
    yield "uri", f"postgresql://{host}:{work.listen_port}/"
    yield "jdbc-uri", f"jdbc:postgresql://{host}:{work.listen_port}/"
