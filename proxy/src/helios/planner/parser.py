"""PostgreSQL's own parser: text in, trees out. The only module that imports postgast and protobuf.

Called by `decide` and `block`. It has three dangers of its own, all met here. libpg_query recurses over the tree
without looking at the stack: `select 1+1+1+…` of 60 KB ends the process, so a long text is measured by its tokens
first. Protobuf refuses trees deeper than 100 messages, about 45 operators in a row, unless told otherwise. And a tree
takes some milliseconds per kilobyte to look at, so the length is bounded.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, TypeAlias

from google._upb import _message
from google.protobuf.message import DecodeError, Message
from postgast import PgQueryError, parse, parse_plpgsql, scan
from postgast.pg_query_pb2 import Node as _Wrapper
from postgast.pg_query_pb2 import Token

from helios.errors import PlanError

__all__ = [
    "MAX_CHARACTERS",
    "MAX_NESTING",
    "Tree",
    "children",
    "choice",
    "name_of",
    "parse_block",
    "parse_function",
    "parse_sql_body",
    "parse_statements",
    "split_assignment",
]

_message.SetAllowOversizeProtos(True)  # depth 65 535 instead of 100

Tree: TypeAlias = Any
"""A message of PostgreSQL's grammar as libpg_query names it; its fields are those of the C struct in snake case."""

MAX_NESTING = 4000
"""Tokens that may lie on the way from a statement to its deepest part. Five times this parses in a stack of 8 MiB."""

MAX_CHARACTERS = 256 * 1024
"""Length of the longest text that is planned. The tree of such an INSERT keeps a core busy for half a second."""

_OPEN = frozenset({Token.ASCII_40, Token.ASCII_91})
_CLOSE = frozenset({Token.ASCII_41, Token.ASCII_93})
_SET_OPERATIONS = frozenset({Token.UNION, Token.INTERSECT, Token.EXCEPT})
_ASSIGN = frozenset({Token.COLON_EQUALS, Token.ASCII_61})


def parse_statements(text: str) -> list[Tree]:
    """The statements of a text, each as the message of its kind; none for white space and comments.

    Raises:
        PlanError: the parser refuses the text, or it is too long or nested too deeply for it.
    """
    _check(text)
    try:
        return [_unwrap(raw.stmt) for raw in parse(text).stmts]
    except PgQueryError as error:
        raise PlanError(error.message, error.cursorpos or None) from error
    except DecodeError as error:
        raise PlanError("the statement is nested too deeply") from error


def parse_block(body: str) -> list[dict[str, Any]]:
    """The body of a DO in PL/pgSQL as libpg_query's JSON.

    Raises:
        PlanError: the body does not compile, which here includes types of schemas that the parser cannot look up.
    """
    _check(body)
    quote = "$helios$"
    while quote in body:
        quote = f"${quote[1:-1]}x$"
    return _parse_plpgsql(f"DO {quote}{body}{quote}")


def parse_function(definition: str) -> list[dict[str, Any]]:
    """A CREATE FUNCTION or PROCEDURE in PL/pgSQL, as pg_get_functiondef() writes it, as libpg_query's JSON.

    Raises:
        PlanError: as `parse_block`; also for every trigger function, of which libpg_query 18 writes broken JSON.
    """
    _check(definition)
    # libpg_query takes no type for an array, and would refuse it as that of a variadic parameter.
    head, mark, body = definition.partition("\nAS $")
    return _parse_plpgsql(head.replace("VARIADIC ", "") + mark + body)


def parse_sql_body(body: str) -> Tree:
    """The body of a function in standard SQL, `RETURN …` or `BEGIN ATOMIC … END`.

    Raises:
        PlanError: as `parse_statements`.
    """
    function = parse_statements(f"CREATE FUNCTION f() RETURNS void {body}")[0]
    return _unwrap(function.sql_body)


def _parse_plpgsql(text: str) -> list[dict[str, Any]]:
    try:
        functions: list[dict[str, Any]] = parse_plpgsql(text)
    except PgQueryError as error:
        raise PlanError(error.message) from error
    except json.JSONDecodeError as error:
        raise PlanError("the block's tree cannot be read") from error
    except RecursionError as error:
        raise PlanError("the block is nested too deeply") from error
    return functions


def split_assignment(text: str) -> tuple[str, str]:
    """Target and expression of a PL/pgSQL assignment `a[i] := b`."""
    depth = 0
    encoded = text.encode()
    for token in _tokens(text):
        if token.token in _OPEN:
            depth += 1
        elif token.token in _CLOSE:
            depth -= 1
        elif token.token in _ASSIGN and depth == 0:
            return encoded[: token.start].decode(), encoded[token.end :].decode()
    raise PlanError("no assignment operator")


def children(tree: Tree) -> Iterator[Tree]:
    """Every message directly below a message, whatever field it is in."""
    for field, value in tree.ListFields():
        if field.message_type is None:
            continue
        for each in (value,) if isinstance(value, Message) else value:
            yield _unwrap(each)


def name_of(tree: Tree) -> str:
    """The message's name in the grammar, as `SelectStmt`."""
    name: str = tree.DESCRIPTOR.name
    return name


def choice(tree: Tree, field: str) -> str:
    """The name of the value of an enumeration, as `VAR_RESET`."""
    name: str = tree.DESCRIPTOR.fields_by_name[field].enum_type.values_by_number[getattr(tree, field)].name
    return name


def _unwrap(tree: Tree) -> Tree:
    """The message inside a `Node`, which is only a union."""
    if not isinstance(tree, _Wrapper):
        return tree
    member = tree.WhichOneof("node")
    return tree if member is None else getattr(tree, member)


def _check(text: str) -> None:
    """Refuse what must not reach the parser."""
    if "\0" in text:
        raise PlanError("the text holds a zero byte", text.index("\0") + 1)
    if len(text) > MAX_CHARACTERS:
        raise PlanError(f"the text is longer than {MAX_CHARACTERS} characters")
    # There are no more tokens than characters.
    if len(text) > MAX_NESTING and _nesting(text) > MAX_NESTING:
        raise PlanError("the statement is nested too deeply")


def _nesting(text: str) -> int:
    """An upper bound of the tree's depth, in tokens.

    Whatever lies deeper than its neighbour is an operand of it, in brackets or beside a further token. Commas and
    semicolons separate elements of lists, which lie side by side; only set operations go on across commas.
    """
    outer: list[tuple[int, int, int]] = []
    deepest = held = run = 0
    for token in _tokens(text):
        kind = token.token
        if kind in _OPEN:
            outer.append((deepest, held, run))
            deepest = held = run = 0
        elif kind in _CLOSE and outer:
            inner = max(deepest, run) + held
            deepest, held, run = outer.pop()
            run += inner + 2
        elif kind == Token.ASCII_44:
            deepest, run = max(deepest, run), 0
        elif kind == Token.ASCII_59:
            deepest, held, run = max(deepest, run + held), 0, 0
        elif kind in _SET_OPERATIONS:
            held += 3
        else:
            run += 1
    total = max(deepest, run) + held
    for deepest, held, run in outer:
        total += max(deepest, run) + held
    return total


def _tokens(text: str) -> Any:
    """The tokens of a text, with offsets in bytes of UTF-8."""
    try:
        return scan(text).tokens
    except PgQueryError as error:
        raise PlanError(error.message, error.cursorpos or None) from error
