"""node-postgres sees the same through Helios as directly, in each scenario of its program."""

from __future__ import annotations

import pytest

from harness.drivers import DriverParity, Program, built_program


@pytest.fixture(scope="module")
def program() -> Program:
    """Skips where its language is missing."""
    return built_program("node_postgres")


class TestNodePostgres(DriverParity):
    scenarios = (
        "connect",
        "refused",
        "types",
        "prepared",
        "changed_result_type",
        "errors_in_transactions",
        "savepoints",
        "settings",
        "large_values",
        "copy",
        "cancel",
        "notifications",
        "cursors",
        "several_statements",
        "queued",
        "notices",
        "pooled",
        "concurrent",
    )
