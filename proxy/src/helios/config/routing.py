"""`[routing]` and `[databases.routing]`: which node runs a statement. Read by the planner and, through the snapshot, by
the engine."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Final

from pydantic import AfterValidator, Field, StringConstraints

from helios.config.base import Bytes, Count, Flag, HeliosModel, Milliseconds, Name
from helios.config.consistency_keys import ConsistencyKeysConfig
from helios.config.workload import Glob, WorkloadConfig

__all__ = [
    "Consistency",
    "ReadStrategy",
    "RoutingConfig",
    "RoutingOverrides",
    "RoutingRuleConfig",
    "RuleConsistency",
    "RuleRoute",
    "WriteMode",
    "Zone",
]

MAX_RULES: Final = 64
_UNSUPPORTED = re.compile(r"(?<!\\)(?:\\\\)*(?:\(\?<?[=!]|\(\?P=|\\[1-9])")
"""Of Python's regular expressions, what cannot be matched in linear time."""


def _check_pattern(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"is no regular expression: {error}") from error
    if _UNSUPPORTED.search(pattern):
        raise ValueError("must not look around or refer back")
    if "'" in pattern:
        raise ValueError("holds a literal, which is ? in the text that it is matched with")
    return pattern


StatementPattern = Annotated[str, StringConstraints(min_length=1, max_length=1024), AfterValidator(_check_pattern)]
"""A regular expression over statements, without look-around and back references."""

Zone = Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=r"^\S+$")]


class ReadStrategy(StrEnum):
    """Which of the nodes that may answer a read does. A node of weight 0 never does."""

    ROUND_ROBIN = "round_robin"
    """One after the other."""
    WEIGHTED_ROUND_ROBIN = "weighted_round_robin"
    """One after the other, each as often as its weight says."""
    LEAST_CONNECTIONS = "least_connections"
    """The one with the fewest transactions under way, for its weight."""
    LATENCY_BASED = "latency_based"
    """Of two taken at random, the one that answers sooner with what it has to do already."""
    RANDOM = "random"


class Consistency(StrEnum):
    """How old what a read sees may be."""

    STRONG = "strong"
    """Not at all: reads go to the primary."""
    SESSION = "session"
    """As old as `max_lag_ms` allows, but never older than what its session has written or read."""
    BOUNDED = "bounded"
    """As old as `max_lag_ms` and `max_lag_bytes` allow."""
    EVENTUAL = "eventual"
    """As old as it happens to be."""


class WriteMode(StrEnum):
    """How far a write must have come when it is acknowledged."""

    SYNC = "sync"
    """A synchronous standby shows it: `synchronous_commit = remote_apply`."""
    SEMISYNC = "semisync"
    """A synchronous standby has it on disk: `on`."""
    ASYNC = "async"
    """The primary has it on disk: `local`."""


class RuleRoute(StrEnum):
    """Where a rule sends reads, or how far writes must have come."""

    PRIMARY = "primary"
    STANDBY = "standby"
    SYNC = "sync"
    """Writes as `write_mode` says it; of reads nothing. Also below."""
    SEMISYNC = "semisync"
    ASYNC = "async"
    ANY = "any"
    """To a standby where reads are split, which includes the choice of the nearest."""
    NEAREST = "nearest"
    """As `any`: standbys of the proxy's own zone come first anyway."""
    VECTOR = "vector"
    """To the nodes of `workload.vector_target`."""


class RuleConsistency(StrEnum):
    """How old what a read sees may be, where a rule says so. See `Consistency`."""

    STRONG = "strong"
    BOUNDED = "bounded"
    EVENTUAL = "eventual"


class RoutingRuleConfig(HeliosModel):
    """Where some reads go, or how far some writes must have come. What may write goes to the primary whatever a rule
    says."""

    name: Name
    """Name of the rule, in reasons; unique."""

    application_name: Annotated[tuple[Glob, ...], Field(max_length=64)] = ()
    """Globs (`*`, `?`) over the client's `application_name`; one of them must match. Empty: every client."""

    query_pattern: StatementPattern | None = None
    """Regular expression that must be found in the statement, in any case of letters. It sees the statement's shape:
    literals are `?`, words are in small letters and one blank apart, comments are gone. None: every statement."""

    route: RuleRoute
    """Kind of node that answers reads; `sync`, `semisync` and `async` say instead how far writes must have come."""

    node: Name | None = None
    """Node that answers, by its name; goes before `route`. None: any of the kind."""

    consistency: RuleConsistency | None = None
    """See routing.consistency. None: as there."""

    max_lag_ms: Milliseconds | None = None
    """See routing.max_lag_ms. None: as there."""


