"""The command line: `helios` and, for those who come from the original product, `heliosdb-proxy`.

Only parses and dispatches. Each sub-command lives in `helios.commands.<name>` with `add_parser` and `run`; the module
is imported when its name stands on the command line, so that `helios check` loads no engine.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Final

from helios import __version__
from helios.errors import HeliosError

__all__ = ["COMMANDS", "legacy_main", "main"]

COMMANDS: Final = {
    "serve": "run a proxy from a helios.toml",
    "check": "say everything that is wrong with a configuration",
    "explain": "say what a statement is, and where it may run",
    "switchover": "make a standby the primary",
    "rejoin": "make a former primary a standby of the one that took its place",
    "import": "print a pgbouncer.ini or pgcat.toml as ours",
    "convert": "print an old configuration or resource in today's form",
    "play": "run the YAML that kubectl apply takes, with PostgreSQL if it names none",
}
"""Sub-commands and their line in `helios --help`."""

_MODULES: Final = {"import": "imports"}
"""Modules whose names differ from their command's, because that is a keyword."""

EXIT_REFUSED: Final = 1
"""Exit status when Helios refuses on purpose; argparse uses 2 for a wrong command line."""

EXIT_INTERRUPTED: Final = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `helios` and `python -m helios`. Returns the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(prog="helios", description="A PostgreSQL data plane: pooling, routing, failover.")
    parser.add_argument("--version", action="version", version=f"helios {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    chosen = next((word for word in words if not word.startswith("-")), None)
    for name, help_line in COMMANDS.items():
        if name == chosen:
            _module(name).add_parser(subparsers)
        else:
            subparsers.add_parser(name, help=help_line)
    return _dispatch(parser.parse_args(words))


def legacy_main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `heliosdb-proxy`: the original's options, then `helios serve`. Returns the exit status."""
    from helios.commands.legacy import serve_arguments

    try:
        with serve_arguments(list(sys.argv[1:] if arguments is None else arguments)) as args:
            return _dispatch(args)
    except HeliosError as error:
        return _refuse("heliosdb-proxy", error)


def _dispatch(args: argparse.Namespace) -> int:
    try:
        status: int = _module(args.command).run(args)
        return status
    except HeliosError as error:
        return _refuse(f"helios {args.command}", error)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _module(command: str) -> ModuleType:
    return importlib.import_module(f"helios.commands.{_MODULES.get(command, command)}")


def _refuse(program: str, error: HeliosError) -> int:
    for line in str(error).splitlines():
        sys.stderr.write(f"{program}: {line}\n")
    return EXIT_REFUSED
