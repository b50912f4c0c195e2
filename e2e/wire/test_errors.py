"""Faults on either side: dying servers, absent nodes, messages that make no sense. Nobody else notices."""

from __future__ import annotations

import random
import struct

import pytest

from harness import frontend
from harness.client import Client, ClosedError, LoginRefusedError, brief, rows, sqlstates
from harness.frontend import bind, describe_statement, execute, message, parse, query, sync
from harness.postgres import PostgresCluster
from harness.proxy import HeliosProcess, StartProxy
from harness.routes import Parity, Route
from harness.wait import until
from helios.play.process import free_port

LOST = ("57P01", "08006")
"""What a client may be told when its server connection is lost."""


def backend_of(client: Client) -> int:
    """Process id of the server process that answers now."""
    return int(client.value("select pg_backend_pid()") or 0)


def terminate(postgres: PostgresCluster, pid: int) -> None:
    """End a server process and wait until it is gone."""
    assert postgres.value(f"select pg_terminate_backend({pid}, 5000)") == "t"


@pytest.mark.checklist(44)
@pytest.mark.routes("transaction", "statement", chunks=("none", "7"), direct=False)
def test_idle_server_that_died_is_not_handed_out(route: Route, postgres: PostgresCluster) -> None:
    client = route.connect()

    for _ in range(5):
        terminate(postgres, backend_of(client))
        assert client.value("select 'fine'") == "fine"


@pytest.mark.checklist(45, protocol="simple")
@pytest.mark.routes("session", chunks=("none", "7"))
def test_session_whose_idle_server_died_is_told_once(route: Route, postgres: PostgresCluster) -> None:
    client = route.connect()

    terminate(postgres, backend_of(client))
    client.transcript.clear()
    try:
        client.send(query("select 1"))
    except OSError:
        pass  # the close may have arrived before
    events = client.until_closed()

    assert len(sqlstates(events)) == 1
    assert sqlstates(events)[0] in LOST


@pytest.mark.checklist(45)
@pytest.mark.routes("session", "transaction", "statement")
@pytest.mark.parametrize("protocol", ["simple", "extended"])
def test_server_killed_during_a_query_gives_one_error(route: Route, postgres: PostgresCluster, protocol: str) -> None:
    client, other = route.connect(), route.connect()
    sql = f"select pg_sleep(30) /* {route.kind} {protocol} */"
    client.send(query(sql) if protocol == "simple" else frontend.extended(sql))

    find = f"select pid from pg_stat_activity where query = '{sql}' and state = 'active'"
    with Client(postgres.superuser()) as admin:
        pid = until(lambda: [row[0] for row in rows(admin.query(find))], "the query to run")[0]
    terminate(postgres, int(pid or 0))
    try:
        events = client.receive_until(lambda event: event.kind in ("ErrorResponse", "ReadyForQuery"))
        events += client.until_closed()
    except TimeoutError:
        events = list(client.transcript)

    assert len(sqlstates(events)) == 1, brief(events)
    assert sqlstates(events)[0] in LOST
    assert other.value("select 'fine'") == "fine"
    assert route.connect().value("select 'fine'") == "fine"


@pytest.mark.checklist(46, protocol="simple")
@pytest.mark.routes("session", "transaction", chunks=("none", "7"))
def test_server_killed_inside_a_transaction(route: Route, postgres: PostgresCluster) -> None:
    client = route.connect()
    client.query("begin")
    client.query("insert into notes values (200, 'lost')")

    terminate(postgres, backend_of(client))
    client.transcript.clear()
    try:
        client.send(query("commit"))
    except OSError:
        pass  # the close may have arrived before
    events = client.until_closed()

    assert len(sqlstates(events)) == 1, brief(events)
    assert sqlstates(events)[0] in LOST
    assert route.connect().value("select count(*) from notes where id = 200") == "0"


@pytest.mark.checklist(32)
@pytest.mark.routes("session", "transaction", "statement", chunks=("none", "random"))
def test_unknown_message_type_is_fatal_for_its_sender_only(route: Route) -> None:
    client, other = route.connect(), route.connect()

    client.send(message(b"y", b"what"))
    events = client.until_closed()

    assert [event.brief for event in events] == ["ErrorResponse 08P01"]
    assert events[0].fields["V"] == "FATAL"
    assert other.value("select 'fine'") == "fine"


BAD_LENGTHS = {
    "below 4": b"Q" + struct.pack("!i", 3),
    "zero": b"S" + struct.pack("!i", 0),
    "negative": b"P" + struct.pack("!i", -1),
    "2 GB": b"Q" + struct.pack("!i", 2**31 - 1) + b"select",
    "2 GB Bind": b"B" + struct.pack("!i", 2**31 - 1) + b"\0\0",
    "large Sync": b"S" + struct.pack("!i", 20_000) + b"x" * 19_996,
    "large Execute": b"E" + struct.pack("!i", 200_000) + b"x" * 199_996,
    "large Terminate": b"X" + struct.pack("!i", 20_000) + b"x" * 19_996,
}


