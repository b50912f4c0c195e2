"""Run one command of the set-up: title with expected time and size, progress, log, and a useful end when it fails.

Called by every module that starts a long command. Everything goes to stderr: stdout belongs to the target's result
(`make run CMD=…` prints nothing there but the command's own output).
"""

import re
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from helios_make.errors import StepFailed
from helios_make.places import Places

__all__ = ["Step", "run_step", "say", "summary"]

TAIL_LINES = 20
"""Lines of a failed step's log that are shown."""
TERMINAL_SECONDS = 1.0
"""Between two progress lines on a terminal, where each replaces the last."""
PIPE_SECONDS = 15.0
"""Between two progress lines in a file or in CI, where they add up."""


@dataclass(frozen=True)
class Step:
    """One command and what to expect of it."""

    title: str
    command: Sequence[str]
    seconds: int
    """How long it takes cold, in seconds, on two cores."""
    megabytes: int = 0
    """What it adds to the disk, in megabytes."""
    cwd: Path | None = None
    environment: Mapping[str, str] | None = None
    """Added to the clone's environment."""


def say(text: str) -> None:
    """Print a line for people."""
    print(text, file=sys.stderr, flush=True)


def summary(total: int, failed: Sequence[str]) -> str:
    """How many of several commands passed, and the names of those that did not."""
    return f"{total - len(failed)} passed, {len(failed)} failed" + (f": {', '.join(failed)}" if failed else "")


def run_step(places: Places, step: Step) -> None:
    """Run a step to its end.

    Raises:
        StepFailed: the command cannot be started or ended with another status than 0.
    """
    log = places.logs / f"{re.sub(r'[^a-z0-9]+', '-', step.title.lower()).strip('-')}.log"
    size = f", about {step.megabytes} MB" if step.megabytes else ""
    say(f"helios: {step.title} (about {step.seconds} s{size})")
    started = time.monotonic()
    with log.open("wb") as output:
        try:
            process = subprocess.Popen(
                step.command,
                cwd=step.cwd or places.root,
                env={**places.environment(), **(step.environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        except OSError as error:
            raise StepFailed(f"{step.title}: cannot start {step.command[0]}: {error.strerror}") from error
        status = _wait(process, log, started)
    if status != 0:
        raise StepFailed(_failure(step, status, log, places))
    say(f"helios: {step.title}: done in {time.monotonic() - started:.1f} s")


def _wait(process: subprocess.Popen[bytes], log: Path, started: float) -> int:
    """Wait for a process, showing now and then how far it is; ends it when we are interrupted."""
    terminal = sys.stderr.isatty()
    try:
        while True:
            try:
                return process.wait(TERMINAL_SECONDS if terminal else PIPE_SECONDS)
            except subprocess.TimeoutExpired:
                _progress(log, time.monotonic() - started, terminal)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
        if terminal:
            sys.stderr.write("\r\033[K")


def _progress(log: Path, seconds: float, terminal: bool) -> None:
    lines = _tail(log, 1)
    line = f"  {seconds:4.0f} s  {lines[0].strip() if lines else ''}"
    if terminal:
        sys.stderr.write(f"\r\033[K{line[:100]}")
        sys.stderr.flush()
    else:
        say(line[:120])


def _tail(log: Path, count: int) -> list[str]:
    """The last lines of a log, without what a progress bar overwrote."""
    with log.open("rb") as handle:
        handle.seek(max(0, log.stat().st_size - 64 * 1024))
        text = handle.read().decode("utf-8", "replace")
    lines = [line.rsplit("\r", 1)[-1] for line in text.replace("\r\n", "\n").split("\n")]
    return [line for line in lines if line.strip()][-count:]


def _failure(step: Step, status: int, log: Path, places: Places) -> str:
    """What a person needs to go on: the end of the log, where the rest is, the command to repeat."""
    variables = {"UV_CACHE_DIR": places.environment()["UV_CACHE_DIR"], **(step.environment or {})}
    prefix = " ".join(f"{name}={shlex.quote(value)}" for name, value in variables.items())
    return "\n".join(
        [
            f"{step.title}: failed with status {status}",
            *(f"    {line}" for line in _tail(log, TAIL_LINES)),
            f"  log:    {log}",
            f"  repeat: cd {shlex.quote(str(step.cwd or places.root))} && {prefix} {shlex.join(step.command)}",
        ]
    )
