"""Run the program of a driver directly against PostgreSQL and through Helios, and keep what both runs saw.

Called by `e2e/drivers`, whose programs take a DSN and print one line of JSON for each scenario; hands on
`DriverParity`, what the tests of every driver have in common.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from harness.client import Target
from harness.postgres import APP, PostgresCluster
from harness.proxy import HeliosProcess
from helios_make.drivers import driver_command, why_not
from helios_make.places import find_places

__all__ = [
    "DATABASE",
    "FRESH",
    "DriverParity",
    "DriverRuns",
    "Pins",
    "Program",
    "built_program",
    "python_program",
    "read_pins",
    "run_both",
    "url_of",
]

DATABASE = "drivers"
"""A database of its own, so that a program may make what tables it likes."""

DEADLINE = 90.0
"""Seconds after which a program hangs; what it printed until then counts."""

FRESH = f"drop schema public cascade; create schema public authorization {APP}; grant all on schema public to public"
"""Statements that leave nothing of an earlier program."""

PINNED_SHARE = 0.02
"""Of a driver's transactions at most so many may pin their session to a server."""

RecordProperty = Callable[[str, object], None]
"""pytest's fixture of this name."""

Answers = dict[str, Any]
"""Scenario → `{"saw": …}`, or `{"failed": "why"}`."""


@dataclass(frozen=True)
class Program:
    """How a driver's program is started; the DSN comes last. `environment` is added to ours."""

    command: Sequence[str]
    environment: Mapping[str, str]


def python_program(driver: str) -> Program:
    """The program of one of Python's drivers."""
    return Program([sys.executable, "-m", f"drivers.{driver}.main"], {"PYTHONPATH": str(Path(__file__).parents[1])})


def built_program(driver: str) -> Program:
    """The program of a driver of another language, which `make test` has built."""
    reason = why_not(driver)
    if reason:
        pytest.skip(reason)
    command = driver_command(find_places(), driver)
    assert command, f"{driver} is not built; run it by `make drivers`"
    return Program(command, {})


@dataclass(frozen=True)
class Pins:
    """How many transactions a run had, and how often a session was pinned in it, by reason."""

    transactions: int
    by_reason: Mapping[str, int]

    @property
    def share(self) -> float:
        """Pins for each transaction."""
        return sum(self.by_reason.values()) / max(self.transactions, 1)


@dataclass(frozen=True)
class DriverRuns:
    """What one program saw on both ways."""

    direct: Answers
    helios: Answers
    pins: Pins


class DriverParity:
    """The tests of a driver: a subclass names its scenarios, and provides the fixture `program`."""

    scenarios: ClassVar[Sequence[str]]
    """In the program's order."""

    differs: ClassVar[Mapping[str, str]] = {}
    """Scenario → why it is not yet the same through Helios. It fails as soon as it is."""

    flickers: ClassVar[Mapping[str, str]] = {}
    """Scenario → why it is not always the same: it depends on which server answers, or on when."""

    def test_same_answers(self, scenario: str, runs: DriverRuns) -> None:
        """Nothing tells this driver whether Helios is between."""
        direct, helios = runs.direct[scenario], runs.helios.get(scenario, {"failed": "no answer"})
        assert "saw" in direct, direct
        assert helios == direct, "\n".join(difference(direct, helios))

    def test_program_has_these_scenarios(self, runs: DriverRuns) -> None:
        """No scenario is left out of the comparison."""
        assert list(runs.direct) == list(self.scenarios), list(runs.direct)

    def test_hardly_a_transaction_is_pinned(self, runs: DriverRuns, record_property: RecordProperty) -> None:
        """Servers are shared all the time, not given away one after the other. The figures are in pytest's report."""
        record_property("transactions", runs.pins.transactions)
        record_property("pins", json.dumps(runs.pins.by_reason))
        assert runs.pins.transactions >= len(runs.direct), runs.pins
        assert runs.pins.share <= PINNED_SHARE, runs.pins


def difference(direct: Any, helios: Any) -> Iterator[str]:
    """The parts in which two answers differ, one in two lines; nothing in this module is rewritten by pytest."""
    if isinstance(direct, dict) and isinstance(helios, dict) and direct.keys() == helios.keys():
        for key in direct:
            yield from difference(direct[key], helios[key])
    elif isinstance(direct, list) and isinstance(helios, list) and len(direct) == len(helios):
        for one, other in zip(direct, helios, strict=True):
            yield from difference(one, other)
    elif direct != helios:
        yield f"directly {json.dumps(direct)}\n  helios {json.dumps(helios)}"


def url_of(target: Target) -> str:
    """A connection URL as every driver takes it."""
    login = f"{urllib.parse.quote(target.user)}:{urllib.parse.quote(target.password or '')}"
    return f"postgresql://{login}@{target.host}:{target.port}/{target.database}?sslmode=disable"


def run_both(program: Program, cluster: PostgresCluster, proxy: HeliosProcess) -> DriverRuns:
    """Run a program twice, each time on an empty schema."""
    cluster.execute(FRESH, DATABASE)
    direct = run_program(program, cluster.direct(database=DATABASE))
    cluster.execute(FRESH, DATABASE)
    before = read_pins(proxy)
    helios = run_program(program, proxy.target(DATABASE))
    return DriverRuns(direct, helios, _since(before, read_pins(proxy)))


def run_program(program: Program, target: Target) -> Answers:
    """One run. A scenario without a line is missing; AssertionError if there is none at all."""
    process = subprocess.Popen(
        [*program.command, url_of(target)],
        env={**os.environ, **program.environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        output, complaints = process.communicate(timeout=DEADLINE)
    except subprocess.TimeoutExpired:
        process.kill()
        output, complaints = process.communicate()
    lines = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    assert lines, (process.returncode, complaints)
    return {line.pop("scenario"): line for line in lines}


def read_pins(proxy: HeliosProcess) -> Pins:
    """The counters now. A transaction is a server being given to a client."""
    status, text = proxy.get("/metrics", accept="text/plain")
    assert status == 200, text
    reasons = re.findall(r'^heliosproxy_session_pins_total\{reason="([^"]+)"\} (\S+)$', text, re.M)
    leases = re.search(r"^heliosproxy_pool_acquire_duration_seconds_count (\S+)$", text, re.M)
    assert leases and reasons, text
    return Pins(int(float(leases[1])), {reason: int(float(count)) for reason, count in reasons})


def _since(before: Pins, after: Pins) -> Pins:
    reasons = {reason: count - before.by_reason[reason] for reason, count in after.by_reason.items()}
    return Pins(after.transactions - before.transactions, {name: count for name, count in reasons.items() if count})
