"""What a statement may leave in its session, what it names, and why it may have to run on the primary: one walk over
its tree that enters every field of every message.

Called by `decide` for a text, and by `purity` for the bodies of functions. Only messages named here mean something; all
others are walked through, so that a call is found wherever the grammar allows an expression, also in places that a
later grammar adds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from helios.errors import PlanError
from helios.planner.block import block_statements
from helios.planner.builtin import MUTABLE_FUNCTIONS, SESSION_FUNCTIONS, builtin_names
from helios.planner.kinds import executes
from helios.planner.node_bound import function_reason, relation_reason
from helios.planner.parameter import is_parameter
from helios.planner.parser import Tree, children, choice, name_of
from helios.planner.plan import Effect

__all__ = ["ANY_SETTING", "CURSOR_OPT_HOLD", "NOT_RUN", "Findings", "Name", "examine", "is_temp_schema", "note_call"]

Name: TypeAlias = tuple[str, ...]
"""A function's name as it is written: its schema first, if there is one."""

NOT_RUN = frozenset(
    {
        *("ViewStmt", "RuleStmt", "CreatePolicyStmt", "AlterPolicyStmt", "CreateTrigStmt", "CreateEventTrigStmt"),
        *("CreateFunctionStmt", "AlterFunctionStmt", "CreatePublicationStmt", "AlterPublicationStmt"),
        *("AlterRoleSetStmt", "AlterDatabaseSetStmt", "AlterSystemStmt"),
    }
)
"""Statements that only store what is inside them."""

ANY_SETTING = "*"
"""Among settings: one whose name is not known."""


@dataclass(slots=True)
class Findings:
    """What was found so far in a text."""

    reasons: dict[Effect, str] = field(default_factory=dict)
    """Effect → why, by the first construct that has it."""
    settings: set[str] = field(default_factory=set)
    parameters: set[str] = field(default_factory=set)
    """Settings of Helios' own that are named."""
    calls: dict[Name, None] = field(default_factory=dict)
    """Calls of functions that are not built in, in their order; `purity` says what they do."""
    relations: dict[Name, None] = field(default_factory=dict)
    """Tables, views and whatever else is named where a relation is, also names of the text's own WITH."""
    own: set[str] = field(default_factory=set)
    """Names that WITH gives within the text."""
    operators: dict[str, None] = field(default_factory=dict)
    """Operators that are written without a schema."""
    primary: str = ""
    """The first reason why this must run on the primary; empty for none."""
    mutable: bool = False
    """Something in it gives other values when it is run again."""
    exact: bool = False
    defines: bool = False
    """As in `Plan`."""

    def stay(self, reason: str) -> None:
        """Note why this must run on the primary; the first reason stays."""
        self.primary = self.primary or reason

    def add(self, effect: Effect, reason: str) -> None:
        """Note an effect; the first reason stays."""
        self.reasons.setdefault(effect, reason)


def examine(statement: Tree, findings: Findings) -> set[str]:
    """Add a statement's effects to `findings`; the names of the messages inside it."""
    seen: set[str] = set()
    # Beside each message: whether it is run, or only planned as by EXPLAIN.
    waiting: list[tuple[Tree, bool]] = [(statement, True)]
    while waiting:
        tree, is_run = waiting.pop()
        name = name_of(tree)
        seen.add(name)
        if name == "A_Const":
            continue
        if name == "DoStmt":
            waiting.extend((each, is_run) for each in _block(tree, findings))
        elif name == "ExplainStmt":
            is_run = is_run and executes(tree)
            if tree.query.WhichOneof("node") != "select_stmt":
                findings.stay("EXPLAIN is of a statement that does not only read")
        elif name == "FuncCall":
            _call(tree, is_run, findings)
        elif name == "RangeVar":
            # Also what is only planned is opened.
            _range(tree, findings)
        elif name == "RangeTableSample":
            findings.mutable |= is_run and not tree.HasField("repeatable")
        elif name == "CommonTableExpr":
            findings.own.add(tree.ctename)
        elif name == "ExecuteStmt":
            # Also where it is only explained: the name has to be known.
            findings.add(Effect.EXECUTE, "EXECUTE runs a prepared statement")
        elif is_run and name in _MEANINGS:
            _MEANINGS[name](tree, findings)
        findings.defines |= is_run and _defines(name, tree)
        if name not in NOT_RUN:
            waiting.extend((child, is_run) for child in children(tree))
    return seen


def _call(call: Tree, is_run: bool, findings: Findings) -> None:
    """A call of a function. One that is not built in counts without being run: planning evaluates immutable ones."""
    parts = _strings(call.funcname)
    if parts[-1:] != ["set_config"]:
        note_call(parts, findings, is_run)
        return
    if is_run:
        findings.stay("set_config() sets a setting")
    if is_run and not _is_local(call):
        setting = _first_literal(call)
        if setting and is_parameter(setting):
            findings.parameters.add(setting)
        findings.exact = findings.exact or setting is not None
        note_call(parts, findings, setting=setting or ANY_SETTING)


