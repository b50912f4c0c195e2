"""`helios import FILE`: a pgbouncer.ini or pgcat.toml as a helios.toml or a HeliosProxy, on stdout or in a file.

Dispatched by `helios.cli`. What became of each setting that is not simply carried over goes to stderr, one line each.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from helios.config.foreign.draft import Imported, Note
from helios.config.foreign.load import read_foreign
from helios.config.foreign.settings import Fate
from helios.config.loader import dumps
from helios.config.users import format_users
from helios.errors import UsageError

__all__ = ["add_parser", "run"]

_DESCRIPTION = """
Print a configuration of PgBouncer (*.ini) or PgCat (*.toml) as a helios.toml or as a HeliosProxy that kubectl takes.
What differs, what has no meaning here and what is not carried over goes to stderr. Exit status 1 when the file cannot
be read, or with --strict when something is not carried over.
"""
_LABELS: Final = {Fate.CHANGED: "note", Fate.NEEDLESS: "ignored", Fate.LOST: "not carried over"}
_USERS_ON_STDOUT: Final = "users.txt"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `import`."""
    parser = subparsers.add_parser("import", help="print another pooler's file as ours", description=_DESCRIPTION)
    parser.add_argument("file", type=Path, metavar="FILE", help="pgbouncer.ini or pgcat.toml")
    parser.add_argument("--to", choices=("toml", "yaml"), default="toml", help="helios.toml, or a HeliosProxy")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write there, readable for the owner only")
    parser.add_argument("--name", metavar="NAME", help="yaml: name of the HeliosProxy; the file's by default")
    parser.add_argument("--with-secrets", action="store_true", help="yaml: write the Secrets as well, in clear")
    parser.add_argument("--strict", action="store_true", help="exit status 1 when something is not carried over")


def run(args: argparse.Namespace) -> int:
    """Exit status 0 or 1; `ConfigError` for a file that has no meaning, `UsageError` where nothing can be written."""
    imported = read_foreign(args.file)
    text, remarks = _yaml(imported, args) if args.to == "yaml" else _toml(imported, args.output)
    if args.output is None:
        print(text, end="")
    else:
        _write(args.output, text)
    _tell(args.file, imported, remarks)
    is_complete = all(note.fate is not Fate.LOST for note in imported.notes)
    return 1 if args.strict and not is_complete else 0


def _toml(imported: Imported, output: Path | None) -> tuple[str, list[str]]:
    """The text and what to say about it. Users that have no file of their own are written beside `output`."""
    config = imported.config
    if imported.users is None:
        return dumps(config), []
    name = _USERS_ON_STDOUT if output is None else f"{output.stem}.users.txt"
    config = config.model_copy(update={"auth": config.auth.model_copy(update={"users_file": name})})
    if output is None:
        return dumps(config), [f"the users are not printed; with --output they are written beside it, here to {name}"]
    _write(output.with_name(name), format_users(imported.users))
    return dumps(config), []


def _yaml(imported: Imported, args: argparse.Namespace) -> tuple[str, list[str]]:
    from helios.commands.resources import manifests
    from helios_crds.yaml import dump

    name = args.name or re.sub(r"[^a-z0-9]+", "-", args.file.stem.lower()).strip("-")
    made = manifests(imported, name, with_secrets=args.with_secrets)
    return "---\n".join(dump(document) for document in made.documents), made.remarks


def _write(file: Path, text: str) -> None:
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
            os.fchmod(descriptor, 0o600)
            opened.write(text)
    except OSError as error:
        raise UsageError(f"cannot write {file}: {(error.strerror or str(error)).lower()}") from error


def _tell(file: Path, imported: Imported, remarks: Sequence[str]) -> None:
    for note in imported.notes:
        print(_line(note), file=sys.stderr)
    for remark in remarks:
        print(f"note: {remark}", file=sys.stderr)
    count = Counter(note.fate for note in imported.notes)
    others = ", ".join(f"{count[fate]} {label}" for fate, label in _LABELS.items()).replace(" note,", " with a note,")
    print(f"{file}: {imported.carried} settings carried over, {others}", file=sys.stderr)


def _line(note: Note) -> str:
    refusal = "; `helios serve` refuses this file as it is" if note.unsafe else ""
    return f"{_LABELS[note.fate]}: {note.problem}{refusal}"
