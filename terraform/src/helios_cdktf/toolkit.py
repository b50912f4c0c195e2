"""The one place that names the toolkit: cdktn where it is installed, else cdktf. What resources build on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

from helios_iac.connection import PROVIDER_FIELDS
from helios_iac.fields import RESOURCES
from helios_iac.problems import Level
from helios_iac.validate import validate
from helios_iac.values import UNKNOWN

__all__ = ["Construct", "HeliosResource", "HeliosproxyProvider", "toolkit"]

toolkit: Any = import_module("cdktn" if find_spec("cdktn") is not None else "cdktf")
Construct: Any = import_module("constructs").Construct
_SOURCE: Final = "heliosdatabase/heliosproxy"
_TOKEN: Final = re.compile(r"\$\{")


class HeliosproxyProvider(toolkit.TerraformProvider):  # type: ignore[misc] # neither library is imported by name
    """The provider and its arguments."""

    def __init__(self, scope: Any, id: str, **arguments: Any) -> None:
        """Raises ValueError for an argument that there is not."""
        unknown = arguments.keys() - {field.name for field in PROVIDER_FIELDS}
        if unknown:
            raise ValueError(f"the provider has no argument {', '.join(sorted(unknown))}")
        super().__init__(
            scope,
            id,
            terraform_resource_type="heliosproxy",
            terraform_generator_metadata=toolkit.TerraformProviderGeneratorMetadata(provider_name="heliosproxy"),
            terraform_provider_source=_SOURCE,
        )
        for name, value in arguments.items():
            if value is not None:
                self.add_override(name, value)


class HeliosResource(toolkit.TerraformResource):  # type: ignore[misc] # neither library is imported by name
    """One resource; its class says which, and what it takes."""

    word: str

    def __init__(self, scope: Any, id: str, attributes: Mapping[str, Any]) -> None:
        """Raises ValueError with every problem that the models see."""
        given = {name: value for name, value in attributes.items() if value is not None}
        errors = [each for each in validate(RESOURCES[self.word], _without_tokens(given)) if each.level is Level.ERROR]
        if errors:
            raise ValueError(f"{id}: {'; '.join(map(str, errors))}")
        metadata = toolkit.TerraformProviderGeneratorMetadata(provider_name="heliosproxy")
        super().__init__(
            scope,
            id,
            terraform_resource_type=f"heliosproxy_{self.word}",
            terraform_generator_metadata=metadata,
        )
        for name, value in given.items():
            self.add_override(name, value)

    def output(self, name: str) -> str:
        """An attribute for other resources, as a token."""
        return str(self.get_string_attribute(name))


def _without_tokens(value: Any) -> Any:
    """`value` with UNKNOWN for what Terraform will know only later."""
    if isinstance(value, str) and _TOKEN.search(value):
        return UNKNOWN
    if isinstance(value, Mapping):
        return {key: _without_tokens(item) for key, item in value.items()}
    return [_without_tokens(item) for item in value] if isinstance(value, (list, tuple)) else value
