"""Spans of statements: by the traceparent in a comment or by a share, in both protocols, to a real OTLP receiver."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.client import Client, rows, sqlstates
from harness.frontend import bind, execute, extended, parse, query, sync
from harness.otlp import OtlpReceiver, said
from harness.postgres import DATABASE, PostgresCluster
from harness.proxy import HeliosProcess, base_settings
from harness.wait import until

PARENT = "b7ad6b7169203331"
SECRET = "do-not-tell-4711"


def trace() -> str:
    return secrets.token_hex(16)


def comment(trace: str, flags: str = "01") -> str:
    """As sqlcommenter writes it."""
    return f"/*action='{SECRET}',traceparent='00-{trace}-{PARENT}-{flags}'*/"


@pytest.fixture(scope="module")
def receiver() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as made:
        yield made


@pytest.fixture(scope="module")
def proxy(
    postgres: PostgresCluster, receiver: OtlpReceiver, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[HeliosProcess]:
    """Pools of one, so that clients wait for each other; spans are sent soon."""
    folder = tmp_path_factory.mktemp("tracing")
    databases = [{"name": mode, "database": DATABASE, "pool": {"mode": mode}} for mode in ("session", "transaction")]
    settings = base_settings(
        postgres, folder, pool={"max_size": 1}, databases=databases, tracing={"endpoint": receiver.endpoint}
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
        made = HeliosProcess(folder, settings)
    with made:
        yield made


def named(sql: str) -> bytes:
    return parse(sql, "own") + bind(name="own", portal="p") + execute("p") + sync()


@pytest.mark.parametrize("mode", ["transaction", "session"])
@pytest.mark.parametrize("protocol", ["simple", "extended"])
def test_a_statement_that_its_caller_traces_has_a_span(
    proxy: HeliosProcess, receiver: OtlpReceiver, postgres: PostgresCluster, mode: str, protocol: str
) -> None:
    ask: Callable[[str], bytes] = query if protocol == "simple" else extended
    sql = f"select generate_series(1, 3), '{SECRET}' as a -- {SECRET}\n"
    of, failing, unwanted = trace(), trace(), trace()
    with Client(proxy.target(database=mode), deadline=30) as client:
        assert len(rows(client.batch(ask(f"{sql} {comment(of)}")))) == 3
        client.batch(ask(f"select 1 {comment(unwanted, '00')}"))
        client.batch(ask("select 'of nobody'"))
        assert sqlstates(client.batch(ask(f"select 1 / 0, '{SECRET}' {comment(failing)}"))) == ["22012"]
        (span,) = receiver.wait(of)
        (failed,) = receiver.wait(failing)

    assert (span.parent_span_id.hex(), span.name) == (PARENT, f"SELECT {DATABASE}")
    assert span.span_id.hex() != PARENT
    assert 0 < span.start_time_unix_nano <= span.end_time_unix_nano
    facts = said(span)
    assert facts.pop("helios.wait_ms") >= 0
    assert facts == {
        "db.system.name": "postgresql",
        "db.namespace": DATABASE,
        "db.operation.name": "SELECT",
        "db.query.text": "select generate_series (?, ?), ? as a",
        "db.response.returned_rows": 3,
        "server.address": "127.0.0.1",
        "server.port": postgres.primary.port,
        "helios.node": "primary",
        "helios.protocol": protocol,
    }
    assert (said(failed)["error.type"], said(failed)["db.response.status_code"]) == ("22012", "22012")
    assert failed.status.code == 2
    assert receiver.spans(unwanted) == []
    assert SECRET not in str(receiver.requests)


def test_statements_of_a_pipeline_have_a_span_each(proxy: HeliosProcess, receiver: OtlpReceiver) -> None:
    first, second, late = trace(), trace(), trace()
    with Client(proxy.target(database="transaction"), deadline=30) as client:
        client.batch(
            query(f"select 1; select 2 {comment(first)}"),
            named(f"select 3 {comment(second)}"),
            bind(name="own", portal="p") + execute("p") + sync(),
            extended(f"selec 4 {comment(late)}"),
            query("select 5"),
            ready=5,
        )

    assert said(receiver.wait(first)[0])["db.query.text"] == "select ?; select ?"
    for span in receiver.wait(second, 2):
        assert said(span)["db.query.text"] == "select ?"
    assert said(receiver.wait(late)[0])["error.type"] == "42601"


def test_time_in_the_queue_is_part_of_a_span(proxy: HeliosProcess, receiver: OtlpReceiver) -> None:
    of = trace()
    with Client(proxy.target(database="transaction")) as holder, Client(proxy.target(database="transaction")) as waiter:
        holder.query("begin")
        waiter.send(query(f"select 1 {comment(of)}"))
        until(lambda: proxy.json("/sessions")["waiting_sessions"] == 1, "the client to wait")
        holder.query("select pg_sleep(0.2)")
        holder.query("commit")
        waiter.until_ready()

    (span,) = receiver.wait(of)
    assert said(span)["helios.wait_ms"] >= 200
    assert span.end_time_unix_nano - span.start_time_unix_nano >= 200_000_000


def test_a_lost_server_ends_a_span(proxy: HeliosProcess, receiver: OtlpReceiver, postgres: PostgresCluster) -> None:
    of = trace()
    client = Client(proxy.target(database="transaction"), deadline=30)
    client.send(query(f"select pg_sleep(60) {comment(of)}"))
    running = "from pg_stat_activity where query like 'select pg_sleep(60)%' and state = 'active'"
    until(lambda: postgres.value(f"select count(*) {running}") == "1", "the statement to run")
    postgres.execute(f"select pg_terminate_backend(pid) {running}")
    client.until_closed()

    assert said(receiver.wait(of)[0])["error.type"] in ("57P01", "08006")


def test_a_share_of_the_others_by_reload_and_a_flush_at_the_end(
    proxy: HeliosProcess, receiver: OtlpReceiver, postgres: PostgresCluster, tmp_path: Path
) -> None:
    settings = base_settings(postgres, tmp_path, tracing={"endpoint": receiver.endpoint, "service_name": "share"})
    with HeliosProcess(tmp_path / "own", settings) as own:
        own.write({**settings, "workers": 1, "tracing": {**settings["tracing"], "sample_ratio": 0.25}})
        assert own.post("/config/reload")[0] == 200
        with Client(own.target()) as client:
            for number in range(8):
                client.query(f"select {number}")
                client.extended(f"select {number}")

    shared = [
        each
        for request in receiver.requests
        for each in request.resource_spans
        if any(fact.key == "service.name" and fact.value.string_value == "share" for fact in each.resource.attributes)
    ]
    spans = [span for each in shared for scope in each.scope_spans for span in scope.spans]
    assert len(spans) == 4
    assert {span.parent_span_id for span in spans} == {b""}
    assert len({span.trace_id for span in spans}) == 4


def test_a_receiver_that_is_not_there_disturbs_nobody(postgres: PostgresCluster, tmp_path: Path) -> None:
    settings = base_settings(postgres, tmp_path, tracing={"endpoint": "http://127.0.0.1:1", "sample_ratio": 1.0})
    with HeliosProcess(tmp_path / "own", settings) as own, Client(own.target()) as client:
        assert client.value("select 1") == "1"
