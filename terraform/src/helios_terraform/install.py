"""Put the provider into a filesystem mirror, for Terraform and for OpenTofu. Called by `helios-terraform install`.

What is put there is a launcher of a few lines that runs this very Python environment, or the packed programs of a
release, which need no Python, as they are.
"""

from __future__ import annotations

import hashlib
import platform
import shlex
import shutil
import stat
import sys
from pathlib import Path
from typing import Final

from helios import __version__
from helios_iac.problems import IacError

__all__ = ["ADDRESS", "HOSTS", "install", "install_release", "launcher", "target_name"]

ADDRESS: Final = "registry.terraform.io/heliosdatabase/heliosproxy"
"""Host and name that `source = "heliosdatabase/heliosproxy"` means in Terraform."""
HOSTS: Final = ("registry.terraform.io", "registry.opentofu.org")
_MACHINES: Final = {"x86_64": "amd64", "aarch64": "arm64"}


def target_name() -> str:
    """This machine in Terraform's words: `linux_amd64`."""
    machine = platform.machine().lower()
    return f"{platform.system().lower()}_{_MACHINES.get(machine, machine)}"


def launcher() -> str:
    """The program that Terraform starts."""
    return f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -P -m helios_terraform "$@"\n'


def install(mirror: Path) -> list[str]:
    """Write the provider below `mirror`; what to put into the CLI's configuration, line by line."""
    for host in HOSTS:
        folder = _folder(mirror, host) / __version__ / target_name()
        folder.mkdir(parents=True, exist_ok=True)
        program = folder / f"terraform-provider-heliosproxy_v{__version__}"
        program.write_text(launcher(), encoding="utf-8")
        program.chmod(program.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    return _advice(f"version {__version__} of the provider is in {mirror}", mirror)


def install_release(mirror: Path, release: Path) -> list[str]:
    """Copy the zips of a release, which must be what its sums say; the same lines. Raises IacError."""
    sums = sorted(release.glob("*_SHA256SUMS"))
    if not sums:
        raise IacError(f"{release} holds no release: there is no file *_SHA256SUMS", "make one by `make provider`")
    archives = [release / name for name in _checked(sums[0]) if name.endswith(".zip")]
    for host in HOSTS:
        folder = _folder(mirror, host)
        folder.mkdir(parents=True, exist_ok=True)
        for archive in archives:
            shutil.copy2(archive, folder)
    return _advice(
        f"{', '.join(each.name for each in archives)} {'is' if len(archives) == 1 else 'are'} in {mirror}", mirror
    )


def _checked(sums: Path) -> list[str]:
    """The names in a file of sums. Raises IacError for a file that is not what its sum says."""
    names = []
    for line in sums.read_text(encoding="utf-8").splitlines():
        wanted, name = line.split(maxsplit=1)
        file = sums.parent / name
        if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != wanted:
            raise IacError(f"{file} is missing or not what {sums.name} says", "fetch the release again")
        names.append(name)
    return names


def _folder(mirror: Path, host: str) -> Path:
    return mirror / host / "heliosdatabase" / "heliosproxy"


def _advice(what: str, mirror: Path) -> list[str]:
    return [
        f"helios: {what}",
        "helios: put this into ~/.terraformrc (OpenTofu: ~/.tofurc), then run init:",
        "provider_installation {",
        f'  filesystem_mirror {{ path = "{mirror.resolve()}" }}',
        "}",
    ]