def note_call(parts: Sequence[str], findings: Findings, is_run: bool = True, setting: str = ANY_SETTING) -> None:
    """Note the call of a function by its name, which may begin with its schema; `setting` is what it would set."""
    name = _builtin_name(parts)
    if name is None or name not in builtin_names():
        findings.calls[tuple(parts)] = None
        return
    if is_run and name in SESSION_FUNCTIONS:
        effect, what = SESSION_FUNCTIONS[name]
        findings.add(effect, f"{name}() {what}")
        if effect is Effect.SETTINGS:
            findings.settings.add(setting)
    findings.mutable |= is_run and name in MUTABLE_FUNCTIONS
    if is_run and (why := function_reason(name)):
        findings.stay(f"{name}() {why}")


def _first_literal(call: Tree) -> str | None:
    """The first argument where it is a literal, in small letters; empty for one that is no string."""
    if not call.args or call.args[0].WhichOneof("node") != "a_const":
        return None
    return str(call.args[0].a_const.sval.sval).lower()


def _is_local(call: Tree) -> bool:
    """Whether the third argument of set_config() is the word `true`; a string that means it is a literal."""
    return len(call.args) == 3 and call.args[2].WhichOneof("node") == "a_const" and call.args[2].a_const.boolval.boolval


def _block(statement: Tree, findings: Findings) -> Sequence[Tree]:
    """The statements of a DO; its body is a literal, so the plan is for this text only."""
    findings.exact = True
    options = {option.def_elem.defname: option.def_elem.arg.string.sval for option in statement.args}
    if options.get("language", "plpgsql") != "plpgsql":
        findings.add(Effect.UNKNOWN, "DO runs a language that is not looked into")
        return ()
    try:
        found = block_statements(options.get("as", ""))
    except PlanError:
        findings.add(Effect.UNKNOWN, "DO has a block that cannot be parsed")
        return ()
    if found is None:
        findings.add(Effect.UNKNOWN, "DO runs a statement made at run time")
    return found or ()


def _defines(name: str, statement: Tree) -> bool:
    """Whether functions may be others after a statement."""
    if name not in _DEFINERS:
        return False
    field_name = _DEFINERS[name]
    return field_name is None or choice(statement, field_name) in _OBJECTS_WITH_FUNCTIONS


def _show(statement: Tree, findings: Findings) -> None:
    findings.stay("SHOW tells of the server that it runs on")
    if is_parameter(statement.name):
        findings.parameters.add(statement.name)


def _set(statement: Tree, findings: Findings) -> None:
    kind = choice(statement, "kind")
    if is_parameter(statement.name):
        findings.parameters.add(statement.name)
    if statement.is_local:
        return
    if kind == "VAR_SET_MULTI":
        if statement.name == "SESSION CHARACTERISTICS":
            findings.add(Effect.SETTINGS, "SET SESSION CHARACTERISTICS sets the defaults of later transactions")
            findings.settings.update(f"default_{option.def_elem.defname}" for option in statement.args)
        return
    name = statement.name.lower()
    if kind in ("VAR_RESET", "VAR_RESET_ALL", "VAR_SET_DEFAULT"):
        findings.add(Effect.RESET, f"RESET {name or 'ALL'} lasts beyond the transaction")
        return
    findings.settings.add(name)
    findings.add(Effect.SETTINGS, f"SET {name} lasts beyond the transaction")


def _create_table(statement: Tree, findings: Findings) -> None:
    if choice(statement, "oncommit") != "ONCOMMIT_DROP":
        _relation(statement.relation, "a temporary table", findings)


def _into(clause: Tree, findings: Findings) -> None:
    if choice(clause, "on_commit") != "ONCOMMIT_DROP":
        _relation(clause.rel, "a temporary table", findings)


def _relation(relation: Tree, what: str, findings: Findings) -> None:
    """What is made under the name of a relation."""
    if relation.relpersistence == "t" or is_temp_schema(relation.schemaname):
        findings.add(Effect.TEMP, f"CREATE makes {what}")


def _named(names: str) -> Meaning:
    """The meaning of a statement that makes what the list in its field `names` names."""

    def meaning(statement: Tree, findings: Findings) -> None:
        parts = _strings(getattr(statement, names))
        if len(parts) > 1 and is_temp_schema(parts[-2]):
            findings.add(Effect.TEMP, "CREATE makes an object in the temporary schema")

    return meaning


def _declare(statement: Tree, findings: Findings) -> None:
    if statement.options & CURSOR_OPT_HOLD:
        findings.add(Effect.CURSOR, "DECLARE CURSOR WITH HOLD keeps a cursor after the transaction")


def _operator(names: str) -> Meaning:
    """The meaning of a place where an operator is named: one of another schema is a user's function."""

    def meaning(tree: Tree, findings: Findings) -> None:
        name = _builtin_name(_strings(getattr(tree, names)))
        if name is None:
            findings.add(Effect.UNKNOWN, "an operator of another schema may do anything")
        elif name:
            findings.operators[name] = None

    return meaning


