"""No place of the grammar is forgotten: every message type is entered, every statement has a kind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from postgast import parse, pg_query_pb2

from helios.planner.effects import NOT_RUN, Findings, examine
from helios.planner.kinds import KINDS
from helios.planner.plan import Effect

NODES = {field.message_type.name: field.name for field in pg_query_pb2.Node.DESCRIPTOR.fields}
"""Every type of node → its name in the union."""

CALL = parse("select pg_advisory_lock(1)").stmts[0].stmt.select_stmt.target_list[0].res_target.val

INNER = {
    *("RawStmt", "Query", "ReturnStmt", "SetOperationStmt", "PLAssignStmt"),  # never what a client's statement is
    "ReplicaIdentityStmt",  # a part of ALTER TABLE
}


def places() -> Iterator[tuple[str, str]]:
    """Every field of every type of node that holds further messages."""
    for name in NODES:
        for field in getattr(pg_query_pb2, name).DESCRIPTOR.fields:
            if field.message_type is not None:
                yield name, field.name


def is_repeated(field: Any) -> bool:
    """By a name that every version of protobuf has."""
    return bool(field.label == field.LABEL_REPEATED)


def fill(message: Any, field: Any, depth: int = 0) -> bool:
    """Put the call into a field, or into the first place inside it that takes a node; whether there is one."""
    target = field.message_type
    if target.name == "Node":
        value = getattr(message, field.name)
        value.add().CopyFrom(CALL) if is_repeated(field) else value.CopyFrom(CALL)
        return True
    if depth == 4:
        return False
    value = getattr(message, field.name)
    inner = value.add() if is_repeated(field) else value
    inner.SetInParent()
    return any(fill(inner, each, depth + 1) for each in target.fields if each.message_type is not None)


@pytest.mark.parametrize(("name", "field"), list(places()))
def test_call_is_found_in_every_field(name: str, field: str) -> None:
    message = getattr(pg_query_pb2, name)()
    if not fill(message, message.DESCRIPTOR.fields_by_name[field]):
        pytest.skip("holds no expression")
    findings = Findings()

    seen = examine(message, findings)

    assert name in seen
    if name in NOT_RUN or name == "ExplainStmt":
        assert Effect.ADVISORY not in findings.reasons
    else:
        assert Effect.ADVISORY in findings.reasons


def test_every_statement_of_the_grammar_has_a_kind() -> None:
    statements = {name for name in NODES if name.endswith("Stmt")}

    assert len(statements) > 100
    assert statements - KINDS.keys() - INNER == set()
    assert KINDS.keys() - NODES.keys() == set()


def test_what_is_not_run_is_a_statement() -> None:
    assert KINDS.keys() >= NOT_RUN
