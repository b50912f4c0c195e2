"""Errors of the Kubernetes API, a branch of `helios.errors.HeliosError`. Raised by `helios.kube.client`.

KubeError
├── KubeAccessError      no usable address or credentials
├── ServerUnreachable    no answer: refused, reset, timed out
└── ApiError             the API server answered with an error; has status, reason and its text
    ├── Unauthorized     401  the token or certificate is not taken
    ├── Forbidden        403  RBAC, a quota or an admission plugin says no
    ├── NotFound         404
    ├── AlreadyExists    409  a create found the name taken
    ├── Conflict         409  another uid or resourceVersion than the one given
    └── Invalid          422  the object breaks its schema or a rule
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from helios.errors import HeliosError

__all__ = [
    "AlreadyExists",
    "ApiError",
    "Conflict",
    "Forbidden",
    "Invalid",
    "KubeAccessError",
    "KubeError",
    "NotFound",
    "ServerUnreachable",
    "Unauthorized",
    "error_of",
]

MAX_TEXT = 2_000
"""Characters kept of an answer that is no Status object."""


class KubeError(HeliosError):
    """Root of everything that goes wrong between us and the API server."""


class KubeAccessError(KubeError):
    """No address or no credentials, or a file with them that cannot be used."""


class ServerUnreachable(KubeError):
    """The API server did not answer. Whether a write took place is unknown."""


class ApiError(KubeError):
    """The API server refused. `status` is HTTP's, `reason` Kubernetes' word, the text the server's own sentence.

    `causes` has (field, sentence) of every field that it says something about.
    """

    def __init__(self, status: int, reason: str, message: str, causes: Sequence[tuple[str, str]] = ()) -> None:
        self.status = status
        self.reason = reason
        self.message = message
        self.causes = tuple(causes)
        super().__init__(message)


class Unauthorized(ApiError):
    """401."""


class Forbidden(ApiError):
    """403: RBAC, a quota or an admission plugin."""


class NotFound(ApiError):
    """404."""


class AlreadyExists(ApiError):
    """409 on a create: the name is taken."""


class Conflict(ApiError):
    """409 on a change: the object has another uid or resourceVersion, or another manager owns the field."""


class Invalid(ApiError):
    """422."""


_BY_STATUS: dict[int, type[ApiError]] = {401: Unauthorized, 403: Forbidden, 404: NotFound, 409: Conflict, 422: Invalid}


def error_of(status: int, body: bytes) -> ApiError:
    """The error that an answer of this status with this body stands for."""
    reason, message = "", ""
    causes: list[tuple[str, str]] = []
    try:
        answer: Any = json.loads(body)
    except ValueError:
        message = body.decode("utf-8", "replace")[:MAX_TEXT]
    else:
        if isinstance(answer, dict):
            reason, message = str(answer.get("reason") or ""), str(answer.get("message") or "")
            details = answer.get("details")
            listed = details.get("causes") or () if isinstance(details, dict) else ()
            causes = [(str(each.get("field") or ""), str(each.get("message") or "")) for each in listed]
    made = AlreadyExists if reason == "AlreadyExists" else _BY_STATUS.get(status, ApiError)
    return made(status, reason, message or f"the API server answered {status}", causes)
