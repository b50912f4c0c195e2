"""`helios serve -c helios.toml` (or pgbouncer.ini, pgcat.toml): run a proxy in the foreground until SIGTERM or SIGINT.

Dispatched by `helios.cli`.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from helios.config.base import split_address
from helios.config.foreign.load import loading
from helios.errors import UsageError

__all__ = ["add_parser", "run"]

_DESCRIPTION = """
Run a proxy in the foreground; logs go to stderr. SIGTERM drains (not ready at once, accepting for
drain.endpoint_delay_seconds more, then running transactions have drain.timeout_seconds), SIGINT drains without that
delay, a second of either ends at once, SIGHUP reads the file again. A pgbouncer.ini or pgcat.toml runs as it
is; what is not carried over is warned of, or refused where it protects somebody.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `serve`."""
    parser = subparsers.add_parser("serve", help="run a proxy from a helios.toml", description=_DESCRIPTION)
    parser.add_argument(
        "-c",
        "--config",
        type=Path,
        required=True,
        metavar="FILE",
        help="the configuration, ours or of PgBouncer or PgCat",
    )
    parser.add_argument("--admin", metavar="HOST:PORT", help="address of the admin API, before what the file says")
    parser.add_argument(
        "--sidecar",
        action="store_true",
        help="serve the pod of one application: on 127.0.0.1 only, promoting nobody, leaving without a delay, and "
        "where server connections are limited not begun before a share of them was granted",
    )
    parser.add_argument(
        "-R",
        "--takeover",
        action="store_true",
        help="take over the sockets of the process that listens at handover.socket_file; without one start as ever",
    )


def run(args: argparse.Namespace) -> int:
    """Exit status: 0 after a drain, 128 + signal after a second signal; `HeliosError` if it cannot start."""
    from helios.app import serve

    with loading(args.config, _checked(args.admin)) as load:
        return asyncio.run(serve(args.config, load, args.takeover, args.sidecar))


def _checked(address: str | None) -> str | None:
    if address is not None:
        try:
            split_address(address)
        except ValueError as error:
            raise UsageError(f'--admin is "{address}"; {error}') from error
    return address
