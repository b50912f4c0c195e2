"""Other projects' kinds in a cluster of the tests: installed and removed as their users do. Used by e2e/kubernetes."""

from __future__ import annotations

from pathlib import Path

from cluster import Cluster
from harness.operator import established
from harness.wait import until
from helios_make.foreign import PROMETHEUS, ensure_crds
from helios_make.places import find_places

__all__ = ["MONITORING", "install_kinds", "remove_kinds"]

MONITORING = ("podmonitors", "servicemonitors", "prometheusrules")
GROUP = "monitoring.coreos.com"
SECONDS = 60


def install_kinds(cluster: Cluster) -> None:
    """The kinds of the Prometheus operator that Helios makes objects of; returns when they are served."""
    for file in _files():
        cluster.kubectl("apply", "--server-side", "-f", str(file))
    names = {f"{plural}.{GROUP}" for plural in MONITORING}
    until(lambda: names <= established(cluster), "the kinds are served", SECONDS)


def remove_kinds(cluster: Cluster) -> None:
    """They go, with every object of theirs; returns when they are gone."""
    names = [f"crd/{plural}.{GROUP}" for plural in MONITORING]
    cluster.kubectl("delete", *names, "--ignore-not-found", "--wait=false")
    until(lambda: GROUP not in cluster.kubectl("get", "crd", "-o", "name"), "the kinds are gone", SECONDS)


def _files() -> list[Path]:
    folder = ensure_crds(find_places(), PROMETHEUS)
    return [folder / f"{GROUP}_{plural}.yaml" for plural in MONITORING]
