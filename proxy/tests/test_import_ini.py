"""PgBouncer's ini and its connection strings, by its rules of quoting, comments and includes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helios.config.foreign.draft import Draft
from helios.config.foreign.ini import MAX_INCLUDE_DEPTH, Entry, pairs, read_ini
from helios.errors import ConfigError


def _read(folder: Path, text: str, name: str = "pgbouncer.ini") -> tuple[list[Entry], list[str]]:
    file = folder / name
    file.write_text(text)
    draft = Draft(name)
    entries = read_ini(file, draft)
    return entries, [str(problem).replace(f"{folder}/", "") for problem in draft.problems]


def _values(folder: Path, text: str) -> dict[tuple[str, str], str]:
    entries, problems = _read(folder, text)
    assert problems == []
    return {(entry.section, entry.key): entry.value for entry in entries}


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("key=value", "value"),
        ("key = value", "value"),
        ("\tkey\t=\tvalue \t", "value"),
        ("key=", ""),
        ("key = a ; no comment # either", "a ; no comment # either"),
        ("key = 'quotes stay'", "'quotes stay'"),
        ('key = "quotes stay"', '"quotes stay"'),
        ("key = a=b", "a=b"),
        ("key = ends in a backslash\\", "ends in a backslash\\"),
        ('"key" = value', "value"),
        ("key = value\r", "value"),
    ],
)
def test_a_value_is_the_rest_of_its_line(tmp_path: Path, line: str, value: str) -> None:
    assert _values(tmp_path, f"; a comment\n  # another\n\n[s]\n{line}\n") == {("s", "key"): value}


@pytest.mark.parametrize(
    ("key", "name"), [("*", "*"), ("a-b.c_d", "a-b.c_d"), ('"odd name"', "odd name"), ('"a ""b"""', 'a "b"')]
)
def test_a_key_may_be_quoted(tmp_path: Path, key: str, name: str) -> None:
    assert _values(tmp_path, f"[s] {key} = 1\n") == {("s", name): "1"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[s]\nkey\n", "pgbouncer.ini:2: is no section, setting or comment"),
        ("[s]\nodd name = 1\n", "pgbouncer.ini:2: is no section, setting or comment"),
        ("[s\n", "pgbouncer.ini:1: is no section, setting or comment"),
        ("key = 1\n", "pgbouncer.ini:1: key: stands before any section"),
        ("\n%include gone.ini\n", "pgbouncer.ini:2: %include: gone.ini cannot be read: no such file or directory"),
        ("%include pgbouncer.ini\n", f"%include: is nested more than {MAX_INCLUDE_DEPTH} deep"),
    ],
)
def test_a_fault_has_its_line(tmp_path: Path, text: str, problem: str) -> None:
    _, problems = _read(tmp_path, text)

    assert len(problems) == 1
    assert problem in problems[0]


def test_an_included_file_goes_on_in_the_section_and_starts_at_the_first_files_folder(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "one.ini").write_text("a = 1\n%include more/two.ini\n")
    (tmp_path / "more" / "two.ini").write_text("[u]\nb = 2\n")

    entries, problems = _read(tmp_path, "[s]\n%include  more/one.ini \nc = 3\n")

    assert problems == []
    found = [(entry.section, entry.key, Path(entry.origin.source).name, entry.origin.line) for entry in entries]
    assert found == [("s", "a", "one.ini", 1), ("u", "b", "two.ini", 2), ("u", "c", "pgbouncer.ini", 3)]


def test_what_is_no_utf8_is_refused_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "pgbouncer.ini"
    file.write_bytes(b"[s]\nkey = caf\xe9\n")

    with pytest.raises(ConfigError, match=r"pgbouncer\.ini:2: is not UTF-8 text \(byte 0xe9\)"):
        read_ini(file, Draft("pgbouncer.ini"))


def test_an_included_file_that_is_no_utf8_is_named_itself(tmp_path: Path) -> None:
    (tmp_path / "more.ini").write_bytes(b"\n\nkey = \xff\n")

    _, problems = _read(tmp_path, "[s]\n%include more.ini\n")

    assert problems == ["more.ini:3: is not UTF-8 text (byte 0xff); save the file as UTF-8"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        ("a=b", [("a", "b")]),
        ("  a = b   c=d ", [("a", "b"), ("c", "d")]),
        ("a='b c' d=e", [("a", "b c"), ("d", "e")]),
        ("a='it''s'", [("a", "it's")]),
        ("a=''''", [("a", "'")]),
        ("a=b=c", [("a", "b=c")]),
        ("a=b'c", [("a", "b'c")]),
    ],
)
def test_pairs_of_a_connection_string(text: str, found: list[tuple[str, str]]) -> None:
    assert pairs(text) == found


@pytest.mark.parametrize("text", ["a", "a b=c", "=b", "a=", "a=b c=", "a=''", "a='b", "a='b'c=d", "a='b'' c=d"])
def test_what_is_no_list_of_pairs_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"a|=|c"):
        pairs(text)


@given(
    st.lists(
        st.tuples(
            st.from_regex(r"[a-z_]{1,8}", fullmatch=True),
            st.text(st.characters(exclude_characters="\n\r\0", exclude_categories=["Cs"]), min_size=1, max_size=9),
        ),
        max_size=4,
    )
)
def test_every_quoted_value_comes_back(found: list[tuple[str, str]]) -> None:
    text = " ".join(f"{key} = '" + value.replace("'", "''") + "'" for key, value in found)

    assert pairs(text) == found
