"""`python -m helios_pulumi.generate [--check]`: write pulumi/schema.json. Called by `make generate`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from helios_pulumi.schema import package_schema

__all__ = ["main"]

SCHEMA: Final = Path(__file__).resolve().parents[2] / "schema.json"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the file, or with `--check` compare it; the exit status (1: stale)."""
    parser = argparse.ArgumentParser(prog="python -m helios_pulumi.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 where the file is stale")
    options = parser.parse_args(arguments)
    text = json.dumps(package_schema(), indent=2, ensure_ascii=False) + "\n"
    present = SCHEMA.read_text(encoding="utf-8") if SCHEMA.exists() else ""
    if present == text:
        return 0
    if options.check:
        sys.stderr.write("pulumi/schema.json is stale: run `make generate`\n")
        return 1
    SCHEMA.write_text(text, encoding="utf-8")
    sys.stdout.write("wrote pulumi/schema.json\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
