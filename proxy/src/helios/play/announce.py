"""What play says, all of it on stderr. Called by helios.play.session."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Summary", "say"]


def say(text: str) -> None:
    """One line for the user, at once."""
    sys.stderr.write(f"helios play: {text}\n")
    sys.stderr.flush()


@dataclass(frozen=True)
class Summary:
    """What is shown when everything is ready."""

    resource: str
    seconds: float
    dsn: str
    admin_url: str
    nodes: tuple[str, ...]
    data: Path
    log: Path
    psql: str

    def show(self) -> None:
        """Write it to stderr."""
        sys.stderr.write("\n".join(self._lines()) + "\n")
        sys.stderr.flush()

    def _lines(self) -> Iterable[str]:
        yield f"helios play: {self.resource} is ready after {self.seconds:.1f} s"
        yield ""
        yield f"  DSN    {self.dsn}"
        yield f"  admin  {self.admin_url}"
        for node in self.nodes:
            yield f"  node   {node}"
        yield f"  data   {self.data}"
        yield f"  log    {self.log}"
        yield ""
        yield "Three things to try:"
        yield f"  {self.psql} '{self.dsn}' -c 'select now()'"
        yield f"  curl -s {self.admin_url}/topology"
        yield f"  curl -s {self.admin_url}/pools"
        yield ""
