"""pgx sees the same through Helios as directly, in each scenario of its program."""

from __future__ import annotations

import pytest

from harness.drivers import DriverParity, Program, built_program


@pytest.fixture(scope="module")
def program() -> Program:
    """Skips where its language is missing."""
    return built_program("pgx")


class TestPgx(DriverParity):
    scenarios = (
        "connect",
        "refused",
        "types",
        "prepared",
        "changed_result_type",
        "exec_modes",
        "errors_in_transactions",
        "savepoints",
        "settings",
        "large_values",
        "copies",
        "cancel",
        "notifications",
        "cursors",
        "batches",
        "pipelines",
        "several_statements",
        "notices",
        "pooled",
        "concurrent",
    )
