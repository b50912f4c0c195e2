"""What a text changes of the things that only its session has: temporary tables, advisory locks, cursors WITH HOLD.
Called by `decide`; pure.

Where such a session loses its server, the engine runs again on another one what has changed them, and nothing else. So
this says of each text what it changes, and whether it would do anything besides if it were run once more by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from helios.planner.builtin import SESSION_FUNCTIONS, builtin_names
from helios.planner.effects import CURSOR_OPT_HOLD, is_temp_schema
from helios.planner.kinds import executes
from helios.planner.parser import Tree, children, choice, name_of
from helios.planner.plan import Effect, Holding

__all__ = ["holding_of"]

_REPEATABLE = frozenset(
    {
        *("random", "random_normal", "gen_random_uuid", "uuidv4", "uuidv7", "clock_timestamp", "timeofday"),
        *("nextval", "currval", "lastval", "pg_sleep", "pg_sleep_for", "pg_sleep_until"),
    }
)
"""Volatile functions that leave nothing but their value; of a sequence at most a gap."""

_DML = frozenset({"InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"})
_PASSIVE = frozenset({"SelectStmt", "VariableShowStmt", "VariableSetStmt", "TransactionStmt", "VacuumStmt", "LockStmt"})
"""Statements that change none of these by themselves."""

_ALTERATIONS = frozenset(
    f"AT_{name}"
    for name in ("AddColumn", "DropColumn", "ColumnDefault", "SetNotNull", "DropNotNull", "AlterColumnType")
)


@dataclass(slots=True)
class _Found:
    makes: set[str] = field(default_factory=set)
    writes: set[str] = field(default_factory=set)
    takes_locks: bool = False
    frees_locks: bool = False
    holds_cursor: bool = False
    moves_cursor: bool = False
    drops: bool = False
    does_more: bool = False

    def write(self, relation: Tree) -> None:
        """A relation is changed. One that is named with a schema is everybody's, unless it is that of the session."""
        if relation.schemaname and not is_temp_schema(relation.schemaname):
            self.does_more = True
        else:
            self.writes.add(relation.relname)

    def make(self, relation: Tree, is_dropped_at_end: bool) -> None:
        """A relation is made; one that its transaction takes with it is nothing to be kept."""
        if relation.relpersistence != "t" and not is_temp_schema(relation.schemaname):
            self.does_more = True
        elif not is_dropped_at_end:
            self.makes.add(relation.relname)


def holding_of(statements: Sequence[Tree]) -> Holding | None:
    """For a text of these statements; None for one that surely changes nothing of these."""
    found = _Found()
    for statement in statements:
        _look_at(statement, found)
    holding = Holding(
        makes=tuple(sorted(found.makes)),
        writes=tuple(sorted(found.writes)),
        takes_locks=found.takes_locks,
        frees_locks=found.frees_locks,
        holds_cursor=found.holds_cursor,
        moves_cursor=found.moves_cursor,
        drops=found.drops,
        does_more=found.does_more,
    )
    return None if holding == Holding() else holding


def _look_at(statement: Tree, found: _Found) -> None:
    name = name_of(statement)
    if name == "PrepareStmt" or (name == "ExplainStmt" and not executes(statement)):
        return
    if name == "CopyStmt" and not statement.is_from:
        return
    if name == "DropStmt":
        _drop(statement, found)
    elif name in _STATEMENTS:
        _STATEMENTS[name](statement, found)
    elif name not in _DML | _PASSIVE:
        found.does_more = True
    is_known = name in _STATEMENTS or name in _DML | _PASSIVE or name == "DropStmt"
    for tree in _inside(statement):
        _look_into(tree, is_known, found)


def _look_into(tree: Tree, is_known: bool, found: _Found) -> None:
    """Any part of a statement."""
    name = name_of(tree)
    if name == "FuncCall":
        _call(tree, found)
    elif name in _DML:
        found.write(tree.relation)
    elif name == "IntoClause":
        found.make(tree.rel, choice(tree, "on_commit") == "ONCOMMIT_DROP")
    elif name == "RangeVar" and not is_known:
        # Whatever else is done to it, by another name perhaps.
        found.write(tree)


def _call(call: Tree, found: _Found) -> None:
    parts = [part.string.sval for part in call.funcname]
    name = parts[-1]
    if parts[:-1] not in ([], ["pg_catalog"]) or name not in builtin_names():
        found.does_more = True
        return
    effect = SESSION_FUNCTIONS.get(name, (None, ""))[0]
    if effect is Effect.ADVISORY:
        found.takes_locks = True
    elif effect is Effect.RELEASE:
        found.frees_locks = True
    elif effect is not None or (builtin_names()[name] == "v" and name not in _REPEATABLE):
        found.does_more = True


def _create(statement: Tree, found: _Found) -> None:
    found.make(statement.relation, choice(statement, "oncommit") == "ONCOMMIT_DROP")
    # Its rows would be seen in the tables of others.
    found.does_more |= bool(statement.inh_relations)


def _truncate(statement: Tree, found: _Found) -> None:
    for relation in statement.relations:
        found.write(relation.range_var)


def _alter(statement: Tree, found: _Found) -> None:
    found.write(statement.relation)
    commands = (choice(each.alter_table_cmd, "subtype") for each in statement.cmds)
    found.does_more |= any(command not in _ALTERATIONS for command in commands)


def _index(statement: Tree, found: _Found) -> None:
    found.write(statement.relation)


def _drop(statement: Tree, found: _Found) -> None:
    if choice(statement, "remove_type") not in ("OBJECT_TABLE", "OBJECT_SEQUENCE"):
        found.does_more = True
        return
    found.drops = True
    for each in statement.objects:
        parts = [part.string.sval for part in each.list.items]
        if len(parts) > 1 and not is_temp_schema(parts[-2]):
            found.does_more = True
        else:
            found.writes.add(parts[-1])


def _declare(statement: Tree, found: _Found) -> None:
    found.moves_cursor = True
    found.holds_cursor |= bool(statement.options & CURSOR_OPT_HOLD)


def _move(_: Tree, found: _Found) -> None:
    found.moves_cursor = True


_STATEMENTS = {
    "CreateStmt": _create,
    "CreateSeqStmt": lambda tree, found: found.make(tree.sequence, False),
    "CreateTableAsStmt": lambda *_: None,
    "TruncateStmt": _truncate,
    "AlterTableStmt": _alter,
    "IndexStmt": _index,
    "DeclareCursorStmt": _declare,
    "FetchStmt": _move,
    "ClosePortalStmt": _move,
}
"""What is done by statements that may be run again by themselves."""


def _inside(statement: Tree) -> Iterator[Tree]:
    """A statement and every message inside it."""
    waiting = [statement]
    while waiting:
        tree = waiting.pop()
        yield tree
        if name_of(tree) != "A_Const":
            waiting.extend(children(tree))
