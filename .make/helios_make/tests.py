"""`make test [SELECT=…]`: run the tiers one after the other, show each runner's output, end with one table.

SELECT is names of tiers (`SELECT="rust wire"`), paths (`SELECT=e2e/wire/test_copy.py`) or part of a name
(`SELECT=scram`). A tier that fails does not keep the next from running.
"""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from helios_make.places import Places
from helios_make.results import Result, closing_line, read_cargo, read_junit, table
from helios_make.rust_workspace import open_workspace
from helios_make.steps import say
from helios_make.system_packages import install_packages
from helios_make.tiers import Tier, choose, find_tiers

__all__ = ["ensure_servers", "run", "run_pytest"]

GRACE_SECONDS = 20
"""What an ended tier gets to end the servers it started."""
AGAIN_AT_MOST = 3
"""Tests of a tier that may be run again; more than these did not fail by chance."""
PYTEST_NOTHING = 5
"""pytest's exit status when no test was selected."""


def ensure_servers(places: Places) -> None:
    """Have the PostgreSQL of the distribution, as that of the Python package is built without TLS, and its Redis.

    Raises:
        TargetError: one is missing and cannot be installed by this user.
    """
    if not Path("/usr/lib/postgresql/15/bin/postgres").is_file():
        install_packages(places, ["postgresql-15"], why="the tests of TLS need it", seconds=20, megabytes=60)
    if shutil.which("redis-server") is None:
        install_packages(
            places, ["redis-server"], why="the tests of consistency keys need it", seconds=10, megabytes=10
        )


def run(places: Places) -> int:
    """Run the chosen tiers; 1 when a test failed or none ran."""
    tiers = choose(places.root, find_tiers(places.root), os.environ.get("HELIOS_SELECT", ""))
    results = [_run_tier(places, tier) for tier in tiers]
    shown = [result for result in results if result.total or result.failed]
    print(f"\n{table(shown)}\n\n{closing_line(shown)}", flush=True)
    if not any(result.passed or result.failed for result in shown):
        say("helios: no test ran; SELECT matches none")
        return 1
    return 1 if any(result.failed for result in shown) else 0


def _run_tier(places: Places, tier: Tier) -> Result:
    print(f"\n=== {tier.name} {'' if tier.is_rust else ' '.join(tier.paths)}", flush=True)
    result = Result(tier.name)
    started = time.monotonic()
    if tier.is_rust:
        _run_cargo(places, tier, result)
    else:
        run_pytest(places, tier, result)
    result.seconds = time.monotonic() - started
    return result


def _run_cargo(places: Places, tier: Tier, result: Result) -> None:
    """The crates' tests. The extension has none of its own: it cannot be linked without an interpreter."""
    command = ["cargo", "test", "--locked", "--workspace"]
    command += ["--exclude", "helios-core", "--no-fail-fast", "--quiet" if not tier.expression else "--"]
    if tier.expression:
        command.append(tier.expression)
    # Debug information would triple the target folder; a panic's message and line do without it.
    without_debug = {"CARGO_PROFILE_DEV_DEBUG": "0"}
    with open_workspace(places) as workspace:
        environment = {**places.environment(), **workspace.environment(), **without_debug}
        status, output = _watch(workspace.folder, command, environment, tier.seconds)
    read_cargo(result, output)
    if status != 0 and result.failed == 0:
        result.fail(f"cargo test ended with status {status} before its tests did")


def run_pytest(places: Places, tier: Tier, result: Result, environment: Mapping[str, str] | None = None) -> None:
    """Run a tier's tests by pytest, with these variables added, and read its report into `result`."""
    _run_once(places, tier, result, environment)
    failed = list(dict.fromkeys(result.failures))
    if tier.again and 0 < len(failed) <= AGAIN_AT_MOST and all("::" in name for name in failed):
        say(f"helios: once more, alone: {', '.join(failed)}")
        tests = [name.replace("::", ".py::", 1) for name in failed]
        again = Result(f"{tier.name}-again")
        _run_once(places, Tier(again.tier, tests, seconds=tier.seconds), again, environment)
        result.settle(again)


def _run_once(places: Places, tier: Tier, result: Result, environment: Mapping[str, str] | None) -> None:
    report = places.logs / f"{tier.name}.xml"
    report.unlink(missing_ok=True)
    command = [str(places.python), "-m", "pytest", *tier.paths, f"--junit-xml={report}"]
    command += ["-o", f"cache_dir={places.own / 'pytest'}"]
    if tier.processes > 1:
        command += ["-n", str(tier.processes), "--dist", "loadfile"]
    if tier.expression:
        command += ["-k", tier.expression]
    if tier.marker:
        command += ["-m", tier.marker]
    status, _ = _watch(places.root, command, {**places.environment(), **(environment or {})}, tier.seconds)
    if status == PYTEST_NOTHING and (tier.expression or tier.marker or environment):
        return
    read_junit(result, report)
    if status != 0 and result.failed == 0:
        result.fail(f"pytest ended with status {status}")


def _watch(folder: Path, command: Sequence[str], environment: dict[str, str], seconds: int) -> tuple[int, str]:
    """Run a runner in a process group of its own, showing its output; its status and output."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        process_group=0,
    )
    assert process.stdout is not None
    deadline = threading.Timer(seconds, _end, [process])
    deadline.daemon = True
    deadline.start()
    output = bytearray()
    try:
        # As it comes, not line by line: a row of pytest's dots takes a while.
        while chunk := os.read(process.stdout.fileno(), 65536):
            sys.stdout.buffer.write(chunk)
            sys.stdout.flush()
            output += chunk
        return process.wait(), output.decode("utf-8", "replace")
    except BaseException:
        _end(process)
        raise
    finally:
        deadline.cancel()


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a runner as Ctrl-C would, so that its fixtures end what they started; then with force."""
    say(f"helios: ending {process.args!s:.80}…")
    os.killpg(process.pid, signal.SIGINT)
    try:
        process.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
