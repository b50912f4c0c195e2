"""What a BEGIN says of its transaction. Called by `decide`; pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from helios.planner.parser import Tree, choice, name_of
from helios.planner.plan import Opening

__all__ = ["opening_of"]

_BEGIN: Final = frozenset({"TRANS_STMT_BEGIN", "TRANS_STMT_START"})


def opening_of(statements: Sequence[Tree]) -> Opening | None:
    """For a text that is one BEGIN or START TRANSACTION; None for any other."""
    if len(statements) != 1 or name_of(statements[0]) != "TransactionStmt":
        return None
    begin = statements[0]
    if choice(begin, "kind") not in _BEGIN:
        return None
    options = {option.def_elem.defname: option.def_elem.arg.a_const for option in begin.options}
    isolation, read_only = options.get("transaction_isolation"), options.get("transaction_read_only")
    if isolation is not None and isolation.sval.sval == "serializable":
        return Opening.READ_WRITE
    if read_only is None:
        return Opening.UNSAID
    return Opening.READ_ONLY if read_only.ival.ival else Opening.READ_WRITE
