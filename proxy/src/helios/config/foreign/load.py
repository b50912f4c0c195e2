"""Serve a foreign file as it is. Called by `helios serve` and `helios check`; `helios import` writes ours instead."""

from __future__ import annotations

import hashlib
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from helios.config.foreign.draft import Imported
from helios.config.foreign.pgbouncer import read_pgbouncer
from helios.config.foreign.pgcat import is_pgcat, read_pgcat
from helios.config.foreign.settings import Fate
from helios.config.loader import Loaded, load_with_warnings, read_document
from helios.config.users import format_users
from helios.errors import ConfigError, Problem

__all__ = ["Load", "loading", "read_foreign"]

Load = Callable[[Path], Loaded]
"""Read a file as a configuration. `ConfigError` with every problem."""

INI_SUFFIX = ".ini"


@contextmanager
def loading(path: Path, admin: str | None = None) -> Iterator[Load]:
    """How to load a file, now and at each reload: ours by the loader, one of another pooler by what is made of it.

    `admin` (`host:port`) goes before the file's admin.address, for which other poolers have no place. Users that a
    foreign file holds itself lie in a private folder as long as the context lasts.
    """
    if not _is_foreign(path):
        yield partial(load_with_warnings, overrides={} if admin is None else {"admin.address": admin})
        return
    with tempfile.TemporaryDirectory(prefix="helios-") as folder:  # readable for its owner only
        yield partial(_load_foreign, folder=Path(folder), admin=admin)


def read_foreign(path: Path) -> Imported:
    """A file of another pooler: an ini is PgBouncer's, anything else PgCat's. `ConfigError` with every problem."""
    return read_pgbouncer(path) if path.suffix == INI_SUFFIX else read_pgcat(path)


def _is_foreign(path: Path) -> bool:
    """A file that cannot be read as TOML is left to the loader, which says why."""
    if path.suffix == INI_SUFFIX:
        return True
    try:
        return is_pgcat(tomllib.loads(read_document(path).decode()))
    except (ConfigError, ValueError, RecursionError):
        return False


def _load_foreign(path: Path, folder: Path, admin: str | None) -> Loaded:
    """As `load_with_warnings`. What is not carried over is a warning; what must not go missing, a refusal."""
    digest = hashlib.sha256(read_document(path)).hexdigest()
    imported = read_foreign(path)
    if unsafe := [_refusal(note.problem) for note in imported.notes if note.unsafe]:
        raise ConfigError(unsafe)
    config = imported.config
    if imported.users is not None:
        text = format_users(imported.users)
        file = folder / f"users-{hashlib.sha256(text.encode()).hexdigest()[:16]}.txt"  # one in force is never rewritten
        file.write_text(text, encoding="utf-8")
        config = config.model_copy(update={"auth": config.auth.model_copy(update={"users_file": str(file)})})
    if admin is not None:
        config = config.model_copy(update={"admin": config.admin.model_copy(update={"address": admin})})
    warnings = tuple(note.problem for note in imported.notes if note.fate is not Fate.NEEDLESS)
    return Loaded(config, warnings, imported.locator, {}, digest)


def _refusal(problem: Problem) -> Problem:
    hint = "; ".join(part for part in (problem.hint, "write a helios.toml with `helios import` and judge it") if part)
    return Problem(f"must not go missing unseen: {problem.message}", problem.field, hint, problem.source, problem.line)