class RoutingConfig(HeliosModel):
    """Where statements go."""

    read_write_split: Flag = False
    """Whether reads may go to standbys. Off, since an application that asks one server for everything may count on
    more than `consistency` keeps."""

    read_strategy: ReadStrategy = ReadStrategy.LEAST_CONNECTIONS
    """Which of the nodes that may answer a read does. Least connections, because a node that is slow for whatever
    reason then gets less without anything being measured."""

    consistency: Consistency = Consistency.SESSION
    """How old what a read sees may be. Session, which is what an application expects of one server: it sees what it has
    written, and time does not run backwards."""

    max_lag_ms: Milliseconds = 10_000
    """Milliseconds that a standby may be behind its primary to be asked; 0 = any. Ten seconds are more than a standby
    that keeps up ever needs, and less than people take for stale."""

    max_lag_bytes: Bytes = 0
    """The same in bytes of WAL; 0 = any, since bytes say little about time."""

    catch_up_ms: Milliseconds = 100
    """Milliseconds that a read waits at most for a standby to come as far as its session; 0 = it never waits, and goes
    to the primary. A tenth of a second is more than a standby that keeps up needs."""

    catch_up_after: Count = 4
    """Reads in a row that the primary answers before one waits for a standby; 0 = none, which spares the primary most
    and makes the first read after a write wait. Few, since while others write a session that keeps reading from the
    primary is ahead of every standby for ever."""

    zone: Zone | None = None
    """Zone that this proxy runs in: standbys of the same one answer reads as long as there are any. None: zones do not
    matter."""

    optimistic: Flag = False
    """Whether a transaction block that may write begins on a standby, if it is READ COMMITTED and its first statement
    only reads; of use where reads are split. At its first write, or whatever is not sure to only read, all that it has
    read is read again on the primary, and it goes on there if that is the same; else it has failed (40001). Off, since
    an application must be ready to repeat such a transaction. What is kept of it is bounded by
    `transaction_replay.journal`."""

    write_mode: WriteMode | None = None
    """How far writes must have come when they are acknowledged, where neither the client nor a hint or rule says it. It
    holds for sessions that begin after it was set. Without a synchronous standby, writes of `sync` and `semisync` are
    refused (55000), and where reads are not split reads too, as they are not told from writes there. None: as the
    server has it."""

    hints: Flag | None = None
    """Whether hints in comments, `/*helios:route=primary*/`, are acted on. None: where reads are split, told apart or
    there are rules, so that an application that is pooled only pays nothing for them."""

    rules: Annotated[tuple[RoutingRuleConfig, ...], Field(max_length=MAX_RULES)] = ()
    """Where some reads go, also while `read_write_split` is off. The first rule that fits a statement counts."""

    schema_aware: Flag = False
    """Whether kinds of reads are told apart by their tables, and answered by the nodes that `workload` names, even
    while `read_write_split` is off. Off, since without targets it would be of no use."""

    workload: WorkloadConfig = WorkloadConfig()
    """The kinds of reads, and who answers them."""

    consistency_keys: ConsistencyKeysConfig = ConsistencyKeysConfig()
    """What sessions share that have the same key."""

    @property
    def reads_hints(self) -> bool:
        """Whether hints are acted on."""
        return self.spreads if self.hints is None else self.hints

    @property
    def spreads(self) -> bool:
        """Whether any read may leave the primary without a hint."""
        return self.read_write_split or bool(self.rules) or self.schema_aware


class RoutingOverrides(HeliosModel):
    """Routing of one database; what is left out is taken from `[routing]`."""

    read_write_split: Flag | None = None
    """See routing.read_write_split. None: as `[routing]` says, here and below."""

    read_strategy: ReadStrategy | None = None
    """See routing.read_strategy."""

    consistency: Consistency | None = None
    """See routing.consistency."""

    max_lag_ms: Milliseconds | None = None
    """See routing.max_lag_ms."""

    max_lag_bytes: Bytes | None = None
    """See routing.max_lag_bytes."""

    catch_up_ms: Milliseconds | None = None
    """See routing.catch_up_ms."""

    catch_up_after: Count | None = None
    """See routing.catch_up_after."""

    optimistic: Flag | None = None
    """See routing.optimistic."""

    write_mode: WriteMode | None = None
    """See routing.write_mode."""

    def over(self, routing: RoutingConfig) -> RoutingConfig:
        """`routing` with every setting that these overrides state."""
        return routing.model_copy(update=self.model_dump(exclude_none=True))
