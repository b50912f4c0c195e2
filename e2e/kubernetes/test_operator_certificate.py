"""The certificate that clients are shown, made by cert-manager: its real kind, and a Secret as it would make it."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster import Cluster, KubectlError
from harness.certificates import Authority
from harness.foreign import CERTIFICATES, install_kinds, remove_kinds
from harness.resources import Shop

WANTED: dict[str, Any] = {"issuerRef": {"name": "authority", "kind": "ClusterIssuer"}, "dnsNames": ["db.example.com"]}


@pytest.fixture
def shop(installed: Cluster, namespace: str) -> Iterator[Shop]:
    """A cluster without cert-manager, before and after."""
    remove_kinds(installed, CERTIFICATES)
    yield Shop(installed, namespace)
    remove_kinds(installed, CERTIFICATES)


@pytest.mark.usefixtures("operator")
def test_applications_are_told_of_another_authority_and_of_a_secret_that_is_gone(shop: Shop, tmp_path: Path) -> None:
    """Nobody announces that a Secret changes: it is asked about, within half a minute."""
    first, second = Authority(tmp_path / "first"), Authority(tmp_path / "second")
    show(shop, first)
    shop.proxy(tls={"mode": "require", "secretRef": {"name": "shown"}})
    shop.until(lambda: told_authority(shop) == first.cert.read_bytes(), "it is told who signed", 30)
    before = shop.get("deployment", "web")["metadata"]["generation"]

    changed = time.monotonic()
    show(shop, second)
    shop.until(lambda: told_authority(shop) == second.cert.read_bytes(), "it is told who signs now", 60)
    print(f"told after {time.monotonic() - changed:.1f} s")

    shop.kubectl("delete", "secret", "shown")
    assert "shown" in shop.await_condition("web", "ReferencesResolved", "False", "RefMissing", 60)
    assert shop.get("deployment", "web")["metadata"]["generation"] == before, "the pods stay as they are"


def show(shop: Shop, authority: Authority) -> None:
    """The Secret with the certificate that clients are shown, signed by this one."""
    made = authority.sign("web", f"DNS:web.{shop.namespace}.svc")
    files = {"tls.crt": made.cert, "tls.key": made.key, "ca.crt": authority.cert}
    content = [f"--from-file={key}={file}" for key, file in files.items()]
    text = shop.kubectl("create", "secret", "generic", "shown", *content, "--dry-run=client", "-o", "yaml")
    shop.kubectl("apply", "--server-side", "-f", "-", input=text)


def told_authority(shop: Shop) -> bytes:
    """`ca.crt` of what applications are told."""
    found = shop.find("secret", "web-connection") or {}
    return base64.b64decode(found.get("data", {}).get("ca.crt", ""))


@pytest.mark.usefixtures("discovering_operator")
def test_pods_are_made_once_cert_manager_has_made_the_certificate(shop: Shop, tmp_path: Path) -> None:
    shop.proxy(tls={"mode": "require", "certificate": WANTED})
    told = shop.await_condition("web", "TLSReady", "False", "KindNotServed")
    assert "no Certificate of cert-manager's" in told

    install_kinds(shop.cluster, CERTIFICATES)
    shop.until(lambda: shop.find("certificate", "web"), "it is asked for", 30)
    asked = shop.get("certificate", "web")["spec"]
    assert asked["secretName"] == "web-tls"
    assert asked["issuerRef"] == {**WANTED["issuerRef"], "group": "cert-manager.io"}
    ends = ("", f".{shop.namespace}", f".{shop.namespace}.svc")
    assert asked["dnsNames"] == [*(f"{name}{end}" for name in ("web", "web-ro") for end in ends), "db.example.com"]
    shop.await_condition("web", "TLSReady", "False", "CertificatePending", 30)
    said = {"type": "Ready", "status": "False", "reason": "Pending", "message": "issuer authority is not ready"}
    patch = json.dumps({"status": {"conditions": [said]}})
    shop.kubectl("patch", "certificate", "web", "--subresource=status", "--type=merge", "-p", patch)
    shop.until(lambda: said["message"] in shop.conditions()["TLSReady"][2], "what it says is passed on", 30)
    assert shop.find("deployment", "web") is None
    assert "Stalled" not in shop.conditions()

    authority = Authority(tmp_path)
    made = authority.sign("web", f"DNS:web.{shop.namespace}.svc")
    files = {"tls.crt": made.cert, "tls.key": made.key, "ca.crt": authority.cert}
    content = [f"--from-file={key}={file}" for key, file in files.items()]
    shop.kubectl("create", "secret", "generic", "web-tls", *content)
    shop.until(lambda: shop.find("deployment", "web"), "there are pods", 30)
    shop.await_condition("web", "TLSReady", "True", "Issued", 30)
    assert 'cert_file = "/etc/heliosproxy/secrets/web-tls/tls.crt"' in shop.document()
    connection = shop.get("secret", "web-connection")["data"]
    assert base64.b64decode(connection["ca.crt"]) == authority.cert.read_bytes()

    # Whom else it is for may change while they run; it goes when it is not wanted any more.
    shop.proxy(tls={"mode": "require", "certificate": {**WANTED, "dnsNames": ["other.example.com"]}})
    shop.until(lambda: "other.example.com" in shop.get("certificate", "web")["spec"]["dnsNames"], "it follows", 30)
    shop.proxy(tls={"mode": "require", "secretRef": {"name": "web-tls"}})
    shop.until(lambda: shop.find("certificate", "web") is None, "cert-manager is asked for nothing any more", 30)
    shop.until(lambda: "TLSReady" not in shop.conditions(), "and nothing is told of it", 30)
    with pytest.raises(KubectlError, match="exclude each other"):
        shop.proxy(tls={"certificate": WANTED, "secretRef": {"name": "web-tls"}})
