"""The kind of a statement by its message in the grammar. Called by `decide` for each statement of a text."""

from __future__ import annotations

from collections.abc import Set

from helios.planner.parser import Tree, choice, name_of
from helios.planner.plan import Kind

__all__ = ["KINDS", "executes", "kind_of", "strongest"]

_BY_KIND: dict[Kind, str] = {
    # As GetCommandLogLevel() in PostgreSQL's tcop/utility.c groups them.
    Kind.DDL: """
        DropStmt DropTableSpaceStmt DropUserMappingStmt DropRoleStmt DropOwnedStmt DropSubscriptionStmt DropdbStmt
        ReassignOwnedStmt RenameStmt CommentStmt SecLabelStmt GrantStmt GrantRoleStmt DefineStmt CompositeTypeStmt
        ViewStmt IndexStmt RuleStmt RefreshMatViewStmt ClusterStmt ImportForeignSchemaStmt
        CreateSchemaStmt CreateStmt CreateTableSpaceStmt CreateExtensionStmt CreateFdwStmt CreateForeignServerStmt
        CreateForeignTableStmt CreateUserMappingStmt CreatePolicyStmt CreateAmStmt CreateTrigStmt CreateEventTrigStmt
        CreatePLangStmt CreateRoleStmt CreateSeqStmt CreateDomainStmt CreateOpClassStmt CreateOpFamilyStmt
        CreateStatsStmt CreateFunctionStmt CreateEnumStmt CreateRangeStmt CreatedbStmt CreateTableAsStmt
        CreateConversionStmt CreateCastStmt CreateTransformStmt CreatePublicationStmt CreateSubscriptionStmt
        AlterTableStmt AlterCollationStmt AlterDomainStmt AlterDefaultPrivilegesStmt AlterTableSpaceOptionsStmt
        AlterTableMoveAllStmt AlterExtensionStmt AlterExtensionContentsStmt AlterFdwStmt AlterForeignServerStmt
        AlterUserMappingStmt AlterPolicyStmt AlterEventTrigStmt AlterRoleStmt AlterRoleSetStmt AlterSeqStmt
        AlterOpFamilyStmt AlterStatsStmt AlterFunctionStmt AlterObjectDependsStmt AlterObjectSchemaStmt AlterOwnerStmt
        AlterOperatorStmt AlterTypeStmt AlterEnumStmt AlterDatabaseStmt AlterDatabaseRefreshCollStmt
        AlterDatabaseSetStmt AlterSystemStmt AlterTSDictionaryStmt AlterTSConfigurationStmt AlterPublicationStmt
        AlterSubscriptionStmt
    """,
    Kind.WRITE: "InsertStmt DeleteStmt UpdateStmt MergeStmt TruncateStmt DoStmt CallStmt",
    Kind.COPY: "CopyStmt",
    Kind.SESSION: """
        VariableSetStmt PrepareStmt ExecuteStmt DeallocateStmt DeclareCursorStmt FetchStmt ClosePortalStmt
        ListenStmt UnlistenStmt DiscardStmt
    """,
    Kind.TXN: "TransactionStmt ConstraintsSetStmt",
    Kind.UTILITY: "NotifyStmt LoadStmt VacuumStmt CheckPointStmt LockStmt ReindexStmt",
    Kind.READ: "SelectStmt VariableShowStmt ExplainStmt",
}

KINDS: dict[str, Kind] = {name: kind for kind, names in _BY_KIND.items() for name in names.split()}
"""Message in the grammar → kind, before anything inside it is looked at."""

_ORDER = list(Kind)
_WRITERS = frozenset({"InsertStmt", "DeleteStmt", "UpdateStmt", "MergeStmt", "LockingClause"})


def kind_of(statement: Tree, seen: Set[str]) -> Kind:
    """The kind of one statement. `seen` names the messages that occur inside it."""
    name = name_of(statement)
    if name == "ExplainStmt":
        return kind_of(_inner(statement), seen) if executes(statement) else Kind.READ
    if name == "VariableSetStmt" and choice(statement, "kind") == "VAR_SET_MULTI" and "SESSION" not in statement.name:
        return Kind.TXN
    if name == "SelectStmt":
        if "IntoClause" in seen:
            return Kind.DDL
        return Kind.WRITE if seen & _WRITERS else Kind.READ
    return KINDS.get(name, Kind.UNKNOWN)


def executes(explain: Tree) -> bool:
    """Whether an EXPLAIN may run its statement.

    The value of ANALYZE is not looked at: `off` and `'off'` are the same in the tree, and one of them is a literal.
    """
    return any(option.def_elem.defname == "analyze" for option in explain.options)


def strongest(kinds: Set[Kind]) -> Kind:
    """The kind of a text with statements of these kinds; `utility` for none."""
    return min(kinds, key=_ORDER.index, default=Kind.UTILITY)


def _inner(explain: Tree) -> Tree:
    return getattr(explain.query, explain.query.WhichOneof("node"))
