"""Types that several resources share. Each string, list and map has a bound, which the CEL cost estimate needs."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field, GetJsonSchemaHandler, StringConstraints
from pydantic_core import CoreSchema

__all__ = ["Image", "LabelMap", "ObjectName", "Quantity", "SecretKey", "ServiceName", "UsedByName"]

ObjectName = Annotated[
    str, StringConstraints(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$")
]
"""Name of a Kubernetes object: lower case letters, digits, `-` and `.`."""

UsedByName = Annotated[str, StringConstraints(min_length=1, max_length=253)]

ServiceName = Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$")]
"""Name of a Service: a DNS label that starts with a letter."""

SecretKey = Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")]
"""Key in the data of a Secret; it becomes a file name."""

Image = Annotated[str, StringConstraints(min_length=1, max_length=512, pattern=r"^\S+$")]
"""Container image with tag or digest."""

LabelMap = dict[str, str]

_QUANTITY: Final = r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$"


def _check_quantity(value: str | int) -> str | int:
    if not re.match(_QUANTITY, str(value)):
        raise ValueError("must be a Kubernetes quantity such as 250m, 2 or 512Mi")
    return value


class _IntOrString:
    """Kubernetes' own form of "integer or string"."""

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        handler(core)
        return {"x-kubernetes-int-or-string": True, "pattern": _QUANTITY, "maxLength": 32}


Quantity = Annotated[Annotated[str, Field(max_length=32)] | int, AfterValidator(_check_quantity), _IntOrString()]
"""Amount of CPU or memory as Kubernetes writes it: `250m`, `2`, `512Mi`."""
