"""The table of control statements agrees with PostgreSQL's grammar: each row with its tree, and no kind is missing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from planner_corpus import CORPUS
from postgast import parse, pg_query_pb2

from helios.planner.context import Context
from helios.planner.control import ControlStatement, control_statements
from helios.planner.decide import plan
from helios.planner.kinds import KINDS
from helios.planner.plan import Kind

TRANSACTIONS = {
    "TRANS_STMT_BEGIN": "begin",
    "TRANS_STMT_START": "begin",
    "TRANS_STMT_COMMIT": "commit",
    "TRANS_STMT_ROLLBACK": "rollback",
    "TRANS_STMT_SAVEPOINT": "savepoint",
    "TRANS_STMT_RELEASE": "release",
    "TRANS_STMT_ROLLBACK_TO": "rollback_to",
    "TRANS_STMT_PREPARE": "prepare_transaction",
    "TRANS_STMT_COMMIT_PREPARED": "commit_prepared",
    "TRANS_STMT_ROLLBACK_PREPARED": "rollback_prepared",
}

REST = {
    "set_constraints": " all deferred",
    "set_characteristics": " read only",
    "set_transaction": " read only",
    "prepare": " select 1",
    "declare": " cursor for select 1",
    "release": "",
}
"""What makes a statement of a form, by kind; SET is completed by its form."""

SET_REST = {
    "TO": " 'x'",
    "=": " 'x'",
    "FROM": " current",
    "ZONE": " 'UTC'",
    "AUTHORIZATION": " 'x'",
    "ROLE": " 'x'",
    "SCHEMA": " 'x'",
    "NAMES": " 'x'",
    "OPTION": " document",
}


def control_kind(text: str) -> tuple[str | None, str | None]:
    """Kind and operand (or setting) of a text by its tree alone; None, None if it is no control statement."""
    return control_kind_of(parse(text).stmts[0].stmt)


def control_kind_of(node: Any) -> tuple[str | None, str | None]:
    """The same of a tree."""
    name = node.DESCRIPTOR.fields_by_name[node.WhichOneof("node")].message_type.name
    statement = getattr(node, node.WhichOneof("node"))
    if name in AROUND:
        inner = control_kind_of(statement.query)
        return inner if inner[0] == "execute" else (None, None)
    reader = READERS.get(name)
    return reader(statement) if reader else (None, None)


def _transaction(statement: Any) -> tuple[str, str | None]:
    kind = TRANSACTIONS[pg_query_pb2.TransactionStmtKind.Name(statement.kind)]
    return kind, statement.savepoint_name or statement.gid or None


def _set(statement: Any) -> tuple[str, str | None]:
    match pg_query_pb2.VariableSetKind.Name(statement.kind):
        case "VAR_SET_MULTI":
            return ("set_characteristics" if "SESSION" in statement.name else "set_transaction"), None
        case "VAR_RESET_ALL":
            return "reset_all", None
        case "VAR_RESET":
            return "reset", statement.name
        case _:
            return ("set_local" if statement.is_local else "set"), statement.name


def _all_or_one(kind: str, name: str) -> tuple[str, str | None]:
    return (kind, name) if name else (f"{kind}_all", None)


AROUND = ("ExplainStmt", "CreateTableAsStmt")
"""Statements that may have an EXECUTE inside."""

READERS: dict[str, Callable[[Any], tuple[str, str | None]]] = {
    "TransactionStmt": _transaction,
    "VariableSetStmt": _set,
    "ConstraintsSetStmt": lambda _: ("set_constraints", None),
    "PrepareStmt": lambda tree: ("prepare", tree.name),
    "ExecuteStmt": lambda tree: ("execute", tree.name),
    "DeallocateStmt": lambda tree: _all_or_one("deallocate", tree.name),
    "DeclareCursorStmt": lambda tree: ("declare", tree.portalname),
    "FetchStmt": lambda tree: ("move" if tree.ismove else "fetch", tree.portalname),
    "ClosePortalStmt": lambda tree: _all_or_one("close", tree.portalname),
    "ListenStmt": lambda tree: ("listen", tree.conditionname),
    "UnlistenStmt": lambda tree: _all_or_one("unlisten", tree.conditionname),
    "DiscardStmt": lambda tree: (
        "discard_all" if pg_query_pb2.DiscardMode.Name(tree.target) == "DISCARD_ALL" else "discard",
        None,
    ),
}


def samples(row: ControlStatement) -> list[str]:
    """A statement for every way to write a row's form; the operand is `operand`."""
    texts = [""]
    form = row.form.replace(" .. ", " 5|FROM|ALL_IN ").replace("CREATE ..AS", "CREATE TABLE t AS")
    form = form.replace("EXPLAIN (..)", "EXPLAIN (VERBOSE)").replace("[(..)]", "[(int)]")
    for part in form.split():
        words = [*part[1:-1].split("|"), ""] if part.startswith("[") else part.split("|")
        texts = [f"{text} {word}".strip() for text in texts for word in words]
    return [_complete(row, text.replace("ALL_IN", "ALL IN")) for text in texts]


def _complete(row: ControlStatement, text: str) -> str:
    rest = SET_REST.get(text.split()[-1], "") if row.kind in ("set", "set_local") else REST.get(row.kind, "")
    for place, operand in (("<name>", "operand"), ("<setting>", "operand"), ("<string>", "'operand'")):
        text = text.replace(place, operand)
    return text + rest


ROWS = control_statements()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.form)
def test_row_agrees_with_the_grammar(row: ControlStatement) -> None:
    for text in samples(row):
        kind, operand = control_kind(text)

        assert kind == row.kind, text
        assert operand == row.setting or (operand == "operand") == ("<" in row.form), text


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.form)
def test_row_has_a_kind_of_a_control_statement(row: ControlStatement) -> None:
    for text in samples(row):
        made = plan(text, Context())

        assert made.kind in (Kind.SESSION, Kind.TXN) or row.form.startswith(("EXPLAIN", "CREATE")), text
        assert bool(made.effects) == (row.kind in LEAVING and " LOCAL " not in text), text


LEAVING = {
    *("set", "set_characteristics", "reset", "reset_all", "prepare", "execute", "deallocate"),
    "deallocate_all",
    *("listen", "unlisten", "unlisten_all", "discard", "discard_all"),
}
"""Kinds that have an effect in every form."""


def test_every_session_and_transaction_statement_of_the_grammar_has_rows() -> None:
    controlling = {name for name, kind in KINDS.items() if kind in (Kind.SESSION, Kind.TXN)}

    assert controlling == READERS.keys()


def test_every_kind_that_the_grammar_knows_has_a_row() -> None:
    texts = [row.sql for row in CORPUS if row.kind in ("session", "txn") and ";" not in row.sql]
    kinds = {row.kind for row in ROWS}

    assert len(texts) > 50
    assert {control_kind(text)[0] for text in texts} - kinds == set()
    assert set(TRANSACTIONS.values()) - kinds == set()


def test_nothing_else_is_a_control_statement() -> None:
    texts = [
        row.sql for row in CORPUS if row.kind not in ("session", "txn") and row.sql.strip("; -") and ";" not in row.sql
    ]

    assert {text for text in texts if "comment" not in text and control_kind(text)[0] not in (None, "execute")} == set()
