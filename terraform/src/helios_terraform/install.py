"""Put the provider into a filesystem mirror, for Terraform and for OpenTofu. Called by `helios-terraform install`.

What is put there is a launcher of a few lines that runs this very Python environment.
"""

from __future__ import annotations

import platform
import shlex
import stat
import sys
from pathlib import Path
from typing import Final

from helios import __version__

__all__ = ["ADDRESS", "HOSTS", "install", "launcher", "target_name"]

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
        folder = mirror / host / "heliosdatabase" / "heliosproxy" / __version__ / target_name()
        folder.mkdir(parents=True, exist_ok=True)
        program = folder / f"terraform-provider-heliosproxy_v{__version__}"
        program.write_text(launcher(), encoding="utf-8")
        program.chmod(program.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    return [
        f"helios: version {__version__} of the provider is in {mirror}",
        "helios: put this into ~/.terraformrc (OpenTofu: ~/.tofurc), then run init:",
        "provider_installation {",
        f'  filesystem_mirror {{ path = "{mirror.resolve()}" }}',
        "}",
    ]
