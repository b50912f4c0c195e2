"""`helios check FILE`: every problem and warning of a configuration. Dispatched by `helios.cli`."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from helios.config.foreign.load import loading
from helios.config.loader import Loaded
from helios.config.snapshot import refuse_unusable_secrets
from helios.config.users import caution_users, users_of
from helios.errors import ConfigError, Problem

__all__ = ["add_parser", "run"]

_DESCRIPTION = """
Read a helios.toml, or a configuration of the original product, of PgBouncer or of PgCat, and print everything that is
wrong with it, each with file and line. Exit status 0 when it can be served (there may be warnings), 1 when not.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `check`."""
    parser = subparsers.add_parser("check", help="say everything that is wrong", description=_DESCRIPTION)
    parser.add_argument("file", type=Path, metavar="FILE", help="the configuration")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="json: one object with two lists")
    parser.add_argument(
        "--without-secrets",
        action="store_true",
        help="do not read the files of users and passwords, which may exist only where the proxy runs",
    )


def run(args: argparse.Namespace) -> int:
    """Print to stdout; exit status 0 or 1."""
    problems, warnings = _examine(args.file, with_secrets=not args.without_secrets)
    if args.format == "json":
        print(json.dumps({"problems": [asdict(p) for p in problems], "warnings": [asdict(w) for w in warnings]}))
    else:
        for problem in problems:
            print(f"error: {problem}")
        for warning in warnings:
            print(f"warning: {warning}")
        print(f"{args.file}: {_summary(len(problems), 'error')}, {_summary(len(warnings), 'warning')}")
    return 1 if problems else 0


def _examine(file: Path, *, with_secrets: bool) -> tuple[tuple[Problem, ...], tuple[Problem, ...]]:
    with loading(file) as load:
        try:
            loaded = load(file)
        except ConfigError as error:
            return error.problems, ()
        return _examine_secrets(loaded, with_secrets=with_secrets)


def _examine_secrets(loaded: Loaded, *, with_secrets: bool) -> tuple[tuple[Problem, ...], tuple[Problem, ...]]:
    if not with_secrets:
        return (), loaded.warnings
    try:
        refuse_unusable_secrets(loaded)
    except ConfigError as error:
        return error.problems, loaded.warnings
    cautions = caution_users(loaded.config, users_of(loaded.config))
    found = [loaded.locator.problem(caution) for caution in cautions]
    return (), (*loaded.warnings, *(problem for problem in found if problem not in loaded.warnings))


def _summary(count: int, noun: str) -> str:
    return f"{count or 'no'} {noun}{'' if count == 1 else 's'}"
