"""The tiers of `make test`: what they are, in which order they run, and which of them SELECT means. Called by `tests`.

Fast ones first. A folder of e2e/ that is named nowhere here is a tier too, after the named ones, so no test is missed;
only those in ELSEWHERE are run by targets of their own.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from helios_make.errors import TargetError

__all__ = [
    "CANARY",
    "CLUSTERS",
    "DRIVERS",
    "ELSEWHERE",
    "FAILOVER",
    "IAC",
    "MONITORING",
    "REPLAY",
    "Tier",
    "choose",
    "find_tiers",
]

UNIT_FOLDERS = ("crds/tests", "proxy/tests", "operator/tests", "terraform/tests", "pulumi/tests", "helm/tests")
"""Tests of one part without the others."""
REPO = "repo"
"""The folder of e2e/ whose tests read files only."""
ORDER = (REPO, "postgres", "wire", "behaviour", "play", "examples")
"""The folders of e2e/ from the cheapest on."""
CLUSTERS = "kubernetes"
"""The folder of e2e/ that `make e2e` runs instead: its tests need clusters."""
DRIVERS = "drivers"
"""The folder of e2e/ that `make drivers` runs instead: its programs want Node, Go and Java, and more than a minute."""
CANARY = "canary"
"""The folder of e2e/ that `make canary` runs instead: it takes as long as it is told to."""
FAILOVER = "failover"
"""The folder of e2e/ that `make failover` runs instead: it kills as often as it is told to."""
REPLAY = "replay"
"""The folder of e2e/ that `make replay` runs instead: it cuts and kills for minutes."""
IAC = "iac"
"""The folder of e2e/ that `make test-terraform` and `make test-pulumi` run instead: it needs a cluster."""
MONITORING = "monitoring"
"""The folder of e2e/ that `make monitoring` runs instead: installing Debian's prometheus takes a minute."""
ELSEWHERE = (CLUSTERS, DRIVERS, CANARY, FAILOVER, REPLAY, IAC, MONITORING)
"""Folders of e2e/ that `make test` leaves to other targets."""
RUST = "rust"
PARALLEL = {"units": 4, "wire": 3, "behaviour": 2, DRIVERS: 2}
"""Processes per tier. Their tests mostly wait for servers; those of other tiers load both cores."""


@dataclass(frozen=True)
class Tier:
    """Tests that run in one process of one runner."""

    name: str
    paths: Sequence[str] = ()
    """Files and folders for pytest, relative to the clone; empty for Rust's tests."""
    expression: str | None = None
    """Runs only tests whose name contains this (pytest: an expression for -k)."""
    marker: str | None = None
    """Runs only tests with this marker."""
    seconds: int = 1_500
    """After this it hangs: its process group is ended and it counts as failed."""
    again: bool = False
    """Its tests wait for real servers on a machine that others load too: a few that fail are run once more, alone, and
    those that pass then are told as unsteady instead of as failed."""

    @property
    def processes(self) -> int:
        """How many processes of pytest share the tests, a file staying in one of them."""
        return PARALLEL.get(self.name, 1)

    @property
    def is_rust(self) -> bool:
        """Whether cargo runs it."""
        return self.name == RUST


def find_tiers(root: Path) -> list[Tier]:
    """All tiers of the clone, in the order in which they run."""
    tiers = [Tier(RUST)]
    units = [folder for folder in UNIT_FOLDERS if _has_tests(root / folder)]
    if units:
        tiers.append(Tier("units", units))
    folders = {folder.name for folder in (root / "e2e").iterdir() if folder.is_dir() and _has_tests(folder)}
    folders -= set(ELSEWHERE)
    for name in [*(name for name in ORDER if name in folders), *sorted(folders - set(ORDER))]:
        tiers.append(Tier(name, [f"e2e/{name}"], again=name != REPO))
    return tiers


def choose(root: Path, tiers: Sequence[Tier], select: str) -> list[Tier]:
    """The tiers that SELECT means: names of tiers, or paths of tests, or a part of tests' names.

    Raises:
        TargetError: a path names a file or folder that does not exist.
    """
    words = select.split()
    if not words:
        return list(tiers)
    names = {tier.name: tier for tier in tiers}
    if all(word in names for word in words):
        return [tier for tier in tiers if tier.name in words]
    if any("/" in word or word.endswith(".py") for word in words):
        missing = [word for word in words if not (root / word.split("::")[0]).exists()]
        if missing:
            raise TargetError(f"SELECT: no such file or folder: {', '.join(missing)}; tiers are {', '.join(names)}")
        return [Tier("selected", words)]
    return [replace(tier, expression=select) for tier in tiers]


def _has_tests(folder: Path) -> bool:
    return next(folder.rglob("test_*.py"), None) is not None