@pytest.mark.checklist(37)
@pytest.mark.routes("session", "transaction", chunks=("none", "1"))
@pytest.mark.parametrize("name", list(BAD_LENGTHS))
def test_impossible_length_ends_its_sender_only(route: Route, name: str) -> None:
    client, other = route.connect(), route.connect()

    client.send(BAD_LENGTHS[name])
    try:
        events = client.until_closed()
    except OSError:
        events = []

    assert set(sqlstates(events)) <= {"08P01"}
    assert [event for event in events if event.kind != "ErrorResponse"] == []
    assert other.value("select 'fine'") == "fine"


BAD_BODIES = {
    "Query without end": message(b"Q", b"select 1"),
    "Parse without end": message(b"P", b"name"),
    "Parse with too few types": message(b"P", b"\0select 1\0" + struct.pack("!h", 3)),
    "Bind cut short": message(b"B", b"\0\0" + struct.pack("!h", 0)),
    "Bind with a negative count": message(b"B", b"\0\0" + struct.pack("!hh", 0, -3)),
    "Bind with a value beyond its end": message(b"B", b"\0\0" + struct.pack("!hhi", 0, 1, 1000) + b"x"),
    "Describe of nothing": message(b"D", b"X\0"),
    "Describe without a name": message(b"D", b"S"),
    "Close of nothing": message(b"C", b"?\0"),
    "Execute without a limit": message(b"E", b"\0"),
    "empty Parse": message(b"P"),
    "empty Bind": message(b"B"),
}


@pytest.mark.routes("session", "transaction", "statement", chunks=("none", "7"))
@pytest.mark.parametrize("name", list(BAD_BODIES))
def test_malformed_body_is_a_protocol_error(route: Route, name: str) -> None:
    client, other = route.connect(), route.connect()

    client.send(parse("select 1"), BAD_BODIES[name], sync())
    first = client.receive_until(lambda event: event.kind != "ParseComplete")[-1]
    assert first.brief == "ErrorResponse 08P01"
    assert other.value("select 'fine'") == "fine"
    if first.fields["V"] == "ERROR":
        client.until_ready()
        if not name.startswith("Query"):
            assert rows(client.extended("select 'mine'")) == [["mine"]]


HALF_MESSAGES = {
    "type byte": b"Q",
    "half a length": b"Q\0\0",
    "header of a Query": b"Q" + struct.pack("!i", 100),
    "half a Query": query("select 'half'")[:-5],
    "half a Parse": parse("select 'half'")[:-4],
    "half a Bind": parse("select $1::text") + bind(["x" * 1000])[:-500],
    "half a Bind of a large value": parse("select $1::text") + bind(["x" * 500_000])[:-100],
    "batch without Sync": parse("select 'half'") + bind() + execute(),
    "half a message after a batch": parse("select 1") + bind() + execute() + sync() + b"P\0",
}


@pytest.mark.checklist(53)
@pytest.mark.routes("session", "transaction", "statement", chunks=("none", "7"))
@pytest.mark.parametrize("ending", ["close", "abort"])
@pytest.mark.parametrize("name", list(HALF_MESSAGES))
def test_half_a_message_then_gone(route: Route, name: str, ending: str) -> None:
    client, other = route.connect(), route.connect()

    client.send(HALF_MESSAGES[name])
    client.abort() if ending == "abort" else client.close()

    for number in range(4):
        assert other.value(f"select 'fine {number}'") == f"fine {number}"
        assert rows(other.extended("select $1::int", str(number))) == [[str(number)]]


@pytest.mark.checklist(53, protocol="simple")
@pytest.mark.routes("transaction", chunks=("none", "random"))
def test_half_a_message_inside_a_transaction_rolls_it_back(route: Route) -> None:
    client = route.connect()
    client.query("begin")
    client.query("insert into notes values (201, 'half')")

    client.send(query("commit")[:-3])
    client.close()

    watcher = route.connect()
    assert watcher.value("select count(*) from notes where id = 201") == "0"
    assert (
        sqlstates(
            watcher.query(
                "set lock_timeout = 5000; insert into notes values (201, 'free'); delete from notes where id = 201"
            )
        )
        == []
    )


@pytest.mark.routes("transaction", chunks=("none",))
def test_random_bytes_after_the_login_hurt_nobody_else(route: Route) -> None:
    generator = random.Random(42)
    other = route.connect()

    for _ in range(40):
        client = route.connect()
        try:
            client.send(generator.randbytes(generator.randint(1, 3000)))
            client.close()
        except OSError:
            client.close()  # refused already, which is as good
        assert other.value("select 'fine'") == "fine"


