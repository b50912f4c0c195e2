"""Know whether a step's result is still the result of its inputs: a digest of the inputs, kept beside the result."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

__all__ = ["digest", "is_current", "write_stamp"]


def digest(root: Path, files: Iterable[Path], *facts: str) -> str:
    """A digest of files (path below `root` and content) and of facts such as a compiler's version."""
    total = hashlib.sha256()
    for fact in facts:
        total.update(f"{fact}\0".encode())
    for file in sorted(files):
        total.update(f"{file.relative_to(root)}\0{hashlib.sha256(file.read_bytes()).hexdigest()}\0".encode())
    return total.hexdigest()[:20]


def is_current(stamp: Path, key: str) -> bool:
    """Whether the result beside `stamp` was made from inputs with this digest."""
    return stamp.is_file() and stamp.read_text(encoding="utf-8") == key


def write_stamp(stamp: Path, key: str) -> None:
    """Note the inputs' digest; called last, when the result is complete."""
    stamp.write_text(key, encoding="utf-8")
