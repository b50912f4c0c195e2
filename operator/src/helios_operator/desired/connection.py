"""Secret `<name>-connection`: where applications connect, in the forms that drivers take. It holds no password."""

from __future__ import annotations

import base64
from typing import Any

from helios.kube.kinds import SECRET
from helios_crds.workload import Workload
from helios_operator.desired.metadata import Owner

__all__ = ["connection_secret"]


def connection_secret(owner: Owner, work: Workload) -> dict[str, Any]:
    """The Secret for the Service of clients. Who logs in, and whether by TLS, is the application's to say."""
    host = f"{owner.key.name}.{owner.key.namespace}.svc"
    content = {
        "host": host,
        "port": str(work.listen_port),
        "uri": f"postgresql://{host}:{work.listen_port}/",
        "jdbc-uri": f"jdbc:postgresql://{host}:{work.listen_port}/",
    }
    data = {name: base64.b64encode(text.encode()).decode() for name, text in content.items()}
    return {**owner.child(SECRET, owner.key.connection), "type": "Opaque", "data": data}
