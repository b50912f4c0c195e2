"""What the engine says of itself: its state and sessions documents. Called by `helios.core`, which reads them, and by
everything that shows them.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict

__all__ = [
    "Circuit",
    "CircuitName",
    "ClientActivity",
    "ClientCounts",
    "ClientState",
    "ConsistencyKeyCounts",
    "DatabaseTraffic",
    "EngineState",
    "Halts",
    "Histogram",
    "Message",
    "NodeState",
    "OpenPool",
    "PoolState",
    "ReplayCounts",
    "ServerState",
    "SessionsState",
    "SocketAddress",
]


class Message(BaseModel):
    """One side's message at the border. Extra fields are let through: the engine may know more than we read."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)


class SocketAddress(Message):
    """A bound listener."""

    host: str
    """The folder of a Unix socket, told by its slash."""
    port: int

    def __str__(self) -> str:
        if self.host.startswith("/"):
            return f"{self.host}/.s.PGSQL.{self.port}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class CutCount(Message):
    """Clients disconnected without an error of the proxy's own."""

    reason: str
    """`told`: it has had the server's last words; `torn`: it has had half a message, behind which an error is none."""
    total: int


class RefusedCount(Message):
    """Clients refused for want of room."""

    reason: str
    """Which limit was reached: `total`, `user`, `database`, `address`, `unauthenticated` or
    `unauthenticated_address`."""
    total: int


class ClientCounts(Message):
    """Client connections of all workers."""

    active: int
    """Connected now, waiting ones and those that log in included."""
    waiting: int
    """Waiting for a server connection now."""
    accepted_total: int
    closed_total: int
    unauthenticated: int
    """Connected now and not logged in."""
    refused: tuple[RefusedCount, ...]
    cut: tuple[CutCount, ...]


class QueryCounts(Message):
    """Finished statements by PostgreSQL's own command tag."""

    read_total: int
    write_total: int


class PlanCounts(Message):
    """Plans of statements."""

    kept: int
    made_total: int
    missed_total: int
    """Statements that ran as ones that may do anything, since no plan came in time."""


class PinCount(Message):
    """Sessions below session mode that keep their server between transactions, by what would be lost otherwise."""

    reason: str
    """`temporary_object`, `holdable_cursor`, `prepared_statement`, `advisory_lock`, `session_authorization`, `library`,
    or `unknown` where the server could not be asked."""
    sessions: int
    """Now."""
    total: int
    """How often a session began to."""


class ListeningCounts(Message):
    """LISTEN below session mode."""

    sessions: int
    """Clients that listen now."""
    links: int
    """Server connections that listen for them, beyond the pools' own."""
    notifications_total: int
    """Notifications given to clients."""
    lost_total: int
    """Clients that were disconnected since they may have missed one."""


class ReplayFailures(Message):
    """Transactions that were lost with their server."""

    reason: str
    """Not tried: `overflow`, `statement`, `copy`, `unnamed_statement`, `pinned`; `outcome` where a commit was under
    way. Tried in vain: `answer`, `lock`, `cancelled`, `no_server`, `losses`. Sessions: `advisory`,
    `temp_table`, `cursor`."""
    total: int


class ReplayCounts(Message):
    """Transactions that outlive their server."""

    active: int
    """Being run again now."""
    journal_bytes: int
    """In journals of more than 16 KiB."""
    completed_total: int
    acknowledged_total: int
    """Commits whose answer was lost with their server, and of which another one knew."""
    statements_total: int
    """Requests that gave the same answers again."""
    sessions_total: int
    """Sessions that have on another server what they had on the one that was lost."""
    failed: tuple[ReplayFailures, ...]


class DepartureCount(Message):
    """Blocks that have left the standby that they began on though they might write."""

    reason: str
    """`write` (or what is not sure to only read), `refused` (the standby could not do what should only read),
    `conflict` (what it replays was in the way), `lost` (it is gone), `full` (the journal has no room)."""
    total: int


