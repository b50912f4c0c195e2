"""`helios play -f FILE… [-- COMMAND…]`: a HeliosProxy on this machine. Dispatched by `helios.cli`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

__all__ = ["add_parser", "run"]

_DESCRIPTION = """
Run the HeliosProxy of a YAML file, the one that kubectl apply takes, on this machine. Where it names no nodes, a
PostgreSQL primary and a streaming standby are supplied. Ctrl-C ends everything; the data is kept for the next run.
"""
_EPILOG = """
With a command, everything is ended after it and its exit status is returned. The command finds PGHOST, PGPORT, PGUSER,
PGPASSWORD and PGDATABASE set for Helios; HELIOS_ADMIN_URL; HELIOS_DIRECT_DSN, the primary itself; and HELIOS_NODES, a
JSON list of {"name", "dsn", "data", "pid"}.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `play`."""
    parser = subparsers.add_parser(
        "play", help="run a HeliosProxy on this machine", description=_DESCRIPTION, epilog=_EPILOG
    )
    parser.add_argument(
        "-f",
        dest="files",
        metavar="FILE",
        type=Path,
        nargs="+",
        action="extend",
        required=True,
        help="files or folders with YAML: one HeliosProxy, what it refers to, Secrets",
    )
    parser.add_argument("--data", type=Path, metavar="DIR", help="where data is kept (default: by the resource's name)")
    parser.add_argument("--fresh", action="store_true", help="forget the data of earlier runs first")
    parser.add_argument("--demo", action="store_true", help="show one query; without a terminal, end after it")
    parser.add_argument("program", nargs="*", metavar="COMMAND", help="after --: run this, then end everything")


def run(args: argparse.Namespace) -> int:
    """Exit status: the command's, 0 after Ctrl-C, 128 + signal while starting; `HeliosError` on failure."""
    from helios.play.errors import PlayError
    from helios.play.session import PlayOptions, play
    from helios.play.signals import Stopped

    options = PlayOptions(args.files, args.data, args.fresh, args.demo, args.program)
    try:
        return play(options)
    except Stopped as stopped:  # between the last two steps of a run that was ending anyway
        return 128 + stopped.number
    except PlayError as error:
        if error.status == 1:
            raise
        sys.stderr.write(f"helios play: {error}\n")
        return error.status
