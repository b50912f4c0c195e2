"""The configuration document of a proxy: its text, its hash, its generation, and what pods need to run it. Pure.

Called by the reconciler. The generation grows with every change of the text and never else. It lives in the ConfigMap,
with a copy on the Deployment, so that an operator that starts anew goes on counting where the last one stopped.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final

from helios.config import ProxyConfig
from helios.config.base import split_address
from helios.config.reload import RESTART_FIELDS
from helios.config.secrets import named_files
from helios.config.writer import dumps
from helios_crds.placement import SECRETS_FOLDER
from helios_operator.names import CONFIG_KEY
from helios_operator.records import MAX_GENERATION, Child
from helios_operator.writer import digest

__all__ = ["ConfigDocument", "config_hash", "next_document", "present_document"]

DEFAULTS: Final = ProxyConfig()


@dataclass(frozen=True, slots=True)
class ConfigDocument:
    """One document as it is written into the ConfigMap."""

    text: str
    generation: int
    restart: str
    """Hash over the settings that need a start; part of the pod template."""
    listen_port: int
    admin_port: int
    secrets: tuple[tuple[str, str], ...]
    """(Secret, key) of every file that the document names."""

    @property
    def hash(self) -> str:
        """As the pods report it."""
        return config_hash(self.text)


def config_hash(text: str) -> str:
    """Lower-case hex SHA-256 of the bytes of a document."""
    return hashlib.sha256(text.encode()).hexdigest()


def next_document(config: ProxyConfig, config_map: Child | None, known: Iterable[int]) -> ConfigDocument:
    """The document for `config`: the present one if it says the same, else one with a higher generation than all known.

    `known` are generations seen elsewhere: on the Deployment, in the pods.
    """
    present = max(_generations(config_map), default=0)
    highest = max((present, *known))
    if present == highest and present > 0:
        made = _document(config, present)
        if made.text == _text(config_map):
            return made
    return _document(config, highest + 1)


def present_document(config_map: Child | None) -> ConfigDocument | None:
    """What the ConfigMap holds, for a proxy whose new configuration is refused; None if it holds none of ours."""
    text = _text(config_map)
    if text is None:
        return None
    try:
        config = ProxyConfig.model_validate(tomllib.loads(text))
    except ValueError:  # somebody else wrote it; there is nothing to keep
        return None
    return _described(config, text)


def _document(config: ProxyConfig, generation: int) -> ConfigDocument:
    numbered = config.model_copy(update={"generation": generation})
    return _described(numbered, dumps(numbered))


def _described(config: ProxyConfig, text: str) -> ConfigDocument:
    return ConfigDocument(
        text=text,
        generation=config.generation,
        restart=_restart(config),
        listen_port=split_address(config.listen_address)[1],
        admin_port=split_address(config.admin.address)[1],
        secrets=tuple(sorted(_secrets(config))),
    )


def _restart(config: ProxyConfig) -> str:
    """Only settings that differ from their defaults count, so that a release with more of them restarts nobody."""
    values: dict[str, str] = {}
    for path in RESTART_FIELDS:
        value: Any = config
        default: Any = DEFAULTS
        for step in path.split("."):
            value, default = getattr(value, step), getattr(default, step)
        if value != default:
            values[path] = str(value)
    return digest(values)[:16]


def _secrets(config: ProxyConfig) -> set[tuple[str, str]]:
    """(Secret, key) of the named files that are mounted from Secrets of users."""
    paths = [PurePosixPath(file) for file in named_files(config)]
    return {(path.parent.name, path.name) for path in paths if path.is_relative_to(SECRETS_FOLDER)}


def _text(config_map: Child | None) -> str | None:
    data = {} if config_map is None else config_map.content.get("data") or {}
    return data.get(CONFIG_KEY)


def _generations(config_map: Child | None) -> list[int]:
    """What the ConfigMap says about its generation, in the annotation and in the document itself."""
    found = [config_map.generation] if config_map is not None else []
    try:
        written = tomllib.loads(_text(config_map) or "").get("generation")
    except tomllib.TOMLDecodeError:
        written = None  # somebody wrote something else into it; the annotation knows
    if isinstance(written, int) and 0 <= written < MAX_GENERATION:
        found.append(written)
    return found
