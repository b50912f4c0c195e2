"""Errors of the API server → what is wrong, and what to do about it. Called by `operations`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from helios.kube import (
    ApiError,
    Conflict,
    Forbidden,
    Invalid,
    KubeAccessError,
    NotFound,
    ServerUnreachable,
    Unauthorized,
)
from helios_crds import API_VERSION, GROUP
from helios_crds.problems import format_path
from helios_iac.problems import IacError

if TYPE_CHECKING:
    from helios_iac.operations import Target

__all__ = [
    "about",
    "exists",
    "foreign_secret",
    "no_definitions",
    "no_version",
    "owned_by_others",
    "replaced",
    "vanished",
]

INSTALL: Final = "install the operator with its definitions first: kubectl apply --server-side -f operator/install.yaml"


@contextmanager
def about(target: Target, verb: str) -> Iterator[None]:
    """Turn what the API server says while `target` is being read or written into an IacError."""
    try:
        yield
    except Unauthorized as error:
        raise IacError(
            f"cannot {verb} {target}: the API server does not take the credentials ({error})",
            "log in again, or check the token, certificate or exec plugin of the provider's configuration",
        ) from error
    except Forbidden as error:
        raise IacError(
            f"cannot {verb} {target}: {error}",
            f'grant the identity get, create, patch and delete on {target.kind.plural} of "{GROUP}" in namespace '
            f"{target.namespace}",
        ) from error
    except Invalid as error:
        raise IacError(f"the API server refuses {target}: {error}", "change the attribute that it names") from error
    except Conflict as error:
        raise IacError(
            f"cannot {verb} {target}: {error}",
            "leave the field to its owner, or set force_conflicts = true in the provider's configuration to take it",
        ) from error
    except NotFound as error:
        raise IacError(f"cannot {verb} {target}: {error}", "check that its namespace exists") from error
    except ServerUnreachable as error:
        raise IacError(
            f"cannot {verb} {target}: {error}",
            "check that the API server runs and is reached from here; apply again, which finds out what was done",
        ) from error
    except KubeAccessError as error:
        raise IacError(f"cannot {verb} {target}: {error}", "check the provider's configuration") from error
    except ApiError as error:
        raise IacError(f"cannot {verb} {target}: the API server answered {error.status}: {error}") from error


def exists(target: Target) -> IacError:
    """A create found the name taken."""
    place = f"{target.namespace}/{target.name}"
    return IacError(
        f"{target} exists already",
        f"import it: terraform import heliosproxy_{target.resource.word}.NAME {place} (with Pulumi: pulumi import "
        f"heliosproxy:index:{target.resource.token} NAME {place}); or set take_ownership = true in the provider's "
        "configuration to adopt it",
    )


def owned_by_others(target: Target, foreign: Mapping[tuple[str | int, ...], Sequence[str]]) -> IacError:
    """A change would overwrite what somebody else set."""
    named = "; ".join(f"{format_path(path)} is owned by {' and '.join(who)}" for path, who in foreign.items())
    return IacError(
        f"cannot change {target}: {named}",
        "leave the field to its owner (lifecycle.ignore_changes), or set force_conflicts = true in the provider's "
        "configuration to take it",
    )


def foreign_secret(target: Target, name: str) -> IacError:
    """The Secret of the users is somebody else's."""
    return IacError(
        f"Secret {target.namespace}/{name} exists already and does not belong to {target}",
        "delete it, leave out `credentials` and keep it, or set take_ownership = true in the provider's configuration",
        ("credentials",),
    )


def replaced(target: Target) -> IacError:
    """The name belongs to another object now."""
    return IacError(
        f"{target} is another object than the one that was made here: it was deleted and made anew",
        "run a refresh, then import the new object or choose another name",
    )


def vanished(target: Target) -> IacError:
    """Somebody deleted it while we waited."""
    return IacError(f"{target} was deleted by somebody else during the wait", "apply again to make it anew")


def no_definitions(target: Target) -> IacError:
    """The CRDs are not there."""
    return IacError(f"the cluster does not know the kind {target.resource.kind} of {API_VERSION}", INSTALL)


def no_version(target: Target, served: Sequence[str]) -> IacError:
    """The cluster serves other versions."""
    return IacError(
        f"the cluster serves {target.resource.kind} in {', '.join(served)}, not in {API_VERSION}",
        "use a release of the provider that writes one of these",
    )
