"""pgjdbc sees the same through Helios as directly, in each scenario of its program."""

from __future__ import annotations

import pytest

from harness.drivers import DriverParity, Program, built_program


@pytest.fixture(scope="module")
def program() -> Program:
    """Skips where its language is missing."""
    return built_program("pgjdbc")


class TestPgjdbc(DriverParity):
    scenarios = (
        "connect",
        "refused",
        "errors_in_transactions",
        "autosave",
        "savepoints",
        "settings",
        "isolation",
        "cancel",
        "notifications",
        "warnings",
        "metadata",
        "types",
        "prepared",
        "changed_result_type",
        "batches",
        "fetch_sizes",
        "copy",
        "large_values",
        "large_objects",
        "several_statements",
        "concurrent",
    )
