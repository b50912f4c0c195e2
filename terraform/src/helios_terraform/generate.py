"""`python -m helios_terraform.generate [--check]`: write what is made of the table for Terraform's users.

Called by `make generate`: the constructs of `helios_cdktf`, terraform/modules and terraform/docs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from helios_terraform.constructs import construct_files
from helios_terraform.module import module_files
from helios_terraform.pages import pages

__all__ = ["FOLDER", "main", "outputs"]

FOLDER: Final = Path(__file__).resolve().parents[2]
"""`terraform/`."""
OWNED: Final = ("docs/**/*.md", "modules/**/*.tf")
"""Globs in which every file is generated; one that is not is stale and goes."""


def outputs() -> dict[Path, str]:
    """File below `terraform/` → text."""
    return {**construct_files(), **module_files(), **pages(FOLDER)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the files, or with `--check` compare them; the exit status (1: stale)."""
    parser = argparse.ArgumentParser(prog="python -m helios_terraform.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 where a file is stale")
    options = parser.parse_args(arguments)
    made = outputs()
    stale = [path for path, text in made.items() if not _says(FOLDER / path, text)]
    stale += [path for path in _present() if path not in made]
    for path in stale:
        if options.check:
            sys.stderr.write(f"terraform/{path} is stale: run `make generate`\n")
        elif path in made:
            (FOLDER / path).parent.mkdir(parents=True, exist_ok=True)
            (FOLDER / path).write_text(made[path], encoding="utf-8")
            sys.stdout.write(f"wrote terraform/{path}\n")
        else:
            (FOLDER / path).unlink()
            sys.stdout.write(f"removed terraform/{path}\n")
    return 1 if options.check and stale else 0


def _present() -> list[Path]:
    return [file.relative_to(FOLDER) for pattern in OWNED for file in FOLDER.glob(pattern)]


def _says(file: Path, text: str) -> bool:
    return file.exists() and file.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    sys.exit(main())
