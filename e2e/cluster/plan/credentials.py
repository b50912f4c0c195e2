"""Certificates and kubeconfigs of one cluster: a CA of its own, one key pair for each party, nothing reused.

Called by the levels; `credentials` hands on file name → content, to be written into the cluster's folder.
"""

from __future__ import annotations

import base64
import ipaddress
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from cluster.plan.addresses import ApiAddresses

__all__ = ["ADMIN_KUBECONFIG", "credentials", "kubeconfig"]

ADMIN_KUBECONFIG = "admin.kubeconfig"
LIFETIME = timedelta(days=30)
"""A cluster of `make cluster` may be kept for a while."""

CLIENTS = {
    "admin": ("admin", "system:masters"),
    "kube-controller-manager": ("system:kube-controller-manager", None),
    "kube-scheduler": ("system:kube-scheduler", None),
    "kube-proxy": ("system:kube-proxy", None),
    "coredns": ("system:serviceaccount:kube-system:coredns", None),
}
"""Who gets a kubeconfig: name → user and group."""


@dataclass(frozen=True)
class Party:
    """A key and the certificate for it."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def key_pem(self) -> bytes:
        """The private key."""
        return pem_of(self.key)

    @property
    def certificate_pem(self) -> bytes:
        """The certificate."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)


def credentials(api: ApiAddresses, node: tuple[str, str] | None) -> dict[str, bytes]:
    """Every file that holds a key, a certificate or both.

    Args:
        api: where the API server is.
        node: the node's name and address, or None for a cluster without nodes.
    """
    authority = make_authority()
    files = {"ca.crt": authority.certificate_pem, "ca.key": authority.key_pem}
    accounts = ec.generate_private_key(ec.SECP256R1())
    files["service-accounts.key"] = pem_of(accounts)
    names = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"]
    addresses = ["127.0.0.1", api.host, api.kubernetes_service]
    server = issue(authority, "kube-apiserver", None, [*names, f"{names[-1]}.cluster.local"], addresses)
    files |= {"apiserver.crt": server.certificate_pem, "apiserver.key": server.key_pem}
    clients = dict(CLIENTS)
    if node is not None:
        name, address = node
        clients["kubelet"] = (f"system:node:{name}", "system:nodes")
        kubelet = issue(authority, name, None, [name], [address])
        files |= {"kubelet.crt": kubelet.certificate_pem, "kubelet.key": kubelet.key_pem}
        caller = issue(authority, "apiserver-kubelet-client", "system:masters")
        files |= {"apiserver-kubelet.crt": caller.certificate_pem, "apiserver-kubelet.key": caller.key_pem}
    for name, (user, group) in clients.items():
        party = issue(authority, user, group)
        files[f"{name}.kubeconfig"] = kubeconfig(
            api.server, authority.certificate_pem, party.certificate_pem, party.key_pem
        )
    return files


def kubeconfig(server: str, authority: bytes, certificate: bytes, key: bytes) -> bytes:
    """A kubeconfig of one context that holds everything, so it works wherever it is copied."""

    def inline(data: bytes) -> str:
        return base64.b64encode(data).decode("ascii")

    user = {"client-certificate-data": inline(certificate), "client-key-data": inline(key)}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "helios",
        "contexts": [{"name": "helios", "context": {"cluster": "helios", "user": "helios"}}],
        "clusters": [
            {"name": "helios", "cluster": {"server": server, "certificate-authority-data": inline(authority)}}
        ],
        "users": [{"name": "helios", "user": user}],
    }
    return json.dumps(document, indent=1).encode() + b"\n"


def pem_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A private key in the older form: in that one, Kubernetes finds the public half of the accounts' key as well."""
    plain = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, plain)


def make_authority() -> Party:
    """The cluster's own CA."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "helios-test-ca")])
    builder = certificate_for(key, name, name)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    return Party(key, builder.sign(key, hashes.SHA256()))


def issue(
    authority: Party, user: str, group: str | None, names: list[str] | None = None, addresses: list[str] | None = None
) -> Party:
    """A client's certificate for a user and group; a server's when names are given."""
    key = ec.generate_private_key(ec.SECP256R1())
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, user)]
    if group is not None:
        attributes.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, group))
    builder = certificate_for(key, x509.Name(attributes), authority.certificate.subject)
    usage: ObjectIdentifier = ExtendedKeyUsageOID.CLIENT_AUTH
    if names:
        usage = ExtendedKeyUsageOID.SERVER_AUTH
        hosts: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
        hosts += [x509.IPAddress(ipaddress.ip_address(address)) for address in dict.fromkeys(addresses or [])]
        builder = builder.add_extension(x509.SubjectAlternativeName(hosts), critical=False)
    builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key())
    builder = builder.add_extension(identifier, critical=False)
    return Party(key, builder.sign(authority.key, hashes.SHA256()))


def certificate_for(key: ec.EllipticCurvePrivateKey, subject: x509.Name, issuer: x509.Name) -> x509.CertificateBuilder:
    """What all certificates have in common. They are valid from an hour ago: clocks differ."""
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    return builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + LIFETIME)
