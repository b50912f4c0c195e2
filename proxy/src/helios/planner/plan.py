"""The plan of a statement: plain frozen data, made by `decide`, handed to the engine by `service`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = [
    "Access",
    "Block",
    "Consistency",
    "Effect",
    "Handling",
    "Holding",
    "Kept",
    "Kind",
    "Origin",
    "Parameter",
    "ParameterAct",
    "Place",
    "Plan",
    "Rerun",
    "Route",
    "Routing",
    "Verb",
    "Workload",
    "WriteMode",
]


class Kind(StrEnum):
    """What a statement does by its form. Of several statements in one text the first kind in this order counts."""

    UNKNOWN = "unknown"
    """A statement of a grammar newer than `kinds`."""
    DDL = "ddl"
    """Changes definitions: what PostgreSQL logs under `log_statement = ddl`."""
    WRITE = "write"
    """Changes or locks rows, or may: also SELECT … FOR UPDATE, WITH … DELETE, DO and CALL."""
    COPY = "copy"
    SESSION = "session"
    """SET, RESET, PREPARE, EXECUTE, DEALLOCATE, cursors, LISTEN, UNLISTEN, DISCARD."""
    TXN = "txn"
    """Transaction control, with SET TRANSACTION and SET CONSTRAINTS."""
    UTILITY = "utility"
    """VACUUM, LOCK, NOTIFY, LOAD…; also a text without a statement."""
    READ = "read"
    """SELECT, VALUES, TABLE, SHOW, and EXPLAIN that does not execute. A function it calls may still write."""


class Effect(StrEnum):
    """What a statement may leave in the session, or take away from it, beyond its transaction."""

    SETTINGS = "settings"
    """SET and set_config(); also SET ROLE and SET SESSION AUTHORIZATION."""
    RESET = "reset"
    """RESET and SET … TO DEFAULT: settings go back to what they were at the start."""
    TEMP = "temp"
    """A temporary table, view, sequence, type or function."""
    CURSOR = "cursor"
    """A cursor WITH HOLD."""
    LISTEN = "listen"
    """LISTEN."""
    PREPARE = "prepare"
    """SQL PREPARE."""
    EXECUTE = "execute"
    """EXECUTE, also inside EXPLAIN and CREATE TABLE AS: may leave what the prepared statement leaves."""
    DEALLOCATE = "deallocate"
    DISCARD = "discard"
    """Every form of DISCARD."""
    ADVISORY = "advisory"
    """An advisory lock of the session is taken."""
    RELEASE = "release"
    """Something may go that the session holds: UNLISTEN, pg_advisory_unlock()."""
    LOAD = "load"
    """LOAD of a library."""
    UNKNOWN = "unknown"
    """May be any of these: code that the planner does not see runs, or something is left that has no name here."""


class Route(StrEnum):
    """Which nodes may run a statement."""

    PRIMARY = "primary"
    ANY = "any"
    """A read: a standby that is fresh enough answers it as the primary would."""
    STANDBY = "standby"
    """The same, and somebody wants it there: the primary answers where no standby can."""


class Consistency(StrEnum):
    """How old what a read sees may be, where a hint or rule says so."""

    STRONG = "strong"
    BOUNDED = "bounded"
    EVENTUAL = "eventual"


class Workload(StrEnum):
    """What kind of work a read is."""

    OLTP = "oltp"
    """Everything that is of no other kind."""
    OLAP = "olap"
    """It aggregates large tables."""
    VECTOR = "vector"
    """It searches by distances between vectors."""
    COLD = "cold"
    """OLTP over tables that are seldom used. The engine counts that, so no plan is of this kind."""


class WriteMode(StrEnum):
    """How far a write must have come when it is acknowledged."""

    SYNC = "sync"
    """It is seen on the synchronous standbys."""
    SEMISYNC = "semisync"
    """They have it on disk."""
    ASYNC = "async"
    """The primary has it on disk."""


class Origin(StrEnum):
    """What the route is decided by."""

    STATEMENT = "statement"
    """What it does."""
    HINT = "hint"
    RULE = "rule"
    WORKLOAD = "workload"
    """The kind of work that it is."""


@dataclass(frozen=True, slots=True)
class Routing:
    """Where a text runs, and for how long."""

    route: Route = Route.PRIMARY
    reason: str = ""
    """One sentence; names constructs, functions and relations, never a literal."""
    origin: Origin = Origin.STATEMENT
    node: str | None = None
    """The node that a hint or rule names."""
    workload: Workload | None = None
    """Of a read that nodes of their own may answer, where neither hint nor rule says who does."""
    consistency: Consistency | None = None
    """Of a read; None: as its database has it, also below."""
    max_lag_ms: int | None = None
    timeout_ms: int | None = None
    """Milliseconds after which the statement is cancelled; None: as long as its user may."""
    has_token: bool = False
    """A hint says what must be seen; the engine reads it at each execution, as no two of them are alike."""
    write_mode: WriteMode | None = None
    """How far its writes must have come when they are acknowledged, where a hint says so."""
    notices: tuple[str, ...] = ()
    """What its client is told each time that it sends it."""


class Verb(StrEnum):
    """What a text does with a transaction block."""

    BEGIN = "begin"
    START = "start"
    SET = "set"
    COMMIT = "commit"
    """Also END."""
    ROLLBACK = "rollback"
    """Also ABORT."""


class Access(StrEnum):
    """What is said of a transaction."""

    READ_ONLY = "read_only"
    READ_WRITE = "read_write"
    SERIALIZABLE = "serializable"
    """Whatever else: a standby has no such transactions."""
    SNAPSHOT = "snapshot"
    """REPEATABLE READ, and nothing of reading or writing."""
    UNSAID = "unsaid"
    """Nothing of these: the session's defaults decide."""


