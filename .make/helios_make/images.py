"""`make images`: the two Dockerfiles built on this machine, without a registry of images, into archives in the cache.

Called by the target, and by the tests and clusters of `make e2e`, which load the archives into a node. The Dockerfiles
are those that everybody builds with docker; here they get a base made of Debian packages (`image_base`) and the wheel
of the engine that `extension` has built already. An archive is kept under a digest of everything its Dockerfile copies,
so it is built anew when one of these files changes and at no other time.
"""

import os
import re
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from helios_make.buildah import Buildah, open_buildah
from helios_make.extension import installed_wheel
from helios_make.image_base import BASE_RECIPE, ensure_base
from helios_make.places import Places
from helios_make.stamps import digest
from helios_make.steps import say

__all__ = ["IMAGES", "POSTGRES", "Image", "ensure_images", "run"]

KEPT_ARCHIVES = 3
"""Archives of one image that stay in the cache, the latest used first; each is about 100 MB."""
CONTEXT_IGNORES = ("__pycache__", "target", "fuzz")
"""Folders below a copied folder that no image holds, as `.dockerignore` says."""


@dataclass(frozen=True)
class Image:
    """One Dockerfile and the name it is built under."""

    name: str
    """The archive's name, and the image's before the tag."""
    dockerfile: Path
    """Relative to the clone."""
    contexts: Sequence[str] = ()
    """Stages that are not built: a folder made by `_fill` stands in for each."""
    seconds: int = 60
    """How long it takes cold."""

    @property
    def tag(self) -> str:
        """What a pod names."""
        return f"localhost/{self.name}:dev"


IMAGES = (
    Image("helios-proxy", Path("proxy", "Dockerfile"), contexts=("engine",)),
    Image("helios-operator", Path("operator", "Dockerfile")),
)
"""The project's own."""

POSTGRES = Image("helios-postgres", Path("e2e", "kubernetes", "postgres", "Dockerfile"))
"""A PostgreSQL with its clients, for tests inside a cluster; published nowhere."""


def run(places: Places) -> int:
    """Build both images where they are missing, and print where the archives are and how big."""
    for name, archive in ensure_images(places).items():
        print(f"{name}  {archive}  {archive.stat().st_size / 1e6:.1f} MB")
    return 0


def ensure_images(places: Places, images: Sequence[Image] = IMAGES) -> Mapping[str, Path]:
    """Tag → docker-archive of exactly these sources, for `ctr --namespace k8s.io images import`.

    Raises:
        TargetError: this machine cannot build images; the message says what can be done.
        StepFailed: a build failed.
    """
    with places.lock("images"):
        return {image.tag: _ensure(places, image) for image in images}


def _ensure(places: Places, image: Image) -> Path:
    with tempfile.TemporaryDirectory(prefix=f"{image.name}-") as scratch:
        folder = Path(scratch)
        # A copy: what is edited during the build is not in the image, nor in its digest.
        _fill(places, image, folder)
        files = [file for file in folder.rglob("*") if file.is_file()]
        key = digest(folder, files, BASE_RECIPE)
        archive = places.cache / "images" / "archives" / f"{image.name}-{key}.tar"
        if not archive.is_file():
            _build(places, image, folder, archive)
    os.utime(archive)
    _forget_old(archive.parent, image.name)
    return archive


def _fill(places: Places, image: Image, folder: Path) -> None:
    """Copy what the Dockerfile copies below `context`, and what stands in for its stages below `stages`."""
    context = folder / "context"
    for name in (*copied(places.root / image.dockerfile), str(image.dockerfile)):
        source, copy = places.root / name, context / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, copy, ignore=shutil.ignore_patterns(*CONTEXT_IGNORES))
        else:
            shutil.copy2(source, copy)
    if "engine" in image.contexts:
        wheels = folder / "stages" / "engine" / "wheels"
        wheels.mkdir(parents=True)
        shutil.copy2(installed_wheel(places), wheels)


def copied(dockerfile: Path) -> list[str]:
    """What a Dockerfile copies out of its context, in its own words."""
    text = dockerfile.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = re.findall(r"^COPY +(?!--from)(.*)$", text, re.MULTILINE)
    return sorted({source.rstrip("/") for line in lines for source in line.split()[:-1]})


def _build(places: Places, image: Image, folder: Path, archive: Path) -> None:
    started = time.monotonic()
    archive.parent.mkdir(parents=True, exist_ok=True)
    with open_buildah(places) as buildah:
        base = ensure_base(places, buildah)
        buildah.build(
            image.tag,
            folder / "context" / image.dockerfile,
            folder / "context",
            arguments={"BASE": base},
            stages={name: folder / "stages" / name for name in image.contexts},
            seconds=image.seconds,
        )
        _export(buildah, image, archive)
    say(f"helios: {image.tag}: {archive.stat().st_size / 1e6:.1f} MB, {time.monotonic() - started:.1f} s")


def _export(buildah: Buildah, image: Image, archive: Path) -> None:
    """Write the archive under its name when it is complete, never before."""
    partial = archive.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    buildah.export(image.tag, partial)
    partial.rename(archive)


def _forget_old(folder: Path, name: str) -> None:
    archives = sorted(folder.glob(f"{name}-*.tar"), key=lambda file: file.stat().st_mtime, reverse=True)
    for archive in archives[KEPT_ARCHIVES:]:
        archive.unlink()
