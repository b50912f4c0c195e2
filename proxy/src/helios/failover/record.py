"""What is decided about one cluster, as it is written down. Written by `decisions`, kept by a `lease`."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from helios.core import Promotion

__all__ = ["Beginning", "Loss", "Narrowed", "Record", "Succession"]


class Loss(BaseModel):
    """What a primary that died wrote beyond what its successor has. There is one for each; it may have been nothing."""

    model_config = ConfigDict(frozen=True)

    node: str
    timeline: int | None
    from_lsn: str
    """Where the histories part."""
    to_lsn: str
    """How far the former primary was seen; it may have come further until it died."""
    bytes: int
    """Between the two."""
    was_synchronous: bool
    """Commits waited for standbys: none that was acknowledged is lost, unless its session had `synchronous_commit` off
    or local."""


class Narrowed(BaseModel):
    """`synchronous_standby_names` of a new primary that had fewer standbys than its predecessor."""

    model_config = ConfigDict(frozen=True)

    wanted: str
    """What it was before."""
    given: str
    """What it is; if it is something else by now, somebody has changed his mind."""
    formers: tuple[str, ...]
    """Nodes that were primary and count as wanted once they are standbys."""


class Beginning(BaseModel):
    """Where a timeline parts from the one before."""

    model_config = ConfigDict(frozen=True)

    timeline: int
    at: int
    """Bytes."""


class Succession(BaseModel):
    """What whoever completes a promotion must know of it."""

    model_config = ConfigDict(frozen=True)

    former: str
    timeline: int | None
    written: int
    """End of the former primary's WAL as last seen, bytes."""
    was_synchronous: bool
    is_planned: bool
    """The former primary had nothing more to write."""
    names: str | None
    """`synchronous_standby_names` of the new one; None: commits waited for nobody."""


class Record(BaseModel):
    """What is decided about one cluster. Every proxy acts by it; only the holder of the lease writes it."""

    model_config = ConfigDict(frozen=True)

    term: int = 0
    """Grows with each change."""
    hold: str | None = None
    """Why no transaction may begin."""
    fenced: dict[str, int] = {}
    """Nodes that were replaced → the timeline they were on."""
    promoting: str | None = None
    """A node that may have been told to become primary. Nobody else may be, until it is known whether it has."""
    succession: Succession | None = None
    """Of that node, or of the last one."""
    promotions: int = 0
    forks: dict[str, int] = {}
    """Former primaries → where the history of their successor parts from theirs, bytes."""
    beginning: Beginning | None = None
    """Of what the node promoted last writes."""
    xid_bound: int | None = None
    """Of the last promotion: transactions with this number or a later one did not come over."""
    history: tuple[Promotion, ...] = ()
    """The last promotions of ours, oldest first."""
    losses: tuple[Loss, ...] = ()
    """Of all promotions."""
    narrowed: Narrowed | None = None
    """For whom commits shall wait again when they come back."""

    @property
    def is_open(self) -> bool:
        """Whether more is about to be decided."""
        return self.hold is not None or self.promoting is not None