class OptimisticCounts(Message):
    """Blocks that began on a standby though they might write."""

    begun_total: int
    stayed_total: int
    """Ended there."""
    departed: tuple[DepartureCount, ...]
    moved_total: int
    """Gone on on the primary."""
    failed: tuple[ReplayFailures, ...]
    """Told 40001, or what stood against it: `answer` where the primary had another one."""


class ConsistencyKeyCounts(Message):
    """Requests of sessions that have a consistency key."""

    redis: str | None
    """Where it is; None: there are no keys."""
    connections: int
    """To it, one for each worker."""
    fault: str | None
    """Why it cannot be asked."""
    kept_total: int
    """Writes that it was told of before they were acknowledged."""
    unkept_total: int
    """Those that it could not be told of."""
    told_total: int
    """Reads that were told what they must see."""
    untold_total: int
    """Those that went to the primary, since nobody could say."""


class BufferCounts(Message):
    """Clients that wait because their cluster has no primary."""

    clients: int
    bytes: int
    """What they have sent."""
    entered_total: int
    refused_total: int
    """Clients refused since the buffer was full or the wait too long."""


class ByteCounts(Message):
    """Bytes on client connections, seen from the proxy."""

    received_total: int
    sent_total: int


class PoolState(Message):
    """One pool: the server connections of one identity to one node."""

    cluster: str
    node: str
    """The node's name, not its address."""
    database: str
    user: str
    """The client's user."""
    server_user: str
    """The user PostgreSQL sees."""
    mode: str
    max_size: int
    active: int
    idle: int
    waiting: int
    created_total: int
    closed_total: int
    name: str
    """What an administrator calls the database: the entry's name, or under `*` the one that clients ask for."""
    paused: bool
    leased: int
    """Of the active ones, those that a client has."""
    cleaned: int
    """Those that are made fit for the next client."""
    connecting: int
    """Those that are not logged in yet."""
    oldest_wait_us: int
    """Since the first waiting client began to wait."""


class OpenPool(Message):
    """The server connections of one pool, also of one that is out of use and waits for its last ones."""

    name: str
    total: int
    closing: int
    """Those that are to be closed as soon as they come back, since others have taken their place."""


class DatabaseTraffic(Message):
    """What the clients of one database have done since the process started. Times in microseconds."""

    COUNTERS: ClassVar = (
        "server_assignment_count",
        "xact_count",
        "query_count",
        "received",
        "sent",
        "xact_time",
        "query_time",
        "wait_time",
        "client_parse_count",
        "server_parse_count",
        "bind_count",
    )
    """The counters, in the order in which the console shows them."""

    database: str
    server_assignment_count: int
    xact_count: int
    query_count: int
    received: int
    """Bytes from clients."""
    sent: int
    """Bytes from servers."""
    xact_time: int
    query_time: int
    wait_time: int
    client_parse_count: int
    server_parse_count: int
    bind_count: int

    @property
    def counts(self) -> dict[str, int]:
        """The counters by name."""
        return {name: getattr(self, name) for name in self.COUNTERS}


CircuitName = Literal["closed", "open", "half_open"]


class Circuit(Message):
    """Whether a node is asked for reads."""

    state: CircuitName = "closed"
    failures: int = 0
    cause: str | None = None
    """What failed last; None when all is well."""
    opened_total: int = 0
    share: float = 1.0


class RoutedCount(Message):
    """Transactions that went to a node, in sessions whose reads are spread."""

    reason: str
    """`read`, `write`, `no_standby` (a read, and no standby fit for it), `key` (a read, and Redis could not say what
    its consistency key must see), `retry` (a standby could not answer), `hint`, `rule`, `role` (its database is one of
    standbys), `oltp`, `olap`, `vector` or `cold` (the node is meant for such reads), `fallback` (those that are meant
    for it were not fit), `optimistic` (a block that may write, and reads first) or `moved` (such a block went on
    there)."""
    total: int


class NodeState(Message):
    """What traffic shows of a node."""

    cluster: str
    name: str
    running: int = 0
    """Reading transactions, also waiting ones."""
    answers_total: int = 0
    failures_total: int = 0
    routed: tuple[RoutedCount, ...] = ()
    circuit: Circuit = Circuit()


