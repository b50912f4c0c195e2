"""The command lines that the providers' tests run, and where they are. Called by `iac`, `sdks` and the tests.

terraform is the machine's; OpenTofu, Pulumi, the generators of Pulumi's SDKs and what checks pages of documentation are
built by Go from the pinned modules in e2e/iac/tools and pulumi/sdkgen, and kept in the cache by their digest.
"""

import platform
import shutil
from pathlib import Path

from helios_make import doctor
from helios_make.go import go_caches
from helios_make.kubernetes import Module, build_module
from helios_make.places import Places
from helios_make.stamps import digest

__all__ = ["ensure_cli", "find_cli"]

TOOLS = Path("e2e", "iac", "tools")
KEPT_FOLDERS = 2
"""Builds of a program that stay in the cache, for clones of other versions."""

MODULES = {
    "tofu": Module(
        "tofu",
        {"tofu": "github.com/opentofu/opentofu/cmd/tofu"},
        seconds=400,
        megabytes=115,
        parent=TOOLS,
        flags="-X github.com/opentofu/opentofu/version.dev=no",
    ),
    "tfplugindocs": Module(
        "tfplugindocs",
        {"tfplugindocs": "github.com/hashicorp/terraform-plugin-docs/cmd/tfplugindocs"},
        seconds=100,
        megabytes=30,
        parent=TOOLS,
    ),
    "pulumi": Module(
        "pulumi",
        {"pulumi": "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"},
        seconds=400,
        megabytes=115,
        parent=TOOLS,
        # The Automation API refuses a command line that does not know how old it is.
        flags="-X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version=v3.259.0",
    ),
    "sdkgen": Module("sdkgen", {"sdkgen": "."}, seconds=200, megabytes=20, parent=Path("pulumi")),
}
"""Program → what it is built from."""


def find_cli(places: Places, name: str) -> Path | None:
    """A command line: terraform as the machine has it, the others as they were built here; None when missing."""
    if name not in MODULES:
        found = shutil.which(name)
        return Path(found) if found else None
    built = _folder(places, name) / name
    return built if built.is_file() else None


def ensure_cli(places: Places, name: str) -> None:
    """Have a program of `MODULES`.

    Raises:
        TargetError: Go is missing or too old, or the build failed.
    """
    with places.lock(f"iac-{name}"):
        if find_cli(places, name) is not None:
            return
        doctor.require(places, ["go"])
        folder = _folder(places, name)
        folder.mkdir(parents=True, exist_ok=True)
        with go_caches(places) as environment:
            build_module(places, MODULES[name], [name], folder, environment)
        old = sorted(folder.parent.glob(f"{name}-*"), key=lambda each: each.stat().st_mtime, reverse=True)
        for each in old[KEPT_FOLDERS:]:
            shutil.rmtree(each)


def _folder(places: Places, name: str) -> Path:
    """Where the program of exactly this module is, or will be."""
    module = MODULES[name]
    files = [each for each in (places.root / module.parent / module.folder).rglob("*") if each.is_file()]
    facts = (module.flags, platform.system(), platform.machine())
    return places.cache / "iac" / f"{name}-{digest(places.root, files, *facts)}"
