"""SQLAlchemy on psycopg and asyncpg sees the same through Helios as directly, in each scenario of its program."""

from __future__ import annotations

import pytest

from harness.drivers import DriverParity, Program, python_program


@pytest.fixture(scope="module")
def program() -> Program:
    """Runs in the environment of these tests."""
    return python_program("sqlalchemy")


class TestSqlalchemy(DriverParity):
    scenarios = (
        "first_connect",
        "objects",
        "savepoints",
        "server_side_cursors",
        "isolation",
        "settings",
        "concurrent",
        "on_asyncpg",
        "concurrent_on_asyncpg",
    )
