"""Errors of the operator, a branch of `helios.errors.HeliosError`; `reconcile` turns them into conditions.

OperatorError
├── InvalidOwnership  an object with the name of a child belongs to somebody else; it is left alone
├── NotLeading        the Lease is not held, so nothing may be written
└── PodError          a pod's admin API did not answer, or not as agreed
    └── PodRefused    it answered that it does not take the document
"""

from __future__ import annotations

from helios.errors import HeliosError

__all__ = ["InvalidOwnership", "NotLeading", "OperatorError", "PodError", "PodRefused"]


class OperatorError(HeliosError):
    """Root of what the operator raises on purpose."""


class InvalidOwnership(OperatorError):
    """A name that a child needs is taken by an object that is not ours."""

    def __init__(self, kind: str, name: str) -> None:
        self.kind = kind
        self.name = name
        super().__init__(
            f"{kind}/{name} exists and belongs to somebody else; it is left alone. "
            "Delete it or give the HeliosProxy another name"
        )


class NotLeading(OperatorError):
    """The Lease was lost or could not be renewed in time; another operator may be at work."""


class PodError(OperatorError):
    """A pod's admin API did not answer, or not as agreed."""


class PodRefused(PodError):
    """A pod does not take a document. `generation` is that of the document it has."""

    def __init__(self, message: str, status: int, generation: int | None = None) -> None:
        self.status = status
        self.generation = generation
        super().__init__(message)
