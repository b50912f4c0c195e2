"""Secret `<name>-admin`: token and certificate of a proxy's admin API. Its values come from `credentials`."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from helios.kube.kinds import SECRET
from helios_operator.desired.metadata import Owner

__all__ = ["admin_secret"]


def admin_secret(owner: Owner, files: Mapping[str, bytes], annotations: Mapping[str, str]) -> dict[str, Any]:
    """The Secret that holds `files`."""
    made = owner.child(SECRET, owner.key.admin, annotations)
    data = {name: base64.b64encode(content).decode() for name, content in files.items()}
    return {**made, "type": "Opaque", "data": data}
