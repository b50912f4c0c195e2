"""asyncpg sees the same through Helios as directly, in each scenario of its program."""

from __future__ import annotations

import pytest

from harness.drivers import DriverParity, Program, python_program


@pytest.fixture(scope="module")
def program() -> Program:
    """Runs in the environment of these tests."""
    return python_program("asyncpg")


class TestAsyncpg(DriverParity):
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
        "batches",
        "pooled",
        "temporary_tables",
        "advisory_locks",
        "logs",
        "concurrent",
    )
