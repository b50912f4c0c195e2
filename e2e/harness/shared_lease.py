"""What proxies of a test share as their right to promote: the lock of a file, or a Lease of a real API server.

Called by the failover tests; a `PodsLease` is what the operator has made for a HeliosProxy, with its pods' rights.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from yarl import URL

from harness.operator import OperatorProcess
from harness.proxy import Settings
from harness.resources import Shop

__all__ = ["LeaseToShare", "PodsLease", "file_lease", "identity"]

NAME = "web"
LEASE = f"{NAME}-failover"


@dataclass(frozen=True)
class LeaseToShare:
    """What `[failover]` of each proxy says of it, and what its process is told."""

    failover: Mapping[str, Any]
    environment: Mapping[str, str] = field(default_factory=dict)

    def put_into(self, settings: Settings) -> None:
        """Have a proxy share this one."""
        kept = {key: value for key, value in settings["failover"].items() if key != "lease_file"}
        settings["failover"] = {**kept, **self.failover}


def file_lease(folder: Path) -> LeaseToShare:
    """Of all proxies that name the same folder."""
    return LeaseToShare({"lease_file": str(folder / "lease")})


def identity(shop: Shop, account: str, folder: Path) -> tuple[Path, dict[str, str]]:
    """What Kubernetes mounts into a pod with this ServiceAccount, and tells it."""
    folder.mkdir()
    document = yaml.safe_load(shop.kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "yaml"))
    server = document["clusters"][0]["cluster"]
    (folder / "ca.crt").write_bytes(base64.b64decode(server["certificate-authority-data"]))
    (folder / "namespace").write_text(shop.namespace)
    (folder / "token").write_text(shop.kubectl("create", "token", account).strip())
    url = URL(server["server"])
    return folder, {"KUBERNETES_SERVICE_HOST": str(url.host), "KUBERNETES_SERVICE_PORT": str(url.port)}


class PodsLease:
    """Made once by an operator that ends then; each test begins with the Lease as that left it."""

    def __init__(self, shop: Shop, kubeconfig: Path, folder: Path) -> None:
        self._shop = shop
        with OperatorProcess(kubeconfig, folder) as operator:
            operator.wait_leading()
            shop.proxy(NAME, failover={"enabled": True})
            shop.await_deployed(NAME, 60)
        made = shop.get("lease", LEASE)
        metadata = {key: made["metadata"][key] for key in ("name", "labels", "ownerReferences")}
        self._empty = {key: made[key] for key in ("apiVersion", "kind")} | {"metadata": metadata}
        account, self._environment = identity(shop, NAME, folder / "identity")
        self._failover = {"lease_name": LEASE, "service_account_dir": str(account)}

    def fresh(self) -> LeaseToShare:
        """Nobody has decided anything."""
        self._shop.kubectl("delete", "lease", LEASE)
        self._shop.kubectl("create", "-f", "-", input=json.dumps(self._empty))
        return LeaseToShare(self._failover, self._environment)
