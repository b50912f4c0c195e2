"""`helios convert FILE`: a configuration or resource of the original product in today's form, on stdout.

Dispatched by `helios.cli`. What a person should look at goes to stderr, so that the output can be redirected.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from helios.config.loader import dumps, load_with_warnings
from helios.errors import ConfigError, Problem

__all__ = ["add_parser", "run"]

_DESCRIPTION = """
Print a file in today's form: a configuration (TOML) of the original product as a helios.toml, a resource (YAML) in one
of the forms of its documents as a resource of this release. Notes go to stderr. Exit status 1 when the file cannot be
converted, or when what comes out needs a correction before it can be applied.
"""
_YAML_SUFFIXES = (".yaml", ".yml", ".json")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `convert`."""
    parser = subparsers.add_parser("convert", help="print an old file in today's form", description=_DESCRIPTION)
    parser.add_argument("file", type=Path, metavar="FILE", help="*.toml, or *.yaml, *.yml or *.json for resources")


def run(args: argparse.Namespace) -> int:
    """Exit status 0 or 1; `ConfigError` for a file that cannot be read at all."""
    if args.file.suffix in _YAML_SUFFIXES:
        return _convert_resources(args.file)
    loaded = load_with_warnings(args.file, absolute_files=False)
    _tell("note", loaded.warnings)
    print(dumps(loaded.config, loaded.variables), end="")
    return 0


def _convert_resources(file: Path) -> int:
    from helios.commands.variants import today
    from helios.config.tree import Locator
    from helios_crds import API_VERSION, Document, is_helios, load_paths, parse
    from helios_crds.yaml import dump

    texts = []
    faults: list[Problem] = []
    for document in load_paths([file]):
        value, findings = today(document.value, API_VERSION)
        converted = Document(value, document.source, document.lines)
        texts.append(dump(value))
        locator = Locator(document.source, document.lines)
        _tell("note", (locator.problem(finding) for finding in findings))
        if is_helios(converted):
            try:
                parse(converted)
            except ConfigError as error:
                faults += error.problems
    print("---\n".join(texts), end="")
    _tell("error", faults)
    return 1 if faults else 0


def _tell(severity: str, problems: Iterable[Problem]) -> None:
    for problem in problems:
        print(f"{severity}: {problem}", file=sys.stderr)