@dataclass(frozen=True, slots=True)
class Block:
    """What a text that is transaction control does."""

    verb: Verb
    access: Access = Access.UNSAID


class Parameter(StrEnum):
    """A setting of Helios' own, without its prefix `helios.`."""

    LSN = "lsn"
    """What the session has seen, as a token that can be carried to another."""
    WRITE_MODE = "write_mode"
    """A `WriteMode`, of all transactions of the session."""
    CONSISTENCY_KEY = "consistency_key"
    """Under which it shares with other sessions what must be seen."""


class ParameterAct(StrEnum):
    """What a text does with a parameter."""

    SHOW = "show"
    SET = "set"
    RESET = "reset"
    MIX = "mix"
    """Something that is not done: it is one statement of several, or set in another way than by SET."""


@dataclass(frozen=True, slots=True)
class Handling:
    """What a text does with a parameter of Helios, which answers it itself."""

    parameter: Parameter
    act: ParameterAct


class Rerun(StrEnum):
    """What becomes of a text in a transaction whose server is lost."""

    LOOKS = "looks"
    """As `REPEATS`, and only reads by its form; a function that it calls may write."""
    ROWS = "rows"
    """As `REPEATS`, and is one statement that changes or locks rows: it commits where no block is open, and not before
    its end."""
    REPEATS = "repeats"
    """It is run again on another server; it gives the same answer there, or the transaction is given up."""
    COMMITS = "commits"
    """It may have ended the transaction by a commit."""
    ENDS = "ends"
    """It ends a prepared transaction, and does nothing else."""
    NEVER = "never"
    """It reaches beyond the database or the transaction, or nobody knows what it does."""


class Place(StrEnum):
    """Where the numbers of a sequence are written into a statement."""

    ALONE = "alone"
    """They are all that it asks for: `SELECT nextval(…)`."""
    NOTHING = "nothing"
    """In the place of DEFAULT VALUES."""
    ROWS = "rows"
    """In front of the columns, and of each row of VALUES."""
    DEFAULT = "default"
    """In the place of one item of each row of VALUES."""
    QUERY = "query"
    """In front of the columns, and of each row of the query."""


@dataclass(frozen=True, slots=True)
class Kept:
    """Numbers of a sequence that the client is told, one of each row, and that are given when the statement is run
    again."""

    column: int
    """Which one of the result's has them, from 0."""
    name: str
    """The column's name as an identifier: that of the table, or for `Place.ALONE` that of the result."""
    sequence: str
    """As `regclass` reads it."""
    is_unique: bool
    """Two rows cannot have the same number."""
    place: Place
    at: int = 0
    """Of `Place.DEFAULT`: which item of a row, from 0."""


@dataclass(frozen=True, slots=True)
class Holding:
    """What a text changes of the things that its session alone has. Names are those of relations without a schema, or
    with that of temporary ones: whether they are the session's own is not known here."""

    makes: tuple[str, ...] = ()
    """Temporary relations that outlive the transaction."""
    writes: tuple[str, ...] = ()
    """Relations whose rows or definition it changes."""
    takes_locks: bool = False
    """Advisory locks of the session, and that it gives them back."""
    frees_locks: bool = False
    holds_cursor: bool = False
    """It declares a cursor WITH HOLD."""
    moves_cursor: bool = False
    """It declares, reads, moves or closes any cursor."""
    drops: bool = False
    """What it `writes` is gone after it."""
    does_more: bool = False
    """It does something else as well, which must not be done twice."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is decided about a text. Two texts that differ only in literals have equal plans, except where `exact`."""

    kind: Kind
    effects: tuple[Effect, ...] = ()
    """In the order of `Effect`, each once."""
    reasons: tuple[str, ...] = ()
    """One sentence for each of `effects`; names constructs and functions, never a literal, cursor or prepared name."""
    settings: tuple[str, ...] = ()
    """Settings that SET and set_config() name, sorted; `*` among them for one that is not named by a literal."""
    exact: bool = False
    """Literals of the text matter: this plan is for exactly this text."""
    is_multi: bool = False
    """The text holds more than one statement."""
    defines: bool = False
    """Makes functions, or others of those there are: what is known of the database's catalog is old then."""
    block: Block | None = None
    """What it does with the transaction block; None for a text that is not just one such statement."""
    handling: Handling | None = None
    """What it does with a parameter of Helios; None for nothing."""
    rerun: Rerun = Rerun.REPEATS
    """What becomes of it in a transaction that is run again."""
    mutable: bool = False
    """It may leave values that would be others if it were run again, and that its client has not seen."""
    kept: Kept | None = None
    """Numbers that it tells and that are not given twice; None for none, and where nobody runs transactions again."""
    holding: Holding | None = None
    """What it changes of what its session alone has; None for nothing, as far as the text says."""
    routing: Routing = Routing()
    tables: tuple[str, ...] = ()
    """Relations that it uses, also through views, where it is counted how often they are; `public` is left out."""
