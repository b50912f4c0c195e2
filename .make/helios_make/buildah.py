"""Build images with buildah: no daemon, a store of its own in the cache, commands inside a chroot.

Called by `images` and `image_base`. Package clients inside a build get what they are told on this machine as secrets:
pip's index and the certificates it trusts. A secret is there during one RUN and in no layer.
"""

import ast
import configparser
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from helios_make.errors import TargetError
from helios_make.places import Places
from helios_make.python_env import ensure_uv
from helios_make.steps import Step, run_step
from helios_make.system_packages import install_packages

__all__ = ["Buildah", "open_buildah"]

PACKAGES = ("buildah", "mmdebstrap")
CERTIFICATES_INSIDE = "/run/secrets/ca.pem"
PIP_SETTINGS = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout")
"""Settings of pip that mean the same inside a build; paths of this machine do not."""
STORE_MEGABYTES = 4_000
"""What layers of old builds may take before all are dropped; the archives stay."""


@dataclass(frozen=True)
class Buildah:
    """buildah with the project's own store."""

    places: Places
    secrets: Mapping[str, Path]
    """Id → file, offered to every RUN that mounts it."""

    @property
    def store(self) -> Path:
        """Layers and images."""
        return self.places.cache / "images" / "store"

    def command(self, *arguments: str) -> list[str]:
        """buildah on this store."""
        state = self.store.with_name("state")
        return ["buildah", "--root", str(self.store), "--runroot", str(state), *arguments]

    def has(self, tag: str) -> bool:
        """Whether the store holds an image."""
        inspect = self.command("inspect", "--type", "image", tag)
        return subprocess.run(inspect, capture_output=True, check=False).returncode == 0

    def build(
        self,
        tag: str,
        dockerfile: Path,
        context: Path,
        *,
        arguments: Mapping[str, str] | None = None,
        stages: Mapping[str, Path] | None = None,
        seconds: int,
    ) -> None:
        """Build a Dockerfile; folders in `stages` stand in for its stages of that name.

        Raises:
            StepFailed: a line of it failed.
        """
        # Layers are kept: a change of our sources does not install the packages again.
        options = ["--isolation", "chroot", "--layers", "--pull-never", "--tag", tag, "--file", str(dockerfile)]
        options += [f"--build-arg={name}={value}" for name, value in (arguments or {}).items()]
        options += [f"--build-context={name}={folder}" for name, folder in (stages or {}).items()]
        options += [f"--secret=id={name},src={file}" for name, file in self.secrets.items()]
        command = self.command("build", *options, str(context))
        run_step(self.places, Step(f"Image {tag}", command, seconds, megabytes=300))

    def export(self, tag: str, archive: Path) -> None:
        """Write an image as docker-archive, which `ctr images import` and `docker load` read."""
        push = self.command("push", "--quiet", tag, f"docker-archive:{archive}:{tag}")
        run_step(self.places, Step(f"Archive {tag}", push, seconds=3, megabytes=100))


@contextmanager
def open_buildah(places: Places) -> Iterator[Buildah]:
    """buildah, ready to build; secrets are files of a folder that goes when the block ends.

    Raises:
        TargetError: not root, or not a Debian machine.
    """
    if os.geteuid() != 0:
        raise TargetError(
            "building images here takes root, for chroot and mounts; "
            "docker build -f proxy/Dockerfile . and -f operator/Dockerfile . make the same images without it"
        )
    install_packages(places, PACKAGES, why="images are built by buildah", seconds=15, megabytes=150)
    with tempfile.TemporaryDirectory(prefix="helios-secrets-") as folder:
        buildah = Buildah(places, _secrets(places, Path(folder)))
        _bound(buildah)
        yield buildah


def _bound(buildah: Buildah) -> None:
    """Drop every layer when the store has grown too large."""
    store = buildah.store
    store.mkdir(parents=True, exist_ok=True)
    used = sum(file.lstat().st_blocks * 512 for file in store.rglob("*") if not file.is_symlink())
    if used > STORE_MEGABYTES * 1_000_000:
        remove = buildah.command("rmi", "--all", "--force")
        run_step(buildah.places, Step("Drop old layers of images", remove, seconds=10))


def _secrets(places: Places, folder: Path) -> dict[str, Path]:
    """pip.conf and ca.pem, as far as this machine sets something."""
    pip = _pip_settings(places)
    secrets = {}
    certificates = pip.get("cert") or os.environ.get("SSL_CERT_FILE")
    settings = {name: pip[name] for name in PIP_SETTINGS if name in pip}
    if certificates and Path(certificates).is_file():
        secrets["ca.pem"] = Path(shutil.copy(certificates, folder / "ca.pem"))
        settings["cert"] = CERTIFICATES_INSIDE
    if settings:
        secrets["pip.conf"] = folder / "pip.conf"
        _write_settings(secrets["pip.conf"], settings)
    return secrets


def _write_settings(file: Path, settings: Mapping[str, str]) -> None:
    parser = configparser.RawConfigParser()
    parser["global"] = settings
    file.touch(mode=0o600)  # an index's address may hold a password
    with file.open("w", encoding="utf-8") as handle:
        parser.write(handle)


def _pip_settings(places: Places) -> dict[str, str]:
    """What pip is told by files and by the environment, the more special last; name without section → value."""
    python = ensure_uv(places).with_name("python")
    command: Sequence[str] = [str(python), "-m", "pip", "config", "list"]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    lines = [line.split("=", 1) for line in listing.splitlines() if "=" in line]
    ordered = sorted(lines, key=lambda line: line[0].startswith(":env:"))
    return {name.rpartition(".")[2]: str(ast.literal_eval(value)) for name, value in ordered}
