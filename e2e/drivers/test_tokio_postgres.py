"""tokio-postgres sees the same through Helios as directly, in each scenario of its program."""

from __future__ import annotations

import pytest

from harness.drivers import DriverParity, Program, built_program


@pytest.fixture(scope="module")
def program() -> Program:
    """Skips where its language is missing."""
    return built_program("tokio_postgres")


class TestTokioPostgres(DriverParity):
    scenarios = (
        "connect",
        "refused",
        "types",
        "errors_in_transactions",
        "savepoints",
        "settings",
        "cancel",
        "notifications",
        "several_statements",
        "prepared",
        "changed_result_type",
        "pipelined",
        "portals",
        "copy",
        "large_values",
        "concurrent",
    )
