"""The files of the repository as git sees them. Used by the tests of this folder."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

__all__ = ["ROOT", "files", "text"]

ROOT = Path(__file__).resolve().parents[2]


@cache
def files() -> tuple[Path, ...]:
    """Every tracked file and every new one that git would add, relative to the root."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    # A file removed but not yet committed is listed still.
    return tuple(sorted(Path(name) for name in listing.split("\0") if name and (ROOT / name).is_file()))


def text(file: Path) -> str | None:
    """A file's text, or None for one that is not text."""
    try:
        return (ROOT / file).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None
