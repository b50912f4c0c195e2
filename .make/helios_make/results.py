"""What a tier's runner reported, and the table at the end of `make test`. Called by `tests`."""

import re
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Result", "closing_line", "read_cargo", "read_junit", "table"]

CARGO_RESULT = re.compile(r"^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored;")
CARGO_FAILED = re.compile(r"^failures:\n((?:    \S.*\n)+)", re.M)
"""The list of names at the end; the first block of that title holds outputs and is not indented."""


@dataclass
class Result:
    """One tier's figures."""

    tier: str
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0
    failures: list[str] = field(default_factory=list)
    """Names of failed tests, or what else went wrong."""
    names: set[str] = field(default_factory=set)
    """Names of passed tests, where the runner tells them."""
    unsteady: list[str] = field(default_factory=list)
    """Names of tests that failed at first and passed when run again; they count as passed."""
    reasons: Counter[str] = field(default_factory=Counter)
    """Why tests were skipped, and how many for each reason."""

    @property
    def total(self) -> int:
        """Tests that the runner knows of."""
        return self.passed + self.failed + self.skipped

    def fail(self, why: str) -> None:
        """Count something that is not a test as failed: the runner itself."""
        self.failed += 1
        self.failures.append(why)

    def settle(self, again: "Result") -> None:
        """Take over what came of running the failed tests again: those that passed are unsteady."""
        recovered = [name for name in dict.fromkeys(self.failures) if name in again.names]
        self.failures = [name for name in self.failures if name not in recovered]
        self.failed = len(self.failures)
        self.passed += len(recovered)
        self.unsteady += recovered


def read_cargo(result: Result, output: str) -> None:
    """Add up what `cargo test` printed; one line for each test binary."""
    for line in output.splitlines():
        if match := CARGO_RESULT.match(line):
            passed, failed, ignored = map(int, match.groups())
            result.passed += passed
            result.failed += failed
            result.skipped += ignored
            if ignored:
                result.reasons["marked #[ignore]"] += ignored
    for names in CARGO_FAILED.findall(output):
        result.failures += names.split()


def read_junit(result: Result, report: Path) -> None:
    """Add up a report that pytest wrote; a report that is missing or cut off counts as one failure."""
    try:
        cases = list(ET.parse(report).iter("testcase"))
    except (OSError, ET.ParseError) as error:
        result.fail(f"pytest left no report: {error}")
        return
    for case in cases:
        name = f"{case.get('classname', '').replace('.', '/')}::{case.get('name')}"
        skip = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            result.failed += 1
            result.failures.append(name)
        elif skip is not None:
            result.skipped += 1
            result.reasons[skip.get("message", "no reason given")] += 1
        else:
            result.passed += 1
            result.names.add(name)
    # A test whose end failed has a case for each.
    result.names.difference_update(result.failures)


def table(results: Sequence[Result]) -> str:
    """Tier, passed, failed, skipped and why, seconds; the failed tests by name below."""
    rows = [("tier", "passed", "failed", "skipped", "seconds")]
    rows += [(r.tier, str(r.passed), str(r.failed), str(r.skipped), f"{r.seconds:.1f}") for r in results]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = []
    for row in rows:
        first, *figures = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        lines.append("  ".join([row[0].ljust(len(first)), *figures]))
    lines.insert(1, "  ".join("-" * width for width in widths))
    for result in results:
        lines += [f"skipped in {result.tier}: {count} × {reason}" for reason, count in result.reasons.items()]
    for result in results:
        lines += [f"UNSTEADY in {result.tier}, failed once and passed alone: {name}" for name in result.unsteady]
    for result in results:
        lines += [f"FAILED in {result.tier}: {name}" for name in result.failures]
    return "\n".join(lines)


def closing_line(results: Sequence[Result]) -> str:
    """The sum in the plain form that continuous integration reads."""
    passed, failed, skipped = (sum(getattr(r, name) for r in results) for name in ("passed", "failed", "skipped"))
    return f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else "")
