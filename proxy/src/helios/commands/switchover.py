"""`helios switchover`: make a standby the primary while the primary lives. Dispatched by `helios.cli`.

A running proxy does it, which holds the lease of its cluster.
"""

from __future__ import annotations

import argparse

from helios.commands.admin_api import add_options, post

__all__ = ["add_parser", "run"]

_DESCRIPTION = """
Make a standby the primary. Clients wait between their transactions meanwhile; transactions that are open are waited
for, at most failover.drain_after_seconds: then, or if the standby cannot take over, nothing has changed and the reason
is told.
"""

_TIMEOUT_SECONDS = 900.0
"""The checkpoint before it may take long."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `switchover`."""
    parser = subparsers.add_parser("switchover", help="make a standby the primary", description=_DESCRIPTION)
    add_options(parser, required=True)
    parser.add_argument("--cluster", metavar="NAME", help="which cluster; needed where there are several")
    parser.add_argument("--to", metavar="NODE", help="which standby; without it failover.policy decides")


def run(args: argparse.Namespace) -> int:
    """Print the new primary; exit status 0, or 1 with a sentence on stderr."""
    named = {"cluster": args.cluster, "to": args.to}
    view = post(args, "/api/switchover", {key: value for key, value in named.items() if value}, _TIMEOUT_SECONDS)
    print(f"{view['primary']} is primary of cluster {view['cluster']}")
    return 0
