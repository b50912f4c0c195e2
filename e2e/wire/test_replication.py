"""Replication connections: a server connection of the client's own, whose commands and streams pass as they are."""

from __future__ import annotations

import copy
import signal
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness import frontend
from harness.client import Client, Connection, LoginRefusedError, Target, brief, sqlstates
from harness.frontend import copy_data, copy_done, extended, function_call, query
from harness.postgres import APP, DATABASE, PASSWORDS, PostgresCluster, superuser_of
from harness.programs import Programs
from harness.proxy import HeliosProcess, Settings, base_settings, write_users_file
from harness.wait import until
from helios.play.postgres import ServerOptions, start_standby

STREAMER = "streamer"
MEBIBYTE = 1 << 20
MICROSECONDS_TO_2000 = 946_684_800_000_000


@pytest.fixture(scope="module")
def streamer(postgres: PostgresCluster) -> Iterator[str]:
    """A role that may replicate, and its password."""
    secret = "streamer secret"
    postgres.execute(f"create role {STREAMER} login replication password '{secret}'")
    yield secret
    postgres.execute(f"drop role {STREAMER}")


@pytest.fixture(scope="module")
def settings(
    postgres: PostgresCluster, streamer: str, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Settings]:
    """Settings with users who may replicate."""
    folder = tmp_path_factory.mktemp("replication")
    users = {APP: PASSWORDS[APP], STREAMER: streamer, postgres.primary.superuser: postgres.primary.password}
    file = write_users_file(folder / "who-may-replicate.txt", users)
    few = {"name": "few", "database": DATABASE, "pool": {"mode": "statement", "max_size": 1}}

    def made(**sections: object) -> Settings:
        auth = {"users_file": str(file)}
        pool = {"max_size": 6, "min_idle": 1}
        return base_settings(
            postgres, folder, **{"auth": auth, "pool": pool, "databases": [few, {"name": "*"}], **sections}
        )

    return made


@pytest.fixture(scope="module")
def proxy(settings: Callable[..., Settings], tmp_path_factory: pytest.TempPathFactory) -> Iterator[HeliosProcess]:
    with HeliosProcess(tmp_path_factory.mktemp("replication-proxy"), settings()) as process:
        yield process


def direct(postgres: PostgresCluster, secret: str, **options: str) -> Target:
    """The role at the server itself."""
    server = postgres.primary
    return Target(server.host, server.port, STREAMER, secret, DATABASE).with_options(**options)


def through(proxy: HeliosProcess, secret: str, database: str = DATABASE, **options: str) -> Target:
    """The role at Helios."""
    return proxy.target(database, STREAMER, secret).with_options(**options)


def walsenders(postgres: PostgresCluster, name: str) -> int:
    """Server processes that replicate for clients of this application name."""
    sql = f"select count(*) from pg_stat_activity where backend_type = 'walsender' and application_name = '{name}'"
    return int(postgres.value(sql) or 0)


def status_update(lsn: int, reply: bool = False) -> bytes:
    """A standby's status update."""
    clock = time.time_ns() // 1000 - MICROSECONDS_TO_2000
    return copy_data(b"r" + struct.pack("!QQQqB", lsn, lsn, lsn, clock, reply))


def lsn_of(text: str) -> int:
    high, low = text.split("/")
    return int(high, 16) << 32 | int(low, 16)


def begin_stream(client: Client) -> int:
    """Start physical replication where the server is now; that position."""
    position = client.query("IDENTIFY_SYSTEM")[1].values[2]
    assert position is not None
    client.send(query(b"START_REPLICATION PHYSICAL " + position))
    client.receive_until(lambda event: event.kind in ("CopyBothResponse", "ErrorResponse"))
    assert client.transcript[-1].kind == "CopyBothResponse", client.texts()
    return lsn_of(position.decode())


def commands(client: Client) -> list[str]:
    """What a client is told that runs commands of either grammar, good and bad, by either protocol."""
    texts = [event.text for event in client.query("SHOW wal_level")]
    system, timeline = client.query("IDENTIFY_SYSTEM")[1].values[:2]
    texts += [repr(system), repr(timeline)]
    for sql in (
        "TIMELINE_HISTORY 77",
        "CREATE_REPLICATION_SLOT nonsense",
        "select 'sql'",
        "",
        "DROP_REPLICATION_SLOT no",
    ):
        texts += [event.text for event in client.query(sql)]
    texts += [event.text for event in client.batch(extended("select 'extended'"))]
    texts += [event.text for event in client.batch(function_call(1598, []))]
    return texts + [event.text for event in client.query("IDENTIFY_SYSTEM; select 1")]


