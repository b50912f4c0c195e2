"""The base of images on a machine without a registry: a small Debian 12 out of packages, by the machine's own mirror.

Called by `images`; stands for the Dockerfiles' `BASE`, which elsewhere is a public image with the same packages.
"""

import subprocess
import tempfile
from pathlib import Path

from helios_make.buildah import Buildah
from helios_make.places import Places
from helios_make.steps import Step, run_step

__all__ = ["BASE_RECIPE", "ensure_base"]

RELEASE = "bookworm"
BASE_RECIPE = f"{RELEASE} apt 1"
"""Release, mmdebstrap's variant, and a number that goes up when this module makes another base."""
DOCKERFILE = "FROM scratch\nADD base.tar /\n"


def ensure_base(places: Places, buildah: Buildah) -> str:
    """The tag of the base in buildah's store.

    Raises:
        StepFailed: the packages cannot be had.
    """
    tag = f"localhost/helios-base:{BASE_RECIPE.replace(' ', '-')}"
    if buildah.has(tag):
        return tag
    with tempfile.TemporaryDirectory(prefix="helios-base-") as scratch:
        folder = Path(scratch)
        command = ["mmdebstrap", "--mode=root", "--variant=apt", RELEASE, str(folder / "base.tar"), *_sources()]
        run_step(places, Step(f"Base image, Debian {RELEASE}", command, seconds=20, megabytes=150))
        (folder / "Dockerfile").write_text(DOCKERFILE, encoding="utf-8")
        buildah.build(tag, folder / "Dockerfile", folder, seconds=5)
    return tag


def _sources() -> list[str]:
    """This machine's own sources of the release, one line each; none: mmdebstrap's default."""
    command = ["apt-get", "indextargets", "--format", "deb $(SITE) $(RELEASE) $(COMPONENT)"]
    listing = subprocess.run(
        [*command, "Created-By: Packages", "Origin: Debian"], capture_output=True, text=True, check=True
    ).stdout
    lines = dict.fromkeys(listing.splitlines())
    return [line for line in lines if line.split()[2].split("-")[0] == RELEASE]
