"""`make failover KILLS=…`: the primary is killed again and again under load. A lost acknowledged commit fails."""

import os

from helios_make.errors import TargetError
from helios_make.kubernetes import ensure_programs
from helios_make.places import Places
from helios_make.results import Result, closing_line
from helios_make.tests import run_pytest
from helios_make.tiers import FAILOVER, Tier

__all__ = ["KILL_SECONDS", "run", "set_up", "wanted_kills"]

DEFAULT_KILLS = "30"
MOST_KILLS = 10_000
KILL_SECONDS = 60
"""What one may take at most, with everything well again."""
REPORT = "e2e/behaviour/FAILOVER.md"


def set_up(places: Places) -> None:
    """Know how often before anything is built; then have the etcd that Patroni wants.

    Raises:
        TargetError: KILLS is not a number, or etcd could not be built.
    """
    wanted_kills()
    ensure_programs(places, ["failover"])


def run(places: Places) -> int:
    """Run it and write its report; 1 when something was lost, or nothing was shown."""
    kills = wanted_kills()
    result = Result(FAILOVER)
    report = places.root / REPORT
    # A long test does not hang.
    options = {
        "FAILOVER_KILLS": str(kills),
        "FAILOVER_REPORT": str(report),
        "PYTEST_ADDOPTS": "-s -o faulthandler_timeout=0",
    }
    run_pytest(places, Tier(FAILOVER, [f"e2e/{FAILOVER}"], seconds=2 * kills * KILL_SECONDS), result, options)
    print(closing_line([result]), flush=True)
    return 1 if result.failed or not result.passed else 0


def wanted_kills() -> int:
    """What KILLS says.

    Raises:
        TargetError: it is not a number.
    """
    text = os.environ.get("HELIOS_KILLS") or DEFAULT_KILLS
    if not text.isascii() or not text.isdigit() or not 0 < int(text) <= MOST_KILLS:
        raise TargetError(f"KILLS={text}: not a number of kills; for example KILLS=30")
    return int(text)
