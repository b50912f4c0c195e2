"""The original's command line, `heliosdb-proxy --config FILE [--listen … --primary …]`, as arguments of `helios serve`.

Called by `helios.cli.legacy_main`. Options that override the file are merged into a private copy of it, which lives
as long as the process.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from helios import __version__
from helios.config.base import split_address
from helios.config.loader import Loaded, dumps, load_with_warnings, loads_with_warnings
from helios.errors import UsageError

__all__ = ["serve_arguments"]

_LOG_LEVELS = {"trace": "debug", "debug": "debug", "info": "info", "warn": "warning", "warning": "warning"}
_LOG_LEVELS["error"] = "error"


@contextmanager
def serve_arguments(arguments: Sequence[str]) -> Iterator[argparse.Namespace]:
    """What `helios.commands.serve.run` takes, for as long as the context lasts. `ConfigError`, `UsageError`."""
    options = _parser().parse_args(arguments)
    overrides = _overrides(options)
    if options.config is None and "nodes" not in overrides:
        raise UsageError("no configuration: name a file with --config, or servers with --primary and --standby")
    if options.config is not None and not overrides:
        yield argparse.Namespace(command="serve", config=options.config, admin=None, takeover=False, sidecar=False)
        return
    loaded = _load(options.config, overrides)
    for warning in loaded.warnings:
        print(f"heliosdb-proxy: warning: {warning}", file=sys.stderr)
    if options.config is not None:
        message = "options override the file, so SIGHUP keeps the configuration of the start"
        print(f"heliosdb-proxy: warning: {message}", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="helios-") as folder:  # readable for its owner only
        config = Path(folder) / "helios.toml"
        config.write_text(dumps(loaded.config), encoding="utf-8")
        yield argparse.Namespace(command="serve", config=config, admin=None, takeover=False, sidecar=False)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="heliosdb-proxy", description="The original's command line. `helios serve -c FILE` is the new one."
    )
    parser.add_argument("--version", action="version", version=f"helios {__version__}")
    parser.add_argument("-c", "--config", type=Path, metavar="FILE", help="configuration, of either product")
    parser.add_argument("-l", "--listen", metavar="HOST:PORT", help="address for PostgreSQL clients")
    parser.add_argument("--admin", metavar="HOST:PORT", help="address of the admin API")
    parser.add_argument("--primary", metavar="HOST:PORT", help="the primary; replaces the servers of the file")
    parser.add_argument("--standby", metavar="HOST:PORT", action="append", default=[], help="a standby; repeatable")
    parser.add_argument("--tr", nargs="?", const=True, metavar="MODE", help="accepted, without effect")
    parser.add_argument("--log-level", choices=sorted(_LOG_LEVELS), help="least important line to log")
    parser.add_argument("--json-logs", action="store_true", help="log an object a line")
    return parser


def _overrides(options: argparse.Namespace) -> dict[str, Any]:
    overrides: dict[str, Any] = {}
    if options.listen:
        overrides["listen_address"] = options.listen
    if options.admin:
        overrides["admin.address"] = options.admin
    if options.log_level:
        overrides["log.level"] = _LOG_LEVELS[options.log_level]
    if options.json_logs:
        overrides["log.format"] = "json"
    nodes = [_node("--primary", options.primary, "primary")] if options.primary else []
    nodes += [_node("--standby", address, "standby") for address in options.standby]
    return overrides | ({"nodes": nodes} if nodes else {})


def _node(option: str, address: str, role: str) -> dict[str, Any]:
    try:
        host, port = split_address(address)
    except ValueError as error:
        raise UsageError(f'{option} is "{address}"; {error}') from error
    return {"host": host, "port": port, "role": role}


def _load(config: Path | None, overrides: dict[str, Any]) -> Loaded:
    if config is not None:
        return load_with_warnings(config, overrides)
    defaults = {"auth.mode": "passthrough", "pool.mode": "session"}  # the original's, without a file
    return loads_with_warnings("", "command line", defaults | overrides)
