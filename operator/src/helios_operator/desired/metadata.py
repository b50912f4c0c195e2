"""Metadata that all children share: name, labels, and the HeliosProxy as controller, so that they go with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from helios.kube import Kind
from helios_operator.names import PROXY, ProxyKey, labels_of

__all__ = ["Owner"]


@dataclass(frozen=True, slots=True)
class Owner:
    """The HeliosProxy that children belong to."""

    key: ProxyKey
    uid: str

    def child(self, kind: Kind, name: str, annotations: Mapping[str, str] | None = None) -> dict[str, Any]:
        """apiVersion, kind and metadata of a child."""
        metadata: dict[str, Any] = {"name": name, "namespace": self.key.namespace, "labels": labels_of(self.key)}
        if annotations:
            metadata["annotations"] = dict(annotations)
        metadata["ownerReferences"] = [self._reference()]
        return {"apiVersion": kind.api_version, "kind": kind.name, "metadata": metadata}

    def _reference(self) -> dict[str, Any]:
        return {
            "apiVersion": PROXY.api_version,
            "kind": PROXY.name,
            "name": self.key.name,
            "uid": self.uid,
            "controller": True,
            "blockOwnerDeletion": True,
        }