@pytest.mark.checklist(10)
@pytest.mark.parametrize("value", ["true", "on", "1", "database"])
def test_commands_are_answered_as_by_the_server(
    proxy: HeliosProcess, postgres: PostgresCluster, streamer: str, value: str
) -> None:
    with Client(direct(postgres, streamer, replication=value)) as client:
        expected = commands(client)
    with Client(through(proxy, streamer, replication=value)) as client:
        assert commands(client) == expected


def test_no_is_an_ordinary_session(proxy: HeliosProcess, streamer: str) -> None:
    with Client(through(proxy, streamer, replication="off")) as client:
        assert (
            client.value("select backend_type from pg_stat_activity where pid = pg_backend_pid()") == "client backend"
        )


@pytest.mark.checklist(10)
def test_the_server_connection_is_the_clients_own(
    proxy: HeliosProcess, postgres: PostgresCluster, streamer: str
) -> None:
    """In a pool of statement mode too; it has the settings of the startup packet, and ends with the client."""
    own = {"application_name": "own", "options": "-c work_mem=7MB", "replication": "database"}
    with Client(through(proxy, streamer, "few", **own)) as client:
        assert client.parameters["application_name"] == "own"
        assert client.value("show work_mem") == "7MB"
        client.query("begin")
        pid = client.value("select pg_backend_pid()")
        with Client(through(proxy, streamer, "few")) as pooled:
            assert pooled.value("select pg_backend_pid()") != pid
        with pytest.raises(LoginRefusedError) as refused:
            Client(through(proxy, streamer, "few", **own))
        client.query("commit")
        assert client.value("select pg_backend_pid()") == pid
        assert walsenders(postgres, "own") == 1
        own_pools = [pool for pool in proxy.json("/pools") if pool["user"] == STREAMER and pool["mode"] == "session"]
        [row] = [pool for pool in own_pools if pool["active_connections"]]

    assert refused.value.sqlstate == "53300"
    assert "replication" in refused.value.event.fields["M"]
    assert "pool.max_size" in refused.value.event.fields["H"]
    assert (row["active_connections"], row["idle_connections"]) == (1, 0)
    until(lambda: walsenders(postgres, "own") == 0, "the walsender to end")
    with Client(through(proxy, streamer, "few", **own)) as client:
        assert client.value("select pg_backend_pid()") != pid


def test_refusals_are_the_servers(proxy: HeliosProcess, postgres: PostgresCluster) -> None:
    """A role that may not replicate, and a database that is not there."""
    for options, database in (({"replication": "true"}, DATABASE), ({"replication": "database"}, "nowhere")):
        told = []
        for target in (postgres.direct(APP, database), proxy.target(database)):
            with pytest.raises(LoginRefusedError) as refused:
                Client(target.with_options(**options))
            told.append([refused.value.sqlstate, refused.value.event.fields["M"]])
        assert told[0] == told[1]


@pytest.mark.checklist(35)
def test_stream_both_ways(proxy: HeliosProcess, postgres: PostgresCluster, streamer: str) -> None:
    for target in (direct(postgres, streamer), through(proxy, streamer, "any name")):
        with Client(target.with_options(replication="on", application_name="both ways")) as client:
            start = begin_stream(client)
            client.send(status_update(start, reply=True))
            client.receive_until(lambda event: event.kind == "CopyData" and event.raw[:1] == b"k")
            postgres.execute("select pg_logical_emit_message(false, 'test', repeat('w', 300000))")
            size = 0
            while size < 300_000:
                event = client.receive()
                size += len(event.raw) if event.raw[:1] == b"w" else 0
            client.send(status_update(start + size), copy_done())
            events = client.until_ready()

            ended = [event.kind for event in events if event.kind != "CopyData"]
            assert ended == ["CopyDone", "CommandComplete", "CommandComplete", "ReadyForQuery"], brief(events)
            assert client.query("IDENTIFY_SYSTEM")[1].kind == "DataRow"
            begin_stream(client)  # and again, to be left in the middle
    until(lambda: walsenders(postgres, "both ways") == 0, "the walsenders to end")


