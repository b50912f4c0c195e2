"""Other projects' kinds in a cluster of the tests: installed and removed as their users do. Used by e2e/kubernetes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from cluster import Cluster
from harness.operator import ROOT, established
from harness.wait import until
from helios_make.foreign import CERT_MANAGER, CLOUDNATIVE_PG, PROMETHEUS, ZALANDO, ensure_crds
from helios_make.places import find_places

__all__ = ["CERTIFICATES", "CLUSTERS", "MONITORING", "install_kinds", "remove_kinds"]

MONITORING = tuple(
    f"{plural}.monitoring.coreos.com" for plural in ("podmonitors", "servicemonitors", "prometheusrules")
)
"""Of the Prometheus operator, what Helios makes objects of."""
CERTIFICATES = ("certificates.cert-manager.io",)
"""By which cert-manager is asked for one."""
CLUSTERS = (
    "clusters.postgresql.cnpg.io",
    "postgresqls.acid.zalan.do",
    "postgresclusters.postgres-operator.crunchydata.com",
)
"""By which CloudNativePG, Zalando's operator and Crunchy's are told of a cluster."""
SECONDS = 60


def install_kinds(cluster: Cluster, kinds: Iterable[str] = MONITORING) -> None:
    """Apply their definitions; returns when they are served."""
    wanted = set(kinds)
    for kind in sorted(wanted):
        cluster.kubectl("apply", "--server-side", "-f", str(_file(kind)))
    until(lambda: wanted <= established(cluster), "the kinds are served", SECONDS)


def remove_kinds(cluster: Cluster, kinds: Iterable[str] = MONITORING) -> None:
    """They go, with every object of theirs; returns when they are gone."""
    names = [f"crd/{kind}" for kind in kinds]
    cluster.kubectl("delete", *names, "--ignore-not-found", "--wait=false")

    def gone() -> bool:
        present = cluster.kubectl("get", "crd", "-o", "name").split()
        return not any(name.endswith(f"/{kind}") for name in present for kind in kinds)

    until(gone, "the kinds are gone", SECONDS)


def _file(kind: str) -> Path:
    """Crunchy's is not to be had as a Go module, so that a trimmed one stands in for it."""
    plural, _, group = kind.partition(".")
    match group:
        case "monitoring.coreos.com":
            return ensure_crds(find_places(), PROMETHEUS) / f"{group}_{plural}.yaml"
        case "postgresql.cnpg.io":
            return ensure_crds(find_places(), CLOUDNATIVE_PG) / f"{group}_{plural}.yaml"
        case "cert-manager.io":
            return ensure_crds(find_places(), CERT_MANAGER) / f"{group}_{plural}.yaml"
        case "acid.zalan.do":
            return ensure_crds(find_places(), ZALANDO) / "postgresql.crd.yaml"
        case _:
            return ROOT / "e2e" / "kubernetes" / "foreign" / f"{group}_{plural}.yaml"
