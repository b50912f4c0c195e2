"""`make replay KILLS=…`: transactions lose their servers everywhere. A wrong answer fails."""

from helios_make import failover
from helios_make.places import Places
from helios_make.results import Result, closing_line
from helios_make.tests import run_pytest
from helios_make.tiers import REPLAY, Tier

__all__ = ["run", "set_up"]

BASE_SECONDS = 3_600
"""What the cuts and the long cursor may take at most, on a busy machine."""
REPORT = "e2e/behaviour/REPLAY.md"


def set_up(places: Places) -> None:
    """Know how often before anything is built.

    Raises:
        TargetError: KILLS is not a number.
    """
    failover.wanted_kills()


def run(places: Places) -> int:
    """Run it and write its report; 1 when something was wrong, or nothing was shown."""
    kills = failover.wanted_kills()
    result = Result(REPLAY)
    # A long test does not hang.
    options = {
        "REPLAY_KILLS": str(kills),
        "REPLAY_REPORT": str(places.root / REPORT),
        "PYTEST_ADDOPTS": "-s -o faulthandler_timeout=0",
    }
    seconds = BASE_SECONDS + 2 * kills * failover.KILL_SECONDS
    run_pytest(places, Tier(REPLAY, [f"e2e/{REPLAY}"], seconds=seconds), result, options)
    print(closing_line([result]), flush=True)
    return 1 if result.failed or not result.passed else 0