@pytest.mark.checklist(35)
def test_cancel_ends_the_stream_and_not_the_connection(
    proxy: HeliosProcess, postgres: PostgresCluster, streamer: str
) -> None:
    for target in (direct(postgres, streamer), through(proxy, streamer)):
        with Client(target.with_options(replication="true")) as client:
            begin_stream(client)
            connection = Connection(target.host, target.port)
            connection.send(frontend.cancel_request(client.pid, client.key))
            assert connection.until_closed() == []
            events = client.until_ready()

            assert sqlstates(events) == ["57014"]
            client.send(status_update(1), copy_done())  # late, and dropped
            assert client.query("IDENTIFY_SYSTEM")[-1].brief == "ReadyForQuery I"


@pytest.mark.checklist(45)
def test_killed_walsender_gives_one_error(proxy: HeliosProcess, postgres: PostgresCluster, streamer: str) -> None:
    with Client(through(proxy, streamer, replication="true", application_name="killed")) as client:
        begin_stream(client)
        postgres.execute("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'killed'")
        assert sqlstates(client.until_closed()) == ["57P01"]


@pytest.mark.checklist(63)
def test_shutdown_ends_streams_at_once(
    settings: Callable[..., Settings], postgres: PostgresCluster, streamer: str, tmp_path: Path
) -> None:
    """Between two messages, whatever is flowing; a stream has no end that could be waited for."""
    with HeliosProcess(tmp_path, settings(drain={"timeout_seconds": 60})) as proxy:
        idle, busy = (Client(through(proxy, streamer, replication="true"), deadline=20) for _ in range(2))
        begin_stream(idle)
        begin_stream(busy)
        stop = threading.Event()

        def write() -> None:
            with Client(postgres.superuser(), deadline=20) as writer:
                while not stop.is_set():
                    writer.query("select pg_logical_emit_message(false, 'test', repeat('w', 1000000))")

        writer = threading.Thread(target=write)
        writer.start()
        busy.receive_until(lambda event: event.raw[:1] == b"w")

        start = time.monotonic()
        proxy.signal(signal.SIGTERM)
        told = [sqlstates(client.until_closed()) for client in (busy, idle)]
        stop.set()
        writer.join()

        assert told == [["57P01"], ["57P01"]]
        assert proxy.wait() == 0
        assert time.monotonic() - start < 15


@pytest.mark.checklist(34)
def test_slow_standby_holds_the_server_back(proxy: HeliosProcess, postgres: PostgresCluster, streamer: str) -> None:
    """A backup whose reader stops: nothing is gathered in between, and it ends with its reader."""
    with Client(through(proxy, streamer, replication="true", application_name="slow")) as client:
        before = proxy.resident_bytes()
        client.send(query("BASE_BACKUP ( CHECKPOINT 'fast', WAL false )"))
        client.receive_until(lambda event: event.kind == "CopyOutResponse")
        stuck = "select wait_event from pg_stat_activity where application_name = 'slow'"
        until(lambda: postgres.value(stuck) == "ClientWrite", "the server to wait for its reader")
        assert proxy.resident_bytes() - before < 8 * MEBIBYTE
    until(lambda: walsenders(postgres, "slow") == 0, "the walsender to end")


def test_hba_records_for_replication(settings: Callable[..., Settings], streamer: str, tmp_path: Path) -> None:
    """A physical connection fits only a record that names `replication`, a logical one its database."""
    hba = tmp_path / "pg_hba.conf"
    hba.write_text(f"host all {STREAMER} all scram-sha-256\nhost replication {APP} all trust\n")
    auth = {**settings()["auth"], "method": None, "hba_file": str(hba)}
    with HeliosProcess(tmp_path / "proxy", settings(auth=auth)) as proxy:
        with Client(through(proxy, streamer, replication="database")) as client:
            assert client.query("IDENTIFY_SYSTEM")[-1].brief == "ReadyForQuery I"
        with pytest.raises(LoginRefusedError) as refused:
            Client(through(proxy, streamer, replication="true"))
        with pytest.raises(LoginRefusedError) as past_hba:
            Client(proxy.target().with_options(replication="true"))

    assert refused.value.sqlstate == "28000"
    assert refused.value.event.fields["M"].startswith("no pg_hba.conf entry for replication connection from host")
    assert past_hba.value.sqlstate == "42501"


