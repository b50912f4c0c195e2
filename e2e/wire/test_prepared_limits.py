"""Bounds of prepared statements: what a server keeps and what a client may hold, in number and in bytes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.client import Client, brief, rows, sqlstates
from harness.frontend import bind, close_statement, execute, parse, sync
from harness.postgres import PostgresCluster
from harness.proxy import HeliosProcess, base_settings
from harness.workload import in_parallel

CLIENTS = 20


def run(name: str, *values: str) -> bytes:
    """Bind, Execute and Sync of a statement prepared before."""
    return bind(values, name=name) + execute() + sync()


@pytest.fixture(scope="module")
def tiny_proxy(postgres: PostgresCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HeliosProcess]:
    """A proxy whose servers keep only some 2 KB of prepared statements, and whose clients may have 50."""
    folder = tmp_path_factory.mktemp("tiny-proxy")
    limits = {"server_prepared_bytes": 2048, "max_prepared_statements": 50, "max_prepared_bytes": 8192}
    with HeliosProcess(Path(folder), base_settings(postgres, Path(folder), limits=limits)) as process:
        yield process


@pytest.mark.checklist(28)
def test_eviction_with_twenty_clients_on_two_servers(tiny_proxy: HeliosProcess) -> None:
    def use_statements(number: int) -> None:
        with Client(tiny_proxy.target()) as client:
            for kept in range(6):
                padding = "x" * 120
                sql = f"select {number}, {kept}, $1::int, length('{padding}')"
                assert brief(client.batch(parse(sql, name=f"k{kept}"), sync()))[0] == "ParseComplete"
            for turn in range(15):
                kept = (turn * 5 + number) % 6
                events = client.batch(run(f"k{kept}", str(turn)))
                assert rows(events) == [[str(number), str(kept), str(turn), "120"]], brief(events)
                everything = b"".join(bind([str(turn)], name=f"k{n}") + execute() for n in range(6))
                assert len(rows(client.batch(everything, sync()))) == 6

    in_parallel(CLIENTS, use_statements)

    with Client(tiny_proxy.target()) as client:
        held = int(client.value("select coalesce(sum(length(statement)), 0) from pg_prepared_statements") or 0)
    assert held < 8192


def test_too_many_statements_are_refused_without_a_disconnect(tiny_proxy: HeliosProcess) -> None:
    with Client(tiny_proxy.target()) as client:
        codes = [sqlstates(client.batch(parse("select 1", name=f"n{number}"), sync())) for number in range(60)]

        assert codes[:50] == [[]] * 50
        assert codes[50] in (["54000"], ["53200"], ["53400"]), codes[50]
        assert client.value("select 1") == "1"
        client.batch(close_statement("n0"), sync())
        assert sqlstates(client.batch(parse("select 1", name="fresh"), sync())) == []


def test_too_much_statement_text_is_refused_without_a_disconnect(tiny_proxy: HeliosProcess) -> None:
    with Client(tiny_proxy.target()) as client:
        text = "select '" + "t" * 3000 + "'"
        codes = [sqlstates(client.batch(parse(text, name=f"t{number}"), sync())) for number in range(4)]

        assert [] in codes
        assert codes[-1] != []
        assert client.value("select 1") == "1"


def test_sql_prepare_counts_as_a_prepared_statement(tiny_proxy: HeliosProcess) -> None:
    with Client(tiny_proxy.target()) as client:
        for number in range(50):
            client.query(f"prepare s{number} as select {number}")
        for way in (client.query, client.extended):
            assert sqlstates(way("prepare more as select 1")) == ["53400"]
        assert sqlstates(client.query("begin; select 1/0")) == ["22012"]
        assert sqlstates(client.query("prepare more as select 1")) == ["25P02"]
        client.query("rollback")
        client.query("deallocate s7; prepare more as select 'fits'")
        assert rows(client.query("execute more")) == [["fits"]]
        assert rows(client.query("execute s8")) == [["8"]]
