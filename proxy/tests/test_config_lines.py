"""Lines of TOML keys, compared with what the standard library's parser finds in the same text."""

from __future__ import annotations

import tomllib

from hypothesis import given
from hypothesis import strategies as st

from helios.config.toml_lines import key_lines
from helios.config.tree import leaves

DOCUMENT = '''\
# a comment with [brackets] and "quotes"
top = 1
dotted.key."with space" = 'x' # [not.a.table]

[table]
text = """
first = "not a key"
[nor.a.table] \\" escaped ""\\
""""
literal = \'\'\'
x = 1\'\'\'
list = [
  1, # one
  { a = 1, b = { c = "}" } },

  [ "]", 2 ],
]
[[clusters]]
name = "a"
[[clusters.nodes]]
host = "h1"
[[clusters.nodes]]
host = "h2"
[[clusters]]
"name" = "b"
[[clusters.nodes]]
host = "h3"
date = 1979-05-27 07:32:00
[ "quo.ted" . 'x' ]
y=true
'''


def test_every_construct_has_its_line() -> None:
    lines = key_lines(DOCUMENT)

    expected = {
        ("top",): 2,
        ("dotted", "key", "with space"): 3,
        ("table",): 5,
        ("table", "text"): 6,
        ("table", "literal"): 10,
        ("table", "list"): 12,
        ("table", "list", 0): 13,
        ("table", "list", 1, "a"): 14,
        ("table", "list", 1, "b", "c"): 14,
        ("table", "list", 2, 1): 16,
        ("clusters",): 18,
        ("clusters", 0): 18,
        ("clusters", 0, "nodes", 0): 20,
        ("clusters", 0, "nodes", 1, "host"): 23,
        ("clusters", 1, "name"): 25,
        ("clusters", 1, "nodes", 0, "date"): 28,
        ("quo.ted", "x", "y"): 30,
    }
    assert {path: lines.get(path) for path in expected} == expected


def test_nothing_is_a_key_that_the_parser_does_not_know() -> None:
    paths = {path for path, _ in leaves(tomllib.loads(DOCUMENT))}

    lines = key_lines(DOCUMENT)

    assert paths <= lines.keys()
    assert all(any(path[: len(line)] == line for path in paths) for line in lines)


def test_windows_line_ends_and_empty_text() -> None:
    assert key_lines("a = 1\r\n\r\n[b]\r\nc = 2\r\n")[("b", "c")] == 4
    assert key_lines("") == {}


_TOKENS = [
    "a",
    "b",
    '"c d"',
    ".",
    " ",
    "\n",
    "=",
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    ",",
    "1",
    '"""',
    "'''",
    "'",
    "#",
    '"',
]
_PAIRS = [
    "a = 1\n",
    'b.c = "x" # y\n',
    "[t]\n",
    "[[l]]\n",
    "[l.m]\n",
    "d = [1, {e = 2}]\n",
    "f = '''\n\n'''\n",
    "[[l.n]]\n",
]


@given(st.lists(st.sampled_from(_TOKENS + _PAIRS), max_size=12).map("".join))
def test_every_text_that_parses_is_scanned_alike(text: str) -> None:
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return

    lines = key_lines(text)

    assert {path for path, _ in leaves(tree)} <= lines.keys()
    assert set(lines.values()) <= set(range(1, text.count("\n") + 2))
