"""The Rust workspace as cargo sees it: a copy of the clone's sources in the cache, beside one target folder for all.

Called by everything that compiles. Cargo tells whether a crate has changed by the age of its files, and takes equal
paths inside a workspace for the same crate, so two clones must not use one target folder directly: the younger
clone's build would pass for the older one's. Here a file is rewritten only when its content differs. Age then means
change, a clone with the same sources compiles nothing, and one with others compiles what differs.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from helios_make.places import Places

__all__ = ["RustWorkspace", "open_workspace", "rust_sources"]

ROOT_FILES = ("Cargo.toml", "Cargo.lock", "clippy.toml", "rustfmt.toml", "rust-toolchain.toml")


@dataclass(frozen=True)
class RustWorkspace:
    """The copy, while it is ours."""

    folder: Path
    """Where to run cargo."""
    target: Path

    def environment(self) -> dict[str, str]:
        """What cargo needs beside the clone's environment."""
        return {"CARGO_TARGET_DIR": str(self.target), "CARGO_TERM_PROGRESS_WHEN": "never"}


@contextmanager
def open_workspace(places: Places) -> Iterator[RustWorkspace]:
    """The workspace with the clone's sources of this moment; no other clone changes it meanwhile."""
    folder = places.cache / "rust" / "proxy"
    with places.lock("rust"):
        _mirror(places.root / "proxy", folder)
        yield RustWorkspace(folder, folder.parent / "target")


def rust_sources(workspace: Path) -> Iterator[Path]:
    """Every file that cargo may read, in a clone or in the copy."""
    for name in ROOT_FILES:
        if (workspace / name).is_file():
            yield workspace / name
    for file in (workspace / "crates").rglob("*"):
        inside = file.relative_to(workspace).parts
        if file.is_file() and not any(part == "target" or part.startswith(".") for part in inside):
            yield file


def _mirror(source: Path, copy: Path) -> None:
    """Make `copy` equal to `source`, touching only what differs."""
    copy.mkdir(parents=True, exist_ok=True)
    wanted = {file.relative_to(source) for file in rust_sources(source)}
    for surplus in {file.relative_to(copy) for file in rust_sources(copy)} - wanted:
        (copy / surplus).unlink()
    for file in wanted:
        content = (source / file).read_bytes()
        twin = copy / file
        if not twin.is_file() or twin.read_bytes() != content:
            twin.parent.mkdir(parents=True, exist_ok=True)
            twin.write_bytes(content)
            shutil.copymode(source / file, twin)
