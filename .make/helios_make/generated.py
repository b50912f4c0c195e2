"""A generated file: write it, or say how it differs from what would be written. Called by the generators here."""

import difflib
import sys
from pathlib import Path

__all__ = ["check", "write"]


def write(root: Path, path: Path, text: str) -> int:
    """Write a file of the clone unless it says that already; the exit status."""
    if _read(root / path) != text:
        (root / path).write_text(text, encoding="utf-8")
        print(f"wrote {path}")
    return 0


def check(root: Path, path: Path, text: str) -> int:
    """Print how a file of the clone differs from this text; 1 if it does."""
    lines, wanted = (content.splitlines(keepends=True) for content in (_read(root / path), text))
    difference = list(difflib.unified_diff(lines, wanted, str(path), f"{path} (generated)"))
    sys.stdout.writelines(difference)
    if difference:
        print("generated files are stale: run `make generate`", file=sys.stderr)
    return 1 if difference else 0


def _read(file: Path) -> str:
    return file.read_text(encoding="utf-8") if file.exists() else ""
