"""The lexer's recorded truth: what PostgreSQL's own scanner and parser say about the texts its tests read.

proxy/crates/helios-sql/tests/data/postgres.json holds texts with their tokens and statements. The Rust tests compare
the lexer with it; here it is compared with PostgreSQL's scanner (libpg_query, by postgast). After adding texts with
empty answers run `python proxy/tests/test_sql_scan.py`, which fills them in.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

postgast = pytest.importorskip("postgast", reason="PostgreSQL's scanner comes with the planner")

RECORDED = Path(__file__).parents[1] / "crates/helios-sql/tests/data/postgres.json"

CLASSES = {
    **dict.fromkeys(("SCONST", "USCONST"), "text"),
    **dict.fromkeys(("BCONST", "XCONST"), "bits"),
    **dict.fromkeys(("ICONST", "FCONST"), "number"),
    **dict.fromkeys(("Op", "TYPECAST", "DOT_DOT", "COLON_EQUALS", "EQUALS_GREATER"), "symbol"),
    **dict.fromkeys(("LESS_EQUALS", "GREATER_EQUALS", "NOT_EQUALS"), "symbol"),
    "PARAM": "parameter",
    "UIDENT": "unicode_quoted",
}
PUNCTUATION = {"(": "open", ")": "close", ",": "comma", ";": "semicolon"}
COMMENTS = {"SQL_COMMENT", "C_COMMENT"}

Token = list[Any]
"""Start, end, class."""


def tokens(sql: str) -> list[Token]:
    """PostgreSQL's tokens in the lexer's classes, without comments."""
    text = sql.encode()
    made: list[Token] = []
    for token in postgast.scan(sql).tokens:
        name = postgast.pg_query_pb2.Token.Name(token.token)
        if name not in COMMENTS:
            made.append([token.start, token.end, _class(name, text[token.start : token.end].decode())])
    return list(_joined(made, text))


def _class(name: str, text: str) -> str:
    if name.startswith("ASCII_"):
        return PUNCTUATION.get(text, "symbol")
    if name in CLASSES:
        return CLASSES[name]
    return "quoted" if text.startswith('"') else "word"


def _joined(made: list[Token], text: bytes) -> Iterator[Token]:
    """What the lexer takes for one token and PostgreSQL's parser puts together: N'…', and UESCAPE clauses."""
    skip = 0
    for at, (start, end, kind) in enumerate(made):
        if skip:
            skip -= 1
            continue
        following = made[at + 1 : at + 3]
        word = text[start:end].lower()
        if word == b"n" and following and following[0][0] == end and following[0][2] == "text":
            yield [start, following[0][1], "bits"]
            skip = 1
        elif word.startswith(b"u&") and len(following) == 2 and _is_clause(following, text):
            yield [start, following[1][1], kind]
            skip = 2
        else:
            yield [start, end, kind]


def _is_clause(following: list[Token], text: bytes) -> bool:
    word, clause = following
    return text[word[0] : word[1]].lower() == b"uescape" and text[clause[0] : clause[0] + 1] == b"'"


def statements(sql: str) -> list[list[int]] | None:
    """Where PostgreSQL's statements start and end, from first token to last; None if it cannot parse them."""
    try:
        parts = postgast.split(sql)
    except postgast.PgQueryError:
        return None
    text = sql.encode()
    spans, at = [], 0
    for part in parts:
        start = text.index(part.encode(), at)
        at = start + len(part.encode())
        inside = tokens(part)
        spans.append([start + inside[0][0], start + inside[-1][1]])
    return spans


def recorded() -> list[dict[str, Any]]:
    """The entries of the file."""
    entries: list[dict[str, Any]] = json.loads(RECORDED.read_text(encoding="utf-8"))
    return entries


def answer(sql: str) -> dict[str, Any]:
    """The entry for a text."""
    return {"sql": sql, "tokens": tokens(sql), "statements": statements(sql)}


def test_the_record_is_what_postgresql_says() -> None:
    wrong = [entry["sql"] for entry in recorded() if entry != answer(entry["sql"])]

    assert wrong == []


def test_tokens_do_not_overlap_and_are_many() -> None:
    entries = recorded()

    assert len(entries) > 100
    assert all(a[1] <= b[0] for entry in entries for a, b in pairwise(entry["tokens"]))


if __name__ == "__main__":
    lines = ",\n".join(json.dumps(answer(entry["sql"])) for entry in recorded())
    RECORDED.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
