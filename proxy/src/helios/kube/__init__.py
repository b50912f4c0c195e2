"""The one small client for the Kubernetes API: asynchronous, plain JSON in and out. Used by the operator and the proxy.

`access` (in a pod) and `kubeconfig` (from outside) say where and as whom, `client` sends, `watch` follows, `lease`
elects, `errors` is what they raise. Reading a kubeconfig needs PyYAML, which a proxy does not carry; hence it is
imported by name only.
"""

from helios.kube.access import Access, in_cluster
from helios.kube.client import Client
from helios.kube.errors import (
    AlreadyExists,
    ApiError,
    Conflict,
    Forbidden,
    Invalid,
    KubeAccessError,
    KubeError,
    NotFound,
    ServerUnreachable,
    Unauthorized,
)
from helios.kube.kinds import Kind
from helios.kube.lease import Lease, LeaseTimes
from helios.kube.watch import Watch

__all__ = [
    "Access",
    "AlreadyExists",
    "ApiError",
    "Client",
    "Conflict",
    "Forbidden",
    "Invalid",
    "Kind",
    "KubeAccessError",
    "KubeError",
    "Lease",
    "LeaseTimes",
    "NotFound",
    "ServerUnreachable",
    "Unauthorized",
    "Watch",
    "in_cluster",
]
