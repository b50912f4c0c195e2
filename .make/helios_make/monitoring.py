"""`make monitoring`: dashboard and alerts before a real Prometheus that scrapes a running proxy; Debian's package."""

from helios_make.places import Places
from helios_make.results import Result, closing_line
from helios_make.system_packages import install_packages
from helios_make.tests import run_pytest
from helios_make.tiers import MONITORING, Tier

__all__ = ["ensure_prometheus", "run"]


def ensure_prometheus(places: Places) -> None:
    """Have prometheus and promtool.

    Raises:
        TargetError: they are missing and cannot be installed by this user.
    """
    install_packages(places, ["prometheus"], why="`make monitoring` scrapes with it", seconds=20, megabytes=110)


def run(places: Places) -> int:
    """Run the tests of e2e/monitoring; 1 when one failed or none ran."""
    result = Result(MONITORING)
    run_pytest(places, Tier(MONITORING, [f"e2e/{MONITORING}"]), result)
    print(closing_line([result]), flush=True)
    return 1 if result.failed or not result.passed else 0
