"""The report that the campaigns of `make failover` write together."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

REPORT = os.environ.get("FAILOVER_REPORT")


@pytest.fixture(scope="session")
def report() -> Iterator[list[str]]:
    """Lines of the scenario report."""
    lines: list[str] = []
    yield lines
    text = "\n".join(lines)
    print(f"\n{text}")
    if REPORT:
        Path(REPORT).write_text(text.rstrip("\n") + "\n")
