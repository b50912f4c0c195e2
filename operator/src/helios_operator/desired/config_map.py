"""ConfigMap `<name>-config`: the document that all pods of a proxy read. It holds no secret."""

from __future__ import annotations

from typing import Any

from helios.kube.kinds import CONFIG_MAP
from helios_operator.desired.metadata import Owner
from helios_operator.document import ConfigDocument
from helios_operator.names import CONFIG_KEY, GENERATION

__all__ = ["config_map"]


def config_map(owner: Owner, document: ConfigDocument) -> dict[str, Any]:
    """The ConfigMap with `document`."""
    annotations = {GENERATION: str(document.generation)}
    made = owner.child(CONFIG_MAP, owner.key.config_map, annotations)
    return {**made, "data": {CONFIG_KEY: document.text}}