@pytest.mark.routes("transaction", chunks=("none",))
def test_random_messages_after_the_login_hurt_nobody_else(route: Route) -> None:
    """Well-framed messages of known kinds with random bodies: they get further than plain noise."""
    generator = random.Random(7)
    other = route.connect()

    for _ in range(60):
        client = route.connect()
        kinds = [generator.choice([b"P", b"B", b"D", b"E", b"C", b"H", b"d", b"c", b"f", b"F", b"S"]) for _ in range(6)]
        bodies = [generator.randbytes(generator.choice([0, 1, 5, 60])) for _ in kinds]
        try:
            client.send(
                *[message(kind, body) for kind, body in zip(kinds, bodies, strict=True)], sync(), query("select 1")
            )
            client.close()
        except OSError:
            client.close()  # refused already, which is as good
        assert other.value("select 'fine'") == "fine"


@pytest.mark.routes("session", "transaction", chunks=("none",))
def test_unknown_database_is_named(route: Route, postgres: PostgresCluster) -> None:
    target = route.target()
    target = type(target)(target.host, target.port, target.user, target.password, "no_such_database")

    try:
        with Client(target) as client:
            client.send(query("select 1"))
            event = client.receive_until(lambda event: event.kind == "ErrorResponse")[-1]
    except LoginRefusedError as refused:
        event = refused.event

    assert event.sqlstate == "3D000"
    assert "no_such_database" in event.fields["M"]


def test_database_without_an_entry_is_refused(start_proxy: StartProxy) -> None:
    proxy = start_proxy(databases=[{"name": "only", "database": "app"}])

    with pytest.raises(LoginRefusedError) as refusal:
        Client(proxy.target("elsewhere"))

    assert refusal.value.sqlstate == "3D000"
    assert '"elsewhere"' in refusal.value.event.fields["M"]
    with Client(proxy.target("only")) as client:
        assert client.value("select current_database()") == "app"


@pytest.fixture
def lonely_proxy(start_proxy: StartProxy) -> HeliosProcess:
    """A proxy whose only node is a port where nobody listens."""
    clusters = [{"name": "main", "nodes": [{"name": "gone", "host": "127.0.0.1", "port": free_port()}]}]
    return start_proxy(clusters=clusters, pool={"acquire_timeout_seconds": 1})


def test_unreachable_node_is_an_error_in_time_not_a_hang(lonely_proxy: HeliosProcess) -> None:
    try:
        with Client(lonely_proxy.target()) as client:
            client.send(query("select 1"))
            event = client.receive_until(lambda event: event.kind == "ErrorResponse")[-1]
    except LoginRefusedError as refused:
        event = refused.event

    assert event.sqlstate in ("57P03", "08001", "08006", "53300")
    assert event.fields["M"]
    until(lambda: "gone" in lonely_proxy.log(), "a log line that names the node")
    assert lonely_proxy.get("/readyz")[0] == 503


def flush_with_a_body(c: Client) -> None:
    c.batch(message(b"H", b"x"), message(b"F"), parse("select 1"), sync(), query("select 2"), ready=2)
    c.batch(message(b"F"), message(b"H", b"x"), sync(), query("select 3"), ready=3)


@pytest.mark.routes("session", "transaction", chunks=("none", "7"))
def test_flush_with_a_body_is_an_error_of_its_own(parity: Parity) -> None:
    parity(flush_with_a_body)


@pytest.mark.routes("transaction", "statement", chunks=("none", "7"))
def test_error_leaves_the_server_usable_for_the_next_client(route: Route) -> None:
    client, other = route.connect(), route.connect()

    for _ in range(5):
        assert sqlstates(client.query("select 1/0")) == ["22012"]
        assert rows(other.extended("select 'fine'")) == [["fine"]]
        assert sqlstates(client.batch(parse("selec"), describe_statement(), sync())) == ["42601"]
        assert other.value("select 'fine'") == "fine"


@pytest.mark.checklist(45)
@pytest.mark.routes("transaction", chunks=("none",))
def test_server_that_dies_between_two_batches_of_a_pipeline(route: Route, postgres: PostgresCluster) -> None:
    """One loss, one ErrorResponse: what was pipelined behind it is not answered with more of them."""
    client = route.connect()
    suicide = "select pg_terminate_backend(pg_backend_pid()), pg_sleep(5)"

    with Client(postgres.superuser()) as admin:
        admin.query("grant pg_signal_backend to app")
    client.send(query(suicide), query("select 1"), frontend.extended("select 2"))
    try:
        events = client.until_closed()
    except (TimeoutError, ClosedError):
        events = list(client.transcript)

    lost = [code for code in sqlstates(events) if code in LOST]
    assert len(lost) == 1, brief(events)