class TableHeat(Message):
    """How often one table is used."""

    table: str
    """As statements name it, `public` left out."""
    uses_per_minute: float
    """By statements, of which older ones count less."""
    uses_total: int
    is_cold: bool


class DatabaseHeat(Message):
    """How often the tables of one database are used."""

    cluster: str
    database: str
    """On the server."""
    tables: tuple[TableHeat, ...]


class Halts(Message):
    """What an administrator has stopped, by the names of databases."""

    all: bool
    """Every database is paused."""
    paused: tuple[str, ...]
    disabled: tuple[str, ...]


End = tuple[str, int]
"""Address and port."""

ClientActivity = Literal["active", "waiting", "idle"]
"""It has a server, waits for one, or neither."""


class ClientState(Message):
    """One client."""

    id: int
    """Unique in the process."""
    user: str
    database: str
    """As `PoolState.name`."""
    replication: Literal["none", "physical", "logical"]
    is_console: bool
    state: ClientActivity
    ends: tuple[End, End] | None
    """The client's, and ours; None if it is just going."""
    tls: str
    connected_us: int
    """In microseconds since 1970."""
    requested_us: int
    """When it last asked for something."""
    waiting_us: int
    """How long it has waited for a server so far."""
    server: int | None
    """The id of the server that it has."""
    route: str | None = None
    """Why its last transaction went to the node that it went to; None where there was nothing to choose."""
    application_name: str
    prepared: int
    """Its named prepared statements."""


class ServerState(Message):
    """One server connection that is logged in."""

    id: int
    cluster: str
    node: str
    user: str
    database: str
    replication: Literal["none", "physical", "logical"]
    state: Literal["active", "tested", "idle", "listening"]
    """A client has it, it is made fit for the next one, or neither; or it listens for all clients of its pool."""
    ends: tuple[End, End] | None
    tls: str
    connected_us: int
    requested_us: int
    """When it last came back to its pool."""
    client: int
    """The id of the client that has it; 0 for nobody."""
    pid: int
    """Of its process, as in the node's `pg_stat_activity`."""
    prepared: int
    closing: bool
    """It is closed as soon as it comes back."""


class SessionsState(Message):
    """Clients and servers at one moment."""

    logins: int
    """Clients that are not logged in yet."""
    clients: tuple[ClientState, ...]
    servers: tuple[ServerState, ...]
    sizes: dict[str, int]
    """Bytes that one client, server or pool takes, without buffers and texts."""


class Histogram(Message):
    """Durations in seconds. `counts` has one entry more than `le` (beyond the last bound) and is not cumulative."""

    le: tuple[float, ...]
    counts: tuple[int, ...]
    sum: float


class Histograms(Message):
    """All histograms the engine keeps."""

    query_duration_seconds: Histogram
    pool_acquire_duration_seconds: Histogram


class EngineState(Message):
    """Counters and gauges of the engine at one moment."""

    generation: int
    listen: tuple[SocketAddress, ...]
    accepting: bool
    workers: int
    clients: ClientCounts
    queries: QueryCounts
    plans: PlanCounts
    pins: tuple[PinCount, ...]
    listening: ListeningCounts
    consistency_keys: ConsistencyKeyCounts
    buffer: BufferCounts
    replays: ReplayCounts
    optimistic: OptimisticCounts
    bytes: ByteCounts
    pools: tuple[PoolState, ...]
    open: tuple[OpenPool, ...]
    traffic: tuple[DatabaseTraffic, ...]
    nodes: tuple[NodeState, ...] = ()
    heat: tuple[DatabaseHeat, ...] = ()
    """Empty where it is not counted."""
    halts: Halts
    histograms: Histograms

    def node(self, cluster: str, name: str) -> NodeState:
        """What traffic shows of a node; nothing of one that the engine has not met."""
        found = (node for node in self.nodes if (node.cluster, node.name) == (cluster, name))
        return next(found, NodeState(cluster=cluster, name=name))
