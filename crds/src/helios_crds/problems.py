"""What can be wrong with a resource, as values.

`parse`, `render` and `workload` make them; `helios play` prints them, the operator turns them into conditions
(`reason` is written the way a Kubernetes condition reason is).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from helios.errors import ConfigError
from helios.errors import Problem as AnyProblem

__all__ = ["Problem", "Reason", "ResourceError", "Severity", "format_path"]


class Severity(StrEnum):
    """What follows from a problem."""

    ERROR = "error"
    """Nothing is rendered: running without it would be wrong or would pretend a protection that is absent."""
    WARNING = "warning"
    """The rest goes on; the user is told."""


class Reason(StrEnum):
    """Machine-readable cause. The words are stable: people match on them."""

    INVALID = "Invalid"
    """The value breaks the schema or a rule, or the file is no YAML."""
    UNKNOWN_FIELD = "UnknownField"
    """No such field; the hint gives the nearest known one."""
    UNKNOWN_KIND = "UnknownKind"
    """Not one of our kinds, or another version of one."""
    REF_MISSING = "RefMissing"
    """A referenced object, or a key of it, does not exist."""
    NOT_ACTED_ON = "NotActedOn"
    """The field is part of the contract, but this version does nothing with it."""
    NOT_IN_IMAGE = "NotInImage"
    """The proxy that is to read the configuration is of an older version, which does not know a key of it."""
    BACKENDS_MISSING = "BackendsMissing"
    """A cluster has no node yet: discovery found none."""
    NAME_CLAIMED = "NameClaimed"
    """A Service of the proxy would have the name of another proxy's."""
    AUTOSCALERS_CLASH = "AutoscalersClash"
    """Somebody else's autoscaler scales the same pods."""
    QUOTA_EXCEEDED = "QuotaExceeded"
    """Other HeliosProxies have what a TenantQuota allows."""
    CONFIG_INVALID = "ConfigInvalid"
    """Each field is fine alone, but with references and defaults they make no valid configuration."""


@dataclass(frozen=True, slots=True)
class Problem(AnyProblem):
    """One thing that is wrong with a resource; `field` is written as in YAML, e.g. `spec.nodes[0].port`."""

    reason: Reason = Reason.INVALID
    """Why it is reported."""

    severity: Severity = Severity.ERROR
    """What follows from it."""

    def at(self, source: str, line: int | None = None) -> Problem:
        """The same problem with its place filled in."""
        return replace(self, source=source, line=line)


class ResourceError(ConfigError):
    """A document is no valid resource; carries every problem found, in the order of the document."""

    problems: tuple[Problem, ...]

    def __init__(self, problems: Sequence[Problem]) -> None:
        """Keep `problems` (at least one); the text of the error has one a line."""
        super().__init__(problems)


def format_path(parts: Iterable[str | int]) -> str:
    """`("spec", "nodes", 0, "port")` → `spec.nodes[0].port`; keys with dots or slashes are quoted in brackets."""
    out = ""
    for part in parts:
        if isinstance(part, int):
            out += f"[{part}]"
        elif "." in part or "/" in part:
            out += f"[{part!r}]"
        else:
            out += f".{part}" if out else part
    return out
