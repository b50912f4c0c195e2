"""Fixtures of the campaign of transactions that outlive their servers: `make replay` runs it, `make test` does not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

REPORT = os.environ.get("REPLAY_REPORT")


@pytest.fixture(scope="session")
def report() -> Iterator[list[str]]:
    """Lines of the report; every figure in it is of this run."""
    lines = ["# Transaction replay: what a run of `make replay` saw", ""]
    yield lines
    text = "\n".join(lines)
    print(f"\n{text}")
    if REPORT:
        Path(REPORT).write_text(text.rstrip("\n") + "\n")
