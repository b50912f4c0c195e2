"""What one pod may have of a total before it was granted anything. Read by `render` and by whoever divides the rest."""

from __future__ import annotations

__all__ = ["first_share"]


def first_share(total: int, pods: int) -> int:
    """Server connections of a pod that nobody has spoken to yet, where `pods` share `total`.

    Half of an equal part among them and the one more of a rolling update: that many can be kept aside for pods that
    come while nobody divides, and are enough to serve until somebody does.
    """
    return max(1, total // (2 * (pods + 1)))
