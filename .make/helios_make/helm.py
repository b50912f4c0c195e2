"""Helm itself, built by Go from the pinned module in e2e/helm/tools, kept by its digest. For the charts' tests."""

import platform
from pathlib import Path

from helios_make import doctor
from helios_make.go import go_caches
from helios_make.places import Places
from helios_make.stamps import digest
from helios_make.steps import Step, run_step

__all__ = ["ensure_helm"]

TOOLS = Path("e2e", "helm", "tools")
PACKAGE = "helm.sh/helm/v3/cmd/helm"


def ensure_helm(places: Places) -> Path:
    """The program, built if it is not there.

    Raises:
        TargetError: Go is missing or too old, or the build failed.
    """
    files = [places.root / TOOLS / name for name in ("go.mod", "go.sum")]
    program = places.cache / "helm" / digest(places.root, files, platform.system(), platform.machine()) / "helm"
    with places.lock("helm"):
        if not program.is_file():
            doctor.require(places, ["go"])
            unfinished = program.with_name("unfinished")
            unfinished.parent.mkdir(parents=True, exist_ok=True)
            command = ["go", "build", "-trimpath", "-ldflags", "-s -w", "-o", str(unfinished), PACKAGE]
            with go_caches(places) as environment:
                run_step(places, Step("Go: helm", command, 150, 60, cwd=places.root / TOOLS, environment=environment))
            unfinished.replace(program)
    return program
