"""The errors of test clusters. Raised by this package; fixtures turn CannotRun into a skip with its sentence.

HeliosError
└── ClusterError         a cluster did not come up, or an operation on it failed
    ├── CannotRun        this machine cannot run the level at all; says why and names the levels that are left
    └── KubectlError     kubectl ended with another status than 0; the text is its stderr
"""

from __future__ import annotations

from helios.errors import HeliosError

__all__ = ["CannotRun", "ClusterError", "KubectlError"]


class ClusterError(HeliosError):
    """A cluster did not come up, or an operation on it failed."""


class CannotRun(ClusterError):
    """This machine cannot run the level; one sentence says why."""


class KubectlError(ClusterError):
    """kubectl failed; the text is what it wrote to stderr."""
