"""psycopg 3 sees the same through Helios as directly, in each scenario of its program."""

from __future__ import annotations

from typing import ClassVar

import pytest

from harness.drivers import DriverParity, Program, python_program


@pytest.fixture(scope="module")
def program() -> Program:
    """Runs in the environment of these tests."""
    return python_program("psycopg3")


class TestPsycopg3(DriverParity):
    scenarios = (
        "connect",
        "refused",
        "types",
        "prepared",
        "changed_result_type",
        "sql_prepare",
        "errors_in_transactions",
        "savepoints",
        "settings",
        "timezone",
        "large_values",
        "copy",
        "cancel",
        "newest_protocol",
        "notifications",
        "sender_of_a_notification",
        "notices",
        "cursors",
        "temporary_tables",
        "advisory_locks",
        "transactions",
        "pipeline",
        "several_statements",
        "settings_by_function",
        "functions_and_roles",
        "concurrent",
        "asynchronous",
        "abandoned",
    )
    flickers: ClassVar = {
        "functions_and_roles": "what a function sets under a name with a dot is undone until its code has been read",
    }
