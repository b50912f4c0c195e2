"""A proxy's pod whose container is a process of this machine, for clusters without a kubelet. Used by e2e/kubernetes.

The process runs the document of the ConfigMap with the files of its Secrets at the paths where a pod has them, in a
mount namespace of its own; the Pod object says that it runs on loopback, where the operator speaks with it.
"""

from __future__ import annotations

import base64
import json
import shutil
import ssl
import subprocess
import sys
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from harness.proxy import HeliosProcess
from harness.resources import Shop

__all__ = ["LocalPod", "can_mount"]

FOLDER: Final = "heliosproxy"
"""Below /etc."""
ENTER: Final = 'mount --make-rprivate / && mount --bind "$0" /etc && exec "$@"'
CONTAINER: Final = "proxy"


def can_mount() -> bool:
    """Whether this machine lets us have a mount namespace."""
    return subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode == 0


class LocalPod:
    """One pod of HeliosProxy `name`, which must be deployed and listen on ports that are free here."""

    def __init__(self, shop: Shop, folder: Path, name: str = "web") -> None:
        self._shop = shop
        self.name = f"{name}-local"
        shutil.copytree("/etc", folder / "etc", symlinks=True, ignore_dangling_symlinks=True)
        self._files = folder / "etc" / FOLDER
        self.token = self._mount(f"{name}-admin", self._files / "admin")["token"].split()[0]
        document = shop.document(name)
        for volume in shop.get("deployment", name)["spec"]["template"]["spec"]["volumes"]:
            secret = volume.get("secret", {}).get("secretName")
            if secret and secret != f"{name}-admin":
                self._mount(secret, self._files / "secrets" / secret)
        program = ["unshare", "--mount", "sh", "-c", ENTER, str(folder / "etc"), sys.executable, "-m", "helios"]
        self.process = HeliosProcess(folder, document, program=program)
        self._announce(name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if error:
            print(self.process.log()[-6000:])
        self.process.kill() if error else self.process.stop()

    def json(self, path: str) -> Any:
        """What its admin API answers. Its certificate is for a name in the cluster."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        request = urllib.request.Request(self.process.admin + path, headers={"Authorization": f"Bearer {self.token}"})
        with urllib.request.urlopen(request, timeout=5, context=context) as answer:
            return json.loads(answer.read())

    def _mount(self, secret: str, folder: Path) -> dict[str, str]:
        """As the kubelet does; the values as text."""
        folder.mkdir(parents=True)
        values = {key: base64.b64decode(value) for key, value in self._shop.get("secret", secret)["data"].items()}
        for key, value in values.items():
            (folder / key).write_bytes(value)
        return {key: value.decode(errors="replace") for key, value in values.items()}

    def _announce(self, name: str) -> None:
        """The Pod object, and its status as the kubelet reports it."""
        template = self._shop.get("deployment", name)["spec"]["template"]
        container = {"name": CONTAINER, "image": template["spec"]["containers"][0]["image"]}
        metadata = {"name": self.name, "labels": template["metadata"]["labels"]}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container]}}
        self._shop.kubectl("apply", "-f", "-", input=json.dumps(pod))
        state = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
        told = {**container, "imageID": "", "ready": True, "restartCount": 0, "started": True, "state": state}
        status = {
            "phase": "Running",
            "podIP": "127.0.0.1",
            "podIPs": [{"ip": "127.0.0.1"}],
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [told],
        }
        self._shop.kubectl("patch", "pod", self.name, "--subresource=status", "-p", json.dumps({"status": status}))
