"""`terraform-provider-heliosproxy`, as Terraform starts it; `helios-terraform install --mirror DIR`, for people."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from helios_iac.problems import IacError
from helios_terraform.install import ADDRESS, install, install_release
from helios_terraform.plugin.serving import is_started_by_terraform, serve
from helios_terraform.servicer import Servicer

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve or install; the exit status."""
    if is_started_by_terraform():
        serve(Servicer())
        return 0
    parser = argparse.ArgumentParser(prog="helios-terraform", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    put = commands.add_parser("install", help="put the provider where terraform init and tofu init find it")
    put.add_argument("--mirror", type=Path, required=True, help="folder of a filesystem_mirror")
    put.add_argument("--from", dest="release", type=Path, help="folder of a release, whose programs need no Python")
    debug = commands.add_parser("serve", help="serve for a debugger, and print TF_REATTACH_PROVIDERS")
    debug.add_argument("--host", default=ADDRESS.split("/")[0], help="host in the address of the provider")
    options = parser.parse_args(arguments)
    if options.command == "serve":
        serve(Servicer(), reattach=f"{options.host}/{ADDRESS.split('/', 1)[1]}")
        return 0
    try:
        lines = install_release(options.mirror, options.release) if options.release else install(options.mirror)
    except IacError as error:
        sys.stderr.write(f"helios-terraform: {error.diagnostic}\n")
        return 1
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
