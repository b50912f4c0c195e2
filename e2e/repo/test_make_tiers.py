"""`make test`: which tiers SELECT means, what is read from the runners, the table and the closing line."""

from __future__ import annotations

from pathlib import Path

import pytest

from helios_make.errors import TargetError
from helios_make.results import Result, closing_line, read_cargo, read_junit, table
from helios_make.tiers import ELSEWHERE, Tier, choose, find_tiers
from repo.tree import ROOT

CARGO = """\
running 3 tests
.F
failures:

---- tests::splits stdout ----
thread 'tests::splits' panicked at src/lib.rs:1:1:
    indented

failures:
    tests::splits

test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s
running 2 tests
..
test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.10s
"""

JUNIT = """<testsuites><testsuite tests="4">
<testcase classname="e2e.wire.test_copy" name="test_in" time="0.1"/>
<testcase classname="e2e.wire.test_copy" name="test_out" time="0.1"><failure message="x">trace</failure></testcase>
<testcase classname="e2e.wire.test_copy" name="test_fixture" time="0.1"><error message="x">trace</error></testcase>
<testcase classname="e2e.wire.test_tls" name="test_old" time="0.0"><skipped message="no openssl">x</skipped></testcase>
</testsuite></testsuites>
"""


def test_every_test_file_belongs_to_a_tier() -> None:
    covered = [ROOT / path for tier in find_tiers(ROOT) for path in tier.paths]
    covered += [ROOT / "e2e" / folder for folder in ELSEWHERE]
    tests = [file for file in ROOT.rglob("test_*.py") if not any(part.startswith(".") for part in file.parts[:-1])]

    assert [file for file in tests if not any(file.is_relative_to(path) for path in covered)] == []


def test_fast_tiers_come_first() -> None:
    names = [tier.name for tier in find_tiers(ROOT)]

    assert names[:3] == ["rust", "units", "repo"]


def test_select_takes_tiers_paths_or_names() -> None:
    tiers = [Tier("rust"), Tier("units", ["crds/tests"]), Tier("repo", ["e2e/repo"])]

    assert choose(ROOT, tiers, "") == tiers
    assert choose(ROOT, tiers, "repo rust") == [tiers[0], tiers[2]]
    assert choose(ROOT, tiers, "e2e/repo/test_layout.py::test_x") == [
        Tier("selected", ["e2e/repo/test_layout.py::test_x"])
    ]
    assert [tier.expression for tier in choose(ROOT, tiers, "scram and not md5")] == ["scram and not md5"] * 3


def test_select_of_a_missing_file_is_refused() -> None:
    with pytest.raises(TargetError, match=r"SELECT: no such file or folder: e2e/none/test_x\.py; tiers are rust"):
        choose(ROOT, [Tier("rust")], "e2e/none/test_x.py")


def test_cargo_binaries_are_added_up() -> None:
    result = Result("rust")

    read_cargo(result, CARGO)

    assert (result.passed, result.failed, result.skipped) == (3, 1, 1)
    assert result.failures == ["tests::splits"]


def test_junit_report_is_read(tmp_path: Path) -> None:
    report = tmp_path / "wire.xml"
    report.write_text(JUNIT, encoding="utf-8")
    result = Result("wire")

    read_junit(result, report)

    assert (result.passed, result.failed, result.skipped) == (1, 2, 1)
    assert result.failures == ["e2e/wire/test_copy::test_out", "e2e/wire/test_copy::test_fixture"]
    assert result.reasons == {"no openssl": 1}


def test_what_passes_alone_is_unsteady_and_what_fails_again_has_failed(tmp_path: Path) -> None:
    report = tmp_path / "again.xml"
    case = '<testcase classname="e2e.wire.test_copy" name="{}">{}</testcase>'
    cases = [case.format("test_out", ""), case.format("test_in", '<failure message="x"/>'), case.format("test_end", "")]
    # Its end failed, which is a case of its own.
    cases.append(case.format("test_end", '<error message="x"/>'))
    report.write_text(f"<testsuite>{''.join(cases)}</testsuite>", encoding="utf-8")
    out, into, end, runner = (f"e2e/wire/test_copy::test_{name}" for name in ("out", "in", "end", "never_run_again"))
    result, again = Result("wire", passed=7, failed=5, failures=[out, out, into, end, runner]), Result("wire-again")
    read_junit(again, report)

    result.settle(again)

    assert (result.passed, result.failed, result.unsteady) == (8, 3, [out])
    assert result.failures == [into, end, runner]
    assert f"UNSTEADY in wire, failed once and passed alone: {out}" in table([result]).splitlines()


def test_missing_report_is_a_failure(tmp_path: Path) -> None:
    result = Result("wire")

    read_junit(result, tmp_path / "none.xml")

    assert result.failed == 1
    assert "pytest left no report" in result.failures[0]


def test_table_has_a_row_a_tier_and_says_why_tests_were_skipped() -> None:
    wire = Result("wire", passed=10, skipped=2, seconds=61.04)
    wire.reasons["no openssl"] = 2
    units = Result("units", passed=200, failed=1, failures=["crds/tests/test_x::test_y"])

    assert table([units, wire]).splitlines() == [
        "tier   passed  failed  skipped  seconds",
        "-----  ------  ------  -------  -------",
        "units     200       1        0      0.0",
        "wire       10       0        2     61.0",
        "skipped in wire: 2 × no openssl",
        "FAILED in units: crds/tests/test_x::test_y",
    ]
    assert closing_line([units, wire]) == "210 passed, 1 failed, 2 skipped"
    assert closing_line([Result("rust", passed=1)]) == "1 passed, 0 failed"
