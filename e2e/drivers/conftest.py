"""What the drivers meet: a proxy in transaction mode with two servers for all their connections."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.drivers import DATABASE, DriverParity, DriverRuns, Program, run_both
from harness.postgres import APP, PostgresCluster
from harness.proxy import HeliosProcess, base_settings


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test for each scenario of the driver's class; those that are known to differ must do so, some at times."""
    if "scenario" not in metafunc.fixturenames or metafunc.cls is None:
        return
    parity: type[DriverParity] = metafunc.cls
    marks = {name: pytest.mark.xfail(strict=True, reason=why) for name, why in parity.differs.items()}
    marks |= {name: pytest.mark.xfail(strict=False, reason=why) for name, why in parity.flickers.items()}
    assert marks.keys() <= set(parity.scenarios)
    values = [pytest.param(name, marks=marks.get(name, ())) for name in parity.scenarios]
    metafunc.parametrize("scenario", values)


@pytest.fixture(scope="session")
def drivers_proxy(postgres: PostgresCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HeliosProcess]:
    """Pools of two servers, in transaction mode."""
    postgres.execute(f"create database {DATABASE} owner {APP}", "postgres")
    folder = tmp_path_factory.mktemp("drivers-proxy")
    with HeliosProcess(folder, base_settings(postgres, folder)) as process:
        yield process


@pytest.fixture(scope="class")
def runs(program: Program, postgres: PostgresCluster, drivers_proxy: HeliosProcess) -> DriverRuns:
    """What the driver's program saw, directly and through Helios; one run of each for all its scenarios."""
    return run_both(program, postgres, drivers_proxy)