def _range(relation: Tree, findings: Findings) -> None:
    """A relation is named. One of pg_catalog comes first wherever no schema is written."""
    name, schema = relation.relname, relation.schemaname
    findings.relations[(schema, name) if schema else (name,)] = None
    if is_temp_schema(schema):
        findings.stay(f"{name} is a temporary object of the session")
    if schema in ("", "pg_catalog") and (why := relation_reason(name)):
        findings.stay(f"{name} {why}")


def _copy(statement: Tree, findings: Findings) -> None:
    if statement.is_from or statement.is_program or statement.filename:
        findings.stay("COPY takes data, or a file of the server")


def _sample(tree: Tree, findings: Findings) -> None:
    name = _builtin_name(_strings(tree.method))
    if name is None or name not in builtin_names():
        findings.add(Effect.UNKNOWN, "a sampling method that is not built in may do anything")


def _writing(what: str) -> Meaning:
    """The meaning of a message that writes or locks."""

    def meaning(_: Tree, findings: Findings) -> None:
        findings.stay(what)

    return meaning


def _always(effect: Effect, reason: str) -> Meaning:
    """The meaning of a message that always has one effect."""

    def meaning(_: Tree, findings: Findings) -> None:
        findings.add(effect, reason)

    return meaning


def _builtin_name(parts: Sequence[str]) -> str | None:
    """The name without its schema, empty for no name; None if the schema is another one than pg_catalog."""
    return "".join(parts[-1:]) if list(parts[:-1]) in ([], ["pg_catalog"]) else None


def is_temp_schema(schema: str) -> bool:
    """`pg_temp`, or the name that it stands for, `pg_temp_3`."""
    return schema == "pg_temp" or schema.startswith("pg_temp_")


def _strings(nodes: Iterable[Tree]) -> list[str]:
    """A qualified name's parts."""
    return [node.string.sval for node in nodes]


Meaning: TypeAlias = Callable[[Tree, Findings], None]

_DEFINERS: dict[str, str | None] = {
    "CreateFunctionStmt": None,
    "AlterFunctionStmt": None,
    "CreateExtensionStmt": None,
    "AlterExtensionStmt": None,
    "AlterExtensionContentsStmt": None,
    "DefineStmt": "kind",
    "DropStmt": "remove_type",
    "RenameStmt": "rename_type",
    "AlterObjectSchemaStmt": "object_type",
}
"""Statements after which functions may be others; the field that says of what kind of object, where it matters."""

_OBJECTS_WITH_FUNCTIONS = frozenset(
    f"OBJECT_{kind}" for kind in ("FUNCTION", "PROCEDURE", "ROUTINE", "AGGREGATE", "EXTENSION", "SCHEMA")
)

CURSOR_OPT_HOLD = 0x20  # nodes/parsenodes.h

_MEANINGS: dict[str, Meaning] = {
    "VariableSetStmt": _set,
    "CreateStmt": _create_table,
    "IntoClause": _into,
    "ViewStmt": lambda tree, findings: _relation(tree.view, "a temporary view", findings),
    "CreateSeqStmt": lambda tree, findings: _relation(tree.sequence, "a temporary sequence", findings),
    "CompositeTypeStmt": lambda tree, findings: _relation(tree.typevar, "a temporary type", findings),
    "CreateFunctionStmt": _named("funcname"),
    "DefineStmt": _named("defnames"),
    "CreateDomainStmt": _named("domainname"),
    "CreateEnumStmt": _named("type_name"),
    "CreateRangeStmt": _named("type_name"),
    "CreateStatsStmt": _named("defnames"),
    "CreateConversionStmt": _named("conversion_name"),
    "CreateOpClassStmt": _named("opclassname"),
    "CreateOpFamilyStmt": _named("opfamilyname"),
    "CreateExtensionStmt": _always(Effect.UNKNOWN, "CREATE EXTENSION runs a script"),
    "AlterExtensionStmt": _always(Effect.UNKNOWN, "ALTER EXTENSION runs a script"),
    "DeclareCursorStmt": _declare,
    "ListenStmt": _always(Effect.LISTEN, "LISTEN registers the session for notifications"),
    "UnlistenStmt": _always(Effect.RELEASE, "UNLISTEN changes what the session is registered for"),
    "PrepareStmt": _always(Effect.PREPARE, "PREPARE keeps a statement in the session"),
    "DeallocateStmt": _always(Effect.DEALLOCATE, "DEALLOCATE removes prepared statements of the session"),
    "DiscardStmt": _always(Effect.DISCARD, "DISCARD removes what the session holds"),
    "LoadStmt": _always(Effect.LOAD, "LOAD loads a library into the session"),
    "A_Expr": _operator("name"),
    "SubLink": _operator("oper_name"),
    "SortBy": _operator("use_op"),
    "RangeTableSample": _sample,
    "CopyStmt": _copy,
    "InsertStmt": _writing("INSERT writes"),
    "UpdateStmt": _writing("UPDATE writes"),
    "DeleteStmt": _writing("DELETE writes"),
    "MergeStmt": _writing("MERGE writes"),
    "LockingClause": _writing("SELECT … FOR locks rows"),
    "VariableShowStmt": _show,
}
"""What a message means by itself, where it is run. Calls, DO and EXPLAIN are read by `examine`."""
