"""What a text says of the transaction block that it begins, describes or ends. Called by `decide`; pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from helios.planner.parser import Tree, choice, name_of
from helios.planner.plan import Access, Block, Verb

__all__ = ["block_of"]

_VERBS: Final = {
    "TRANS_STMT_BEGIN": Verb.BEGIN,
    "TRANS_STMT_START": Verb.START,
    "TRANS_STMT_COMMIT": Verb.COMMIT,
    "TRANS_STMT_ROLLBACK": Verb.ROLLBACK,
}


def block_of(statements: Sequence[Tree]) -> Block | None:
    """For a text that is one BEGIN, START TRANSACTION, SET TRANSACTION, or a COMMIT or ROLLBACK that chains nothing.

    None for any other.
    """
    if len(statements) != 1:
        return None
    statement = statements[0]
    if name_of(statement) == "VariableSetStmt" and statement.name == "TRANSACTION":
        return Block(Verb.SET, _access(statement.args))
    if name_of(statement) != "TransactionStmt" or statement.chain:
        return None
    verb = _VERBS.get(choice(statement, "kind"))
    return None if verb is None else Block(verb, _access(statement.options))


def _access(options: Iterable[Tree]) -> Access:
    said = {option.def_elem.defname: option.def_elem.arg.a_const for option in options}
    isolation, read_only = said.get("transaction_isolation"), said.get("transaction_read_only")
    level = None if isolation is None else isolation.sval.sval
    if level == "serializable":
        return Access.SERIALIZABLE
    if read_only is None:
        return Access.SNAPSHOT if level == "repeatable read" else Access.UNSAID
    return Access.READ_ONLY if read_only.ival.ival else Access.READ_WRITE
