"""What a resource has beside its object: whether it waits, the users that may log in, what it hands on to others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from helios.config import ProxyConfig
from helios.config.base import split_address
from helios_iac.fields import Field, ResourceType
from helios_iac.problems import Diagnostic
from helios_iac.users import secret_name

__all__ = ["CREDENTIALS", "ID", "OUTPUTS", "PASSWORD", "STRICT", "WAIT", "check_extras", "outputs", "outputs_of"]

STRICT: Final = "strict"
WAIT: Final = Field(
    "wait_for_ready",
    "wait_for_ready",
    "string",
    "Whether a create or change waits for the condition: `true` (not in time: a warning), `strict` (an error), `false`."
    " Left out: `true`.",
    bounds={"enum": ["true", STRICT, "false"]},
)
PASSWORD: Final = Field(
    "password_wo",
    "password_wo",
    "string",
    "Password of the user; a SCRAM verifier of it goes into the Secret. Terraform has it in no state, plan or log; "
    "Pulumi encrypts it in its state.",
)
CREDENTIALS: Final = Field(
    "credentials",
    "credentials",
    "map",
    "Users that may log in, by name. They are written into Secret `<name>-users`. Needs Terraform or OpenTofu 1.11.",
    item=Field(
        "credential",
        "credential",
        "object",
        "A user's password.",
        fields=(
            PASSWORD,
            Field(
                "password_wo_version",
                "password_wo_version",
                "integer",
                "Raise it when the password changes, which cannot be seen otherwise.",
            ),
        ),
    ),
)
ID: Final = Field("id", "id", "string", "`namespace/name`, as imports take it.")
OUTPUTS: Final = (
    Field("endpoint", "endpoint", "string", "`host:port` for PostgreSQL clients inside of the cluster."),
    Field("connection_secret", "connection_secret", "string", "Secret with the users that may log in."),
    Field("current_primary", "current_primary", "string", "`host:port` of the primary, as the pods saw it last."),
)
"""Computed attributes of an instance: those that stay true until its spec changes."""
_LISTEN_PORT: Final = split_address(ProxyConfig().listen_address)[1]


def outputs_of(resource: ResourceType) -> tuple[Field, ...]:
    """Computed attributes that a change of the spec may change."""
    return OUTPUTS if resource.word == "instance" else ()


def outputs(resource: ResourceType, live: Mapping[str, Any]) -> dict[str, Any]:
    """The computed attributes of an object, by Terraform's names."""
    metadata, spec = live["metadata"], live.get("spec") or {}
    name, namespace = metadata["name"], metadata["namespace"]
    made: dict[str, Any] = {"id": f"{namespace}/{name}"}
    if outputs_of(resource):
        named = (spec.get("auth") or {}).get("usersSecretRef") or {}
        made["endpoint"] = f"{name}.{namespace}.svc:{spec.get('listenPort') or _LISTEN_PORT}"
        made["connection_secret"] = named.get("name") or secret_name(name)
        made["current_primary"] = (live.get("status") or {}).get("currentPrimary")
    return made


def check_extras(mode: Any, users: Any) -> list[Diagnostic]:
    """What is wrong with the wait and the credentials."""
    found: list[Diagnostic] = []
    if isinstance(mode, str) and mode not in WAIT.bounds["enum"]:
        found.append(Diagnostic(f'{WAIT.name} is "{mode}"', f"allowed: {', '.join(WAIT.bounds['enum'])}", (WAIT.name,)))
    for user in users if isinstance(users, Mapping) else ():
        if not user or any(char in user for char in "\x00\n\r"):
            what = "credentials: a name of a user must not be empty or hold line breaks"
            found.append(Diagnostic(what, "write the role as PostgreSQL has it", (CREDENTIALS.name, user)))
    return found
