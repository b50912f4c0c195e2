"""Helm itself, built by Go from the pinned module in e2e/helm/tools. For the charts' tests."""

from pathlib import Path

from helios_make.go_program import GoProgram, ensure_go_program
from helios_make.places import Places

__all__ = ["ensure_helm"]

HELM = GoProgram("helm", Path("e2e", "helm", "tools"), "helm.sh/helm/v3/cmd/helm", seconds=150, megabytes=60)


def ensure_helm(places: Places) -> Path:
    """The program, built if it is not there.

    Raises:
        TargetError: Go is missing or too old, or the build failed.
    """
    return ensure_go_program(places, HELM)
