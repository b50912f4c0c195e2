"""Read helios.toml, or a file of the original product, as a `ProxyConfig`; refuse it with everything that is wrong.

Called by the commands and on reload. The steps: text → `tomllib` → variables (`environment`) → old keys (`legacy`) →
models (`validation`) → rules over several fields (`checks`). `helios.config.writer` is the way back.
"""

from __future__ import annotations

import hashlib
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import SecretStr

from helios.config.base import HeliosModel
from helios.config.checks import caution
from helios.config.environment import quote_bare_variables, substitute
from helios.config.legacy import translate
from helios.config.proxy import CONFIG_VERSION, ProxyConfig
from helios.config.toml_lines import key_lines
from helios.config.tree import Finding, Locator, Tree, get, leaves, parse_path, parse_path_text, put, remove
from helios.config.tree import Path as KeyPath
from helios.config.validation import build
from helios.config.writer import dumps
from helios.errors import ConfigError, Problem

__all__ = [
    "Loaded",
    "decode",
    "dumps",
    "load",
    "load_document",
    "load_with_warnings",
    "loads",
    "loads_with_warnings",
    "parse_toml",
    "read_document",
]

MAX_CONFIG_BYTES = 8 << 20
"""Largest file that is read as a configuration; ten thousand databases stay below it."""

SHORTHAND_CLUSTER = "main"
"""Name of the cluster that top-level `[[nodes]]` stand for."""


_Model = TypeVar("_Model", bound=HeliosModel)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration and what its author should know about it."""

    config: ProxyConfig
    warnings: tuple[Problem, ...]
    locator: Locator = field(repr=False, compare=False)
    variables: Mapping[KeyPath, str] = field(repr=False, compare=False)
    """Path of a field → text with `${VAR}` that stood for its value."""
    digest: str = field(default="", compare=False)
    """SHA-256 of the document's bytes, in lower-case hex; empty for a text that was no document."""

    def locate(self, problem: Problem) -> Problem:
        """A problem that was found after loading, with the place of its field where it has none."""
        if problem.source:
            return problem
        return self.locator.problem(Finding(parse_path_text(problem.field), problem.message, problem.hint))


def load(path: str | Path) -> ProxyConfig:
    """The configuration in a file; relative `*_file` paths are made absolute. `ConfigError` with every problem."""
    return load_with_warnings(path).config


def load_with_warnings(
    path: str | Path, overrides: Mapping[str, Any] | None = None, *, absolute_files: bool = True
) -> Loaded:
    """As `load`, with deprecations and cautions. `overrides` (dotted key → value) win over the file's keys.

    `absolute_files=False` leaves `*_file` paths as they are written, for `helios convert`.
    """
    path = Path(path)
    folder = path.absolute().parent if absolute_files else None
    return _from_bytes(read_document(path), str(path), folder, overrides)


def load_document(document: bytes, source: str, folder: Path) -> Loaded:
    """As `load_with_warnings`, of a document that lies in no file; relative `*_file` paths start at `folder`."""
    _refuse_too_large(document, source)
    return _from_bytes(document, source, folder)


def _from_bytes(
    document: bytes, source: str, folder: Path | None, overrides: Mapping[str, Any] | None = None
) -> Loaded:
    loaded = loads_with_warnings(decode(document, source), source, overrides)
    config = loaded.config if folder is None else _with_absolute_files(loaded.config, folder)
    return replace(loaded, config=config, digest=hashlib.sha256(document).hexdigest())


def loads(text: str, source: str = "<text>") -> ProxyConfig:
    """The configuration in `text`; `source` is its name in messages. `ConfigError` with every problem."""
    return loads_with_warnings(text, source).config


def loads_with_warnings(text: str, source: str = "<text>", overrides: Mapping[str, Any] | None = None) -> Loaded:
    """As `loads`, with deprecations and cautions."""
    tree, text = parse_toml(text, source)
    lines = key_lines(text)
    _refuse_newer_version(tree, Locator(source, lines))
    _override(tree, overrides or {})
    before = {path: text for path, text in leaves(tree) if isinstance(text, str) and "${" in text}
    unusable = substitute(tree, os.environ)
    variables = {path: (text, get(tree, path)) for path, text in before.items()}
    for finding in unusable:
        remove(tree, finding.path)
    translation = translate(tree)
    origins = dict(translation.origins)
    shorthand = _expand_nodes(tree, origins)
    damaged = frozenset(str(finding.path[0]) for finding in unusable)
    config, findings = build(tree, damaged)
    locator = Locator(source, lines, origins)
    as_written = Locator(source, lines)
    problems = [as_written.problem(finding) for finding in (*unusable, *translation.problems, *shorthand)]
    reported = {finding.path for finding in unusable}
    problems += [locator.problem(finding) for finding in findings if locator.written(finding.path) not in reported]
    if config is None or problems:
        raise ConfigError(sorted(problems, key=lambda problem: problem.line or 0))
    warnings = [as_written.problem(finding) for finding in translation.warnings]
    warnings += [locator.problem(finding) for finding in caution(config)]
    return Loaded(config, tuple(warnings), locator, _variables(config, variables, origins))


