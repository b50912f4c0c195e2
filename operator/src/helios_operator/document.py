"""The configuration document of a proxy: its text, its hash, its generation, and what pods need to run it. Pure.

Called by the reconciler. The generation grows with every change of the text and never else. It lives in the ConfigMap,
with a copy on the Deployment, so that an operator that starts anew goes on counting where the last one stopped.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter
from pathlib import PurePosixPath
from typing import Final

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
RESTART: Final = {path: attrgetter(path) for path in RESTART_FIELDS}


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
    read_port: int | None = None
    """For clients that only read; None where there is none."""
    backends: tuple[tuple[str, int], ...] = ()
    """(host, port) of every server."""
    first_share: int = 0
    """Server connections of a pod that was granted none yet; 0 for any number."""

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
    text = _text(config_map)
    highest = max(known, default=0)
    for present in _generations(config_map):
        if present > 0 and present >= highest and (made := _document(config, present)).text == text:
            return made
        highest = max(highest, present)
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
        read_port=split_address(config.read_listen_address)[1] if config.read_listen_address else None,
        secrets=tuple(sorted(_secrets(config))),
        backends=tuple(sorted({(node.host, node.port) for each in config.clusters for node in each.nodes})),
        first_share=config.limits.max_server_connections,
    )


def _restart(config: ProxyConfig) -> str:
    """Only settings that differ from their defaults count, so that a release with more of them restarts nobody."""
    values = {path: (value_of(config), value_of(DEFAULTS)) for path, value_of in RESTART.items()}
    return digest({path: str(value) for path, (value, default) in values.items() if value != default})[:16]


def _secrets(config: ProxyConfig) -> set[tuple[str, str]]:
    """(Secret, key) of the named files that are mounted from Secrets of users."""
    places = map(_secret_of, named_files(config))
    return {place for place in places if place is not None}


@lru_cache(maxsize=4096)
def _secret_of(file: str) -> tuple[str, str] | None:
    """(Secret, key) of a file; the files of the operator's own Secret are the same for all proxies."""
    path = PurePosixPath(file)
    return (path.parent.name, path.name) if path.is_relative_to(SECRETS_FOLDER) else None


def _text(config_map: Child | None) -> str | None:
    data = {} if config_map is None else config_map.content.get("data") or {}
    return data.get(CONFIG_KEY)


def _generations(config_map: Child | None) -> Iterator[int]:
    """What the ConfigMap says: its annotation, then the document itself, which takes long to read."""
    if config_map is None:
        return
    yield config_map.generation
    try:
        written = tomllib.loads(_text(config_map) or "").get("generation")
    except tomllib.TOMLDecodeError:
        return  # somebody wrote something else into it; the annotation knows
    if isinstance(written, int) and 0 <= written < MAX_GENERATION:
        yield written