@pytest.mark.checklist(10, 35)
def test_standby_is_made_and_follows_and_then_subscribes(proxy: HeliosProcess, postgres: PostgresCluster) -> None:
    """pg_basebackup -X stream, primary_conninfo and the conninfo of CREATE SUBSCRIPTION, all through Helios."""
    options = ServerOptions(fsync=False, settings={"max_connections": "150", "max_prepared_transactions": "4"})
    primary = copy.copy(postgres.primary)
    primary.port = proxy.port
    standby = start_standby(primary, "behind-helios", options)
    try:
        own = superuser_of(standby)

        def there(sql: str) -> str | None:
            with Client(own) as client:
                return client.value(sql)

        assert there("select pg_is_in_recovery()") == "t"
        assert f"port={proxy.port}" in (there("select conninfo from pg_stat_wal_receiver") or "")
        postgres.execute(
            "create table followed (id int primary key, body text); insert into followed values (1, 'one')"
        )
        until(lambda: there("select to_regclass('followed') is not null") == "t", "the standby to have the table")
        until(lambda: there("select body from followed") == "one", "the standby to have the row")
        assert walsenders(postgres, "behind-helios") == 1

        standby.promote()
        with Client(own) as client:
            client.query("truncate followed")
            postgres.execute("create publication everything for table followed")
            login = f"user={standby.superuser} password=''{standby.password}'' dbname={DATABASE} sslmode=disable"
            conninfo = f"host=127.0.0.1 port={proxy.port} {login}"
            made = client.query(f"create subscription following connection '{conninfo}' publication everything")
            assert sqlstates(made) == []
        until(lambda: there("select string_agg(body, ',') from followed") == "one", "the copy", deadline=20)
        postgres.execute(
            "insert into followed values (2, repeat('x', 3000000)); update followed set body = 'uno' where id = 1"
        )
        until(
            lambda: there("select string_agg(left(body, 3), ',' order by id) from followed") == "uno,xxx", "the changes"
        )
        with Client(own) as client:
            assert sqlstates(client.query("drop subscription following")) == []
    finally:
        standby.stop("immediate")
        until(lambda: walsenders(postgres, "behind-helios") == 0, "the walsender to end")
        postgres.execute("drop publication if exists everything; drop table if exists followed")
        postgres.execute("select pg_drop_replication_slot('behind_helios')")


@pytest.mark.checklist(10, 35)
def test_programs_receive_what_the_server_wrote(
    proxy: HeliosProcess, postgres: PostgresCluster, streamer: str, tmp_path: Path
) -> None:
    """pg_receivewal and pg_recvlogical."""
    programs = Programs(postgres)
    target = through(proxy, streamer)
    logical, physical = ("-d", DATABASE, "--slot", "recv"), ("--slot", "recv_wal")
    postgres.execute("create publication noted for table notes")
    programs.run(target, "pg_recvlogical", *logical, "--create-slot", "--plugin", "pgoutput")
    postgres.execute("select pg_create_physical_replication_slot('recv_wal', true)")
    postgres.execute("insert into notes select n, repeat('r', 500) from generate_series(1000, 1999) n")
    postgres.execute("delete from notes where id >= 1000")
    postgres.execute("select pg_switch_wal()")
    postgres.execute("select pg_logical_emit_message(true, 'test', 'in the next segment')")
    end = postgres.value("select pg_current_wal_lsn()") or ""
    postgres.execute("select pg_logical_emit_message(true, 'test', 'behind the end')")
    try:
        programs.run(target, "pg_receivewal", *physical, "--no-loop", "--endpos", end, "--directory", tmp_path)
        whole = {file.name: file.read_bytes() for file in tmp_path.iterdir() if file.suffix != ".partial"}
        assert any(b"r" * 500 in content for content in whole.values())
        for name, content in whole.items():
            assert content == (postgres.primary.data / "pg_wal" / name).read_bytes()

        options = ("--option", "proto_version=1", "--option", "publication_names=noted")
        decoded = tmp_path / "decoded"
        programs.run(
            target, "pg_recvlogical", *logical, "--start", *options, "--no-loop", "--endpos", end, "-f", decoded
        )
        assert decoded.read_bytes().count(b"r" * 500) == 1000
    finally:
        programs.run(target, "pg_recvlogical", *logical, "--drop-slot")
        programs.run(target, "pg_receivewal", *physical, "--drop-slot")
        postgres.execute("drop publication noted")
