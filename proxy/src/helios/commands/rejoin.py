"""`helios rejoin`: make a former primary a standby of the one that took its place. Dispatched by `helios.cli`.

It is run on the host of the data folder; no proxy needs to run there.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from pathlib import Path

from helios.config.base import split_address
from helios.failover.rejoin import Primary, RejoinFailure, rejoin
from helios.play.binaries import find_binaries

__all__ = ["add_parser", "run"]

_DESCRIPTION = """
Make a stopped former primary a standby of the server that took its place, by pg_rewind. What it wrote alone is given
up. Its own files of settings are kept. The role needs what pg_rewind needs, which a superuser has; the password is
that in PGPASSWORD. Start the server afterwards: Helios takes it as a standby by itself.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `rejoin`."""
    parser = subparsers.add_parser("rejoin", help="make a former primary a standby", description=_DESCRIPTION)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="its data folder")
    parser.add_argument("--primary", required=True, metavar="HOST:PORT", help="the server that took its place")
    parser.add_argument("--user", default="postgres", help="role to log in as there, and to stream as (postgres)")
    parser.add_argument("--name", required=True, help="application_name, by which synchronous_standby_names knows it")
    parser.add_argument("--slot", metavar="NAME", help="replication slot to use there; made if it does not exist")
    parser.add_argument("--bin", type=Path, metavar="DIR", help="programs of PostgreSQL; found where left out")


def run(args: argparse.Namespace) -> int:
    """Exit status 0, or 1 with a sentence on stderr."""
    try:
        host, port = split_address(args.primary)
    except ValueError as error:
        raise RejoinFailure(f"--primary {args.primary}: {error}") from error
    programs = args.bin or find_binaries(_major(args.data)).folder
    primary = Primary(host, port, args.user, os.environ.get("PGPASSWORD"))
    asyncio.run(rejoin(args.data.absolute(), programs, primary, args.name, args.slot))
    print(f"{args.data} is a standby of {args.primary}; start its server")
    return 0


def _major(data: Path) -> int:
    try:
        return int((data / "PG_VERSION").read_text())
    except (OSError, ValueError) as error:
        raise RejoinFailure(f"{data} is no data folder of PostgreSQL") from error
