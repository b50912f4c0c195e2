"""The protocol checklist: each line has its tests or is openly listed as open, and marks are read as they are meant."""

from __future__ import annotations

import re
import tomllib

import pytest

from helios_make.checklist import Mark, read_checklist, read_marks
from helios_make.errors import TargetError
from helios_make.mutations import MUTATIONS
from repo.tree import ROOT

LINES = 65

SCRIPTS = """
@pytest.mark.checklist(3)
def simple_one(c): ...

@pytest.mark.checklist(4, 5, protocol="extended")
def extended_one(c): ...

EVERY_MODE = [simple_one]

@pytest.mark.parametrize("script", EVERY_MODE)
def test_every(script): ...

@pytest.mark.parametrize("script", [simple_one, extended_one])
@pytest.mark.checklist(6)
async def test_both(script): ...
"""


def test_every_line_is_shown_or_listed_as_open() -> None:
    lines = read_checklist(ROOT)

    assert [line.number for line in lines] == list(range(1, LINES + 1))
    assert {line.number: line.unproven for line in lines if line.unproven} == {}


def test_scripts_count_as_the_tests_that_run_them() -> None:
    assert list(read_marks("wire/test_x.py", SCRIPTS)) == [
        Mark("wire/test_x.py::test_every[simple_one]", 3),
        Mark("wire/test_x.py::test_both[simple_one]", 3),
        Mark("wire/test_x.py::test_both[extended_one]", 4, ("extended",)),
        Mark("wire/test_x.py::test_both[extended_one]", 5, ("extended",)),
        Mark("wire/test_x.py::test_both", 6),
    ]


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("@mark.checklist(3)\ndef script(c): ...", "no test is parametrized with it"),
        ("@mark.checklist()\ndef test_a(): ...", "takes numbers of lines"),
        ("@mark.checklist(LINE)\ndef test_a(): ...", "takes literals only"),
        ("@mark.checklist(3, protocol='both')\ndef test_a(): ...", "one of simple and extended"),
    ],
)
def test_a_mark_that_means_nothing_is_refused(source: str, told: str) -> None:
    with pytest.raises(TargetError, match=told):
        list(read_marks("wire/test_x.py", source))


def test_every_group_has_a_fault_that_the_engine_knows() -> None:
    source = (ROOT / "proxy/crates/helios-engine/src/fault.rs").read_text(encoding="utf-8")
    groups = dict.fromkeys(line.group for line in read_checklist(ROOT))
    faults = re.findall(r"^    ([A-Z]\w+),$", source, re.M)

    assert [mutation.group for mutation in MUTATIONS] == list(groups)
    assert [mutation.fault for mutation in MUTATIONS] == faults


def test_an_engine_takes_no_faults_unless_asked() -> None:
    for crate in ("helios-engine", "helios-core"):
        manifest = tomllib.loads((ROOT / f"proxy/crates/{crate}/Cargo.toml").read_text(encoding="utf-8"))
        assert "default" not in manifest["features"], crate
