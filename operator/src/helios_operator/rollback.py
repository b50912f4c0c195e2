"""`python -m helios_operator.rollback`: what a rollback to this release would take from stored resources.

Run by the pre-rollback hook of the chart, with the image of the release that is gone back to: the API server drops a
field that its definitions do not know, without a word, as soon as they are applied. Exit status: 0 if there is none.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from helios.errors import HeliosError
from helios.kube import Client, NotFound
from helios.kube.kubeconfig import find_access
from helios_crds import KINDS, ResourceError
from helios_crds.parse import parse_as
from helios_operator.names import CUSTOM
from helios_operator.records import slim

__all__ = ["losses", "main"]

SHOWN = 20
"""Losses that are named one by one."""


def losses(kind: str, value: Mapping[str, Any]) -> Iterator[str]:
    """A line for everything in a resource that this version does not know or would not take."""
    metadata = value["metadata"]
    try:
        parse_as(KINDS[kind], slim(value))
    except ResourceError as error:
        for problem in error.problems:
            yield f"{kind} {metadata['namespace']}/{metadata['name']}: {problem.field}: {problem.message}"


async def _found(client: Client) -> list[str]:
    found: list[str] = []
    for name, kind in CUSTOM.items():
        try:
            async for items, _ in client.pages(kind):
                found += (line for item in items for line in losses(name, item))
        except NotFound:
            continue  # the kind is not there, and nothing of it is stored
    return found


async def _check(kubeconfig: Path | None) -> list[str]:
    async with Client(find_access(kubeconfig)) as client:
        return await _found(client)


def main(arguments: Sequence[str] | None = None) -> int:
    """Look at every stored resource; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m helios_operator.rollback", description=__doc__)
    parser.add_argument("--kubeconfig", type=Path, help="file with the cluster; left out: that of the pod")
    options = parser.parse_args(arguments)
    try:
        found = asyncio.run(_check(options.kubeconfig))
    except HeliosError as error:
        sys.stderr.write(f"cannot look at what is stored: {error}\n")
        return 1
    if not found:
        sys.stdout.write("everything that is stored is known to this release\n")
        return 0
    sys.stderr.write("a rollback to this release would lose or break what is stored:\n")
    sys.stderr.writelines(f"  {line}\n" for line in found[:SHOWN])
    if len(found) > SHOWN:
        sys.stderr.write(f"  and {len(found) - SHOWN} more\n")
    sys.stderr.write("remove these fields first, or switch the check off with crds.checkRollback=false\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
