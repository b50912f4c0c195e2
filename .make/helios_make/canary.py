"""`make canary MINUTES=…`: clients that know their own value, disturbed in every way. A foreign value fails."""

import os

from helios_make.errors import TargetError
from helios_make.places import Places
from helios_make.results import Result, closing_line
from helios_make.tests import run_pytest
from helios_make.tiers import CANARY, Tier

__all__ = ["run", "set_up"]

DEFAULT_MINUTES = "1"
MOST_MINUTES = 7 * 24 * 60
GRACE_SECONDS = 300
"""What setting up, and the clients' last words, may take beside."""


def set_up(places: Places) -> None:
    """Know how long before anything is built.

    Raises:
        TargetError: MINUTES is not a number of minutes.
    """
    _seconds()


def run(places: Places) -> int:
    """Run it; 1 when a client saw what is not its own, or nothing was shown."""
    seconds = _seconds()
    result = Result(CANARY)
    # Its figures are shown, and a long test does not hang.
    options = {"CANARY_SECONDS": str(seconds), "PYTEST_ADDOPTS": "-s -o faulthandler_timeout=0"}
    run_pytest(places, Tier(CANARY, [f"e2e/{CANARY}"], seconds=round(seconds) + GRACE_SECONDS), result, options)
    print(closing_line([result]), flush=True)
    return 1 if result.failed or not result.passed else 0


def _seconds() -> float:
    text = os.environ.get("HELIOS_MINUTES") or DEFAULT_MINUTES
    try:
        minutes = float(text)
    except ValueError:
        minutes = 0.0
    if not 0 < minutes <= MOST_MINUTES:
        raise TargetError(f"MINUTES={text}: not a number of minutes; for example MINUTES=60")
    return minutes * 60
