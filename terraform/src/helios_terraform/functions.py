"""The provider's functions: `render_config(name, spec)` and `dsn(endpoint, user, database)`. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from helios.config.writer import dumps
from helios_crds import HeliosProxy, PoolProfile
from helios_crds.parse import parse_as
from helios_crds.problems import ResourceError
from helios_crds.references import References
from helios_crds.render import render
from helios_iac.fields import RESOURCES
from helios_iac.problems import IacError, Level
from helios_iac.validate import document_of, validate
from helios_terraform.plugin.wire import fitting

__all__ = ["FUNCTIONS", "Function", "Parameter"]


@dataclass(frozen=True)
class Parameter:
    """One argument; its type as Terraform writes it."""

    name: str
    type: Any
    description: str


@dataclass(frozen=True)
class Function:
    """One function and what computes it. `call` raises IacError; its path is the number of the argument."""

    summary: str
    description: str
    parameters: tuple[Parameter, ...]
    call: Callable[[Sequence[Any]], str]


def _render_config(arguments: Sequence[Any]) -> str:
    name, spec = arguments
    resource = RESOURCES["instance"]
    if not isinstance(spec, Mapping):
        raise IacError("spec is no object", "write the attributes of a heliosproxy_instance", (1,))
    known = {field.name for field in resource.spec.fields}
    if unknown := sorted(spec.keys() - known):
        raise IacError(f"spec has no attribute {', '.join(unknown)}", f"known are {', '.join(sorted(known))}", (1,))
    attributes = {**(fitting(resource.spec.fields, spec) or {}), "name": name}
    errors = [each for each in validate(resource, attributes) if each.level is Level.ERROR]
    if errors:
        raise IacError("; ".join(map(str, errors)), "", (1,))
    try:
        result = render(parse_as(HeliosProxy, document_of(resource, attributes)), _with_default_profile(attributes))
    except ResourceError as error:
        raise IacError(str(error), "", (1,)) from error
    if result.config is None:
        raise IacError("; ".join(str(problem) for problem in result.errors), "", (1,))
    return dumps(result.config)


def _with_default_profile(attributes: Mapping[str, Any]) -> References:
    """Where a PoolProfile is named its settings are not known here; the text has those of the spec alone."""
    name = attributes.get("pool_profile_ref")
    if not name:
        return References()
    document = document_of(RESOURCES["pool_profile"], {"name": name})
    return References(pool_profiles={name: parse_as(PoolProfile, document)})


def _dsn(arguments: Sequence[Any]) -> str:
    endpoint, user, database = arguments
    if not endpoint or not user or not database:
        raise IacError("endpoint, user and database must not be empty", "", (0,))
    return f"postgresql://{quote(user, safe='')}@{endpoint}/{quote(database, safe='')}"


FUNCTIONS: Final[Mapping[str, Function]] = {
    "render_config": Function(
        "The helios.toml that a spec stands for",
        "What the operator would write for a `heliosproxy_instance` with these attributes: for a review, or for a "
        "proxy outside of Kubernetes. Nodes must be in the spec.",
        (
            Parameter("name", "string", "Name of the instance."),
            Parameter("spec", "dynamic", "Attributes of a `heliosproxy_instance`, as an object."),
        ),
        _render_config,
    ),
    "dsn": Function(
        "A connection string for applications",
        "`postgresql://user@endpoint/database`, without a password: applications take that from their own Secret.",
        (
            Parameter("endpoint", "string", "The `endpoint` of an instance."),
            Parameter("user", "string", "The role to log in as."),
            Parameter("database", "string", "The database."),
        ),
        _dsn,
    ),
}
"""Name → function."""