def read_document(path: Path) -> bytes:
    """The bytes of a configuration file. `ConfigError` where it cannot be read or is too large."""
    source = str(path)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_CONFIG_BYTES + 1)
    except IsADirectoryError as error:
        raise ConfigError([Problem("is a folder", "", "name the file in it", source)]) from error
    except (OSError, ValueError) as error:  # ValueError: a path with a zero byte
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise ConfigError([Problem(f"cannot be read: {reason}", "", "check path and rights", source)]) from error
    _refuse_too_large(data, source)
    return data


def _refuse_too_large(data: bytes, source: str) -> None:
    if len(data) > MAX_CONFIG_BYTES:
        raise ConfigError([Problem(f"is larger than {MAX_CONFIG_BYTES} bytes", "", "is it the right file?", source)])


def decode(data: bytes, source: str) -> str:
    """UTF-8 as text, without a byte order mark. `ConfigError` names the line of the first byte that is none."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        message = f"is not UTF-8 text (byte 0x{data[error.start]:02x})"
        raise ConfigError([Problem(message, "", "save the file as UTF-8", source, line)]) from error


def parse_toml(text: str, source: str) -> tuple[Tree, str]:
    """The tree, and the text it was parsed from. `ConfigError` names the place of what is no TOML."""
    try:
        return tomllib.loads(text), text
    except (ValueError, RecursionError) as error:
        quoted = quote_bare_variables(text)
        if quoted != text:
            return parse_toml(quoted, source)
        raise ConfigError([_syntax_problem(error, text, source)]) from error


def _syntax_problem(error: Exception, text: str, source: str) -> Problem:
    message = str(error)
    place = re.search(r"\s*\(at (?:line (\d+), column (\d+)|end of document)\)", message)
    if place is None:
        return Problem(f"is no valid TOML: {message}", source=source)
    line = int(place[1]) if place[1] else text.count("\n") + 1
    what = message[: place.start()]
    at = f" at column {place[2]}" if place[2] else " at the end of the file"
    hint = 'strings stand in double quotes, keys are followed by "="'
    return Problem(f"is no valid TOML{at}: {what[:1].lower()}{what[1:]}", "", hint, source, line)


def _refuse_newer_version(tree: Tree, locator: Locator) -> None:
    version = tree.get("config_version")
    if isinstance(version, int) and version > CONFIG_VERSION:
        message = f"is {version}, but this release of Helios reads versions up to {CONFIG_VERSION}"
        hint = "run the release that wrote the file, or a newer one"
        raise ConfigError([locator.problem(Finding(("config_version",), message, hint))])


def _override(tree: Tree, overrides: Mapping[str, Any]) -> None:
    """Set keys over those of the file; `nodes` replace its clusters."""
    if "nodes" in overrides:
        tree.pop("clusters", None)
    for key, value in overrides.items():
        put(tree, parse_path(key), value)


def _expand_nodes(tree: Tree, origins: dict[KeyPath, KeyPath]) -> list[Finding]:
    """Top-level `[[nodes]]` are one cluster."""
    if "nodes" not in tree:
        return []
    nodes = tree.pop("nodes")
    if "clusters" in tree:
        return [Finding(("nodes",), "stand beside clusters", "move them into [[clusters.nodes]] of one cluster")]
    tree["clusters"] = [{"name": SHORTHAND_CLUSTER, "nodes": nodes}]
    for new, old in list(origins.items()):
        if new[0] == "nodes":
            del origins[new]
            origins[("clusters", 0, *new)] = old
    origins[("clusters", 0, "nodes")] = ("nodes",)
    return []


def _variables(
    config: ProxyConfig, variables: Mapping[KeyPath, tuple[str, str]], origins: Mapping[KeyPath, KeyPath]
) -> dict[KeyPath, str]:
    """Texts with variables by today's paths, as far as their values were taken over as they are."""
    found = {}
    for path, (text, expanded) in variables.items():
        moves = [(new, old) for new, old in origins.items() if path[: len(old)] == old]
        new, old = max(moves, key=lambda move: len(move[1]), default=((), ()))
        today = new + path[len(old) :]
        if _text_at(config, today) == expanded:
            found[today] = text
    return found


def _text_at(config: ProxyConfig, path: KeyPath) -> str | None:
    """The value at `path` as an environment variable would hold it; None where there is none."""
    value: Any = config
    for part in path:
        if isinstance(part, str):
            value = getattr(value, part, None)
        else:
            value = value[part] if isinstance(value, tuple) and part < len(value) else None
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return None if value is None else str(value).lower() if isinstance(value, bool) else str(value)


_PATHS = ("_file", "_dir")
"""How the names of fields end that hold a path."""


def _with_absolute_files(config: ProxyConfig, folder: Path) -> ProxyConfig:
    """Relative paths start at the folder of the configuration, wherever the process was started."""
    return _absolute(config, folder).model_copy(
        update={
            "admin": _absolute(config.admin, folder),
            "auth": _absolute(config.auth, folder),
            "handover": _absolute(config.handover, folder),
            "monitor": _absolute(config.monitor, folder),
            "tls": _absolute(config.tls, folder),
            "clusters": tuple(
                cluster.model_copy(update={"tls": _absolute(cluster.tls, folder)}) for cluster in config.clusters
            ),
            "databases": tuple(_absolute(entry, folder) for entry in config.databases),
        }
    )


def _absolute(model: _Model, folder: Path) -> _Model:
    files = {name: getattr(model, name) for name in type(model).model_fields if name.endswith(_PATHS)}
    return model.model_copy(update={name: str(folder / file) for name, file in files.items() if file is not None})
