"""Folders and files that play makes: open to PostgreSQL's user, private where they hold secrets, or a clear refusal.

Called by helios.play.postgres, helios.play.data_folder and helios.play.session.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from helios.play.errors import PlayError, PostgresError
from helios.play.process import Identity, hidden_folder, unprivileged_identity

__all__ = ["open_folder", "private_folder", "remove_tree", "write_private"]


def open_folder(path: Path, identity: Identity | None = None) -> Path:
    """Make `path` a folder that PostgreSQL's user owns and can reach; returns it.

    `identity` defaults to unprivileged_identity(). Raises PostgresError naming the parent folder that is closed to it.
    """
    identity = identity or unprivileged_identity()
    try:
        path.mkdir(parents=True, exist_ok=True)
        if identity is not None and path.stat().st_uid != identity.uid:
            os.chown(path, identity.uid, identity.gid)
    except OSError as error:
        raise PostgresError(f"cannot make the data folder {path}: {error.strerror}") from error
    closed = hidden_folder(path, identity)
    if identity is not None and closed is not None:
        raise PostgresError(
            f"data folder {path}: PostgreSQL runs as user {identity.name}, who may not enter {closed}; "
            f"choose another folder with --data, or run `chmod o+x {closed}`"
        )
    return path


def remove_tree(path: Path) -> None:
    """Delete a folder with all it holds; a missing one is fine. Raises PostgresError."""
    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise PostgresError(f"cannot remove {path}: {error.strerror}") from error


def private_folder(path: Path) -> Path:
    """Make `path` a folder that only we may enter; returns it. Raises PlayError."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.chmod(0o700)
    except OSError as error:
        raise PlayError(f"cannot make the folder {path}: {error.strerror}") from error
    return path


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only we may read, whole or not at all. Raises PlayError (no space, no permission)."""
    draft = path.with_name(f".{path.name}.new")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(content)
        draft.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise PlayError(f"cannot write {path}: {error.strerror}") from error
