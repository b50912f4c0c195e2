"""psycopg2 sees the same through Helios as directly, in each scenario of its program."""

from __future__ import annotations

import pytest

from harness.drivers import DriverParity, Program, python_program


@pytest.fixture(scope="module")
def program() -> Program:
    """Runs in the environment of these tests."""
    return python_program("psycopg2")


class TestPsycopg2(DriverParity):
    scenarios = (
        "connect",
        "refused",
        "types",
        "prepared_by_sql",
        "errors_in_transactions",
        "savepoints",
        "settings",
        "large_values",
        "copy",
        "cancel",
        "notifications",
        "cursors",
        "batches",
        "two_phase",
        "notices",
        "large_objects",
        "concurrent",
    )
