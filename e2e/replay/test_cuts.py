"""A transaction's connection to its server is cut at each message, towards the server and back, and inside of each that
the server sends; then the database is looked at.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator

import pytest

from harness.asks import Ask, extended, named, simple
from harness.client import Client, ClosedError, brief, rows, sqlstates
from harness.cutter import Cut, CuttingRelay
from harness.postgres import APP, PostgresCluster
from harness.proxy import HeliosProcess, base_settings
from harness.replay import await_catalog

PATIENCE = 60
ENDLESS = 1_000_000
INSIDE = (2, 6)
"""Bytes of a message's body that pass before a cut inside of it."""
LEAST = 200


SETUP = """
create table tokens (id int primary key, seen int not null default 0);
create table steady (id int primary key);
insert into steady select generate_series(1, 8);
grant all on tokens, steady to public;
"""
SCRIPT: tuple[tuple[str, list[str], str], ...] = (
    ("begin isolation level repeatable read", [], ""),
    ("set local work_mem = '5MB'", [], ""),
    ("select generate_series(1, 12)", [str(number) for number in range(1, 13)], ""),
    ("insert into tokens values ({token}) returning seen", ["0"], ""),
    ("savepoint a", [], ""),
    ("select 1/0", [], "22012"),
    ("rollback to a", [], ""),
    ("declare c cursor for select id from steady order by id for update", [], ""),
    ("fetch 4 from c", ["1", "2", "3", "4"], ""),
    ("update tokens set seen = seen + 1 where id = {token} returning seen", ["1"], ""),
    ("fetch 4 from c", ["5", "6", "7", "8"], ""),
    ("show work_mem", ["5MB"], ""),
    ("commit", [], ""),
)
"""What a client asks, the rows that it must get, and the error."""


@pytest.fixture(scope="module")
def relay(postgres: PostgresCluster) -> Iterator[CuttingRelay]:
    with CuttingRelay(postgres.primary.port, APP) as made:
        yield made


@pytest.fixture(scope="module")
def proxy(
    postgres: PostgresCluster, relay: CuttingRelay, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[HeliosProcess]:
    """One before a server whose connections are cut."""
    folder = tmp_path_factory.mktemp("cuts")
    postgres.execute(SETUP)
    sections = {"transaction_replay": {"enabled": True}, "pool": {"acquire_timeout_seconds": PATIENCE, "max_size": 4}}
    with HeliosProcess(folder, base_settings(relay, folder, **sections)) as process:
        yield process
    postgres.execute("drop table tokens, steady")


def run_once(client: Client, ask: Ask, token: int) -> str:
    """Ask everything; empty where all was answered as it must be, else the error that was not expected."""
    try:
        for sql, expected, error in SCRIPT:
            events = ask(client, sql.format(token=token))
            states = sqlstates(events)
            if states != ([error] if error else []):
                if events[-1].brief != "ReadyForQuery I":
                    client.query("rollback")
                return states[0]
            if not error:
                assert rows(events) == [[value] for value in expected], (sql, brief(events))
    except ClosedError:
        return (sqlstates(client.transcript) or ["closed"])[-1]
    return ""


@pytest.mark.parametrize("ask", [simple, extended, named])
def test_a_transaction_is_cut_everywhere(
    postgres: PostgresCluster, proxy: HeliosProcess, relay: CuttingRelay, report: list[str], ask: Ask
) -> None:
    postgres.execute("truncate tokens")
    outcomes: Counter[str] = Counter()
    places: Counter[str] = Counter()
    client = Client(proxy.target(), deadline=PATIENCE)
    looking = Client(postgres.direct(), deadline=PATIENCE)
    tokens = itertools.count(1)
    # The first one logs in, and has the catalog read; what is planned by that is planned anew.
    assert run_once(client, ask, next(tokens)) == ""
    await_catalog(proxy)
    for cut in cuts(client, relay, ask, tokens):
        where, token = str(cut), next(tokens)
        is_inside = cut.size > 0
        relay.arm(cut)
        said = run_once(client, ask, token)
        is_cut = relay.disarm()
        there = looking.value(f"select coalesce(string_agg(seen::text, ','), '') from tokens where id = {token}")
        # A row that was written twice has been counted twice.
        assert there in ("", "1"), (where, there)
        assert said in ("", "40001", "08006", "08007"), (where, said)
        if said != "08007":
            assert (there == "1") == (said == ""), (where, said, there)
        # What is put among the client's messages depends on the moment: there may be one less than were counted.
        if is_cut:
            places[f"{'to the server' if cut.to_server else 'from it'}{', inside' if is_inside else ''}"] += 1
            outcomes[f"08007, {'there' if there else 'not there'}" if said == "08007" else said or "acknowledged"] += 1
        client.transcript.clear()
        if said in ("08006", "08007", "closed"):
            client.close()
            client = Client(proxy.target(), deadline=PATIENCE)
    client.terminate()
    looking.terminate()
    if not report[-1].startswith("|"):
        report += [
            f"A transaction of {len(SCRIPT)} statements (locks, RETURNING, a savepoint with an error, a cursor)",
            "inserts a token of its own. Its connection is cut at each boundary of messages in both directions, and",
            "inside of each message from the server. Acknowledged: the token is there once; else as the SQLSTATE says.",
            "",
            "| protocol | cuts | where | outcomes |",
            "|---|---|---|---|",
        ]
    report.append(f"| {ask.__name__} | {places.total()} | {listed(places)} | {listed(outcomes)} |")
    assert places.total() >= (LEAST if ask is not simple else LEAST // 2)


def cuts(client: Client, relay: CuttingRelay, ask: Ask, tokens: Iterator[int]) -> list[Cut]:
    """At every message that the transaction has when nothing is cut, and inside of those from the server."""
    numbers = {}
    assert run_once(client, ask, next(tokens)) == ""
    for to_server in (True, False):
        counter = Cut(to_server, ENDLESS)
        relay.arm(counter)
        assert run_once(client, ask, next(tokens)) == ""
        relay.disarm()
        numbers[to_server] = ENDLESS - counter.messages
    boundaries = [Cut(to_server, number) for to_server in (True, False) for number in range(numbers[to_server])]
    return boundaries + [Cut(False, number, 5 + size) for number in range(numbers[False]) for size in INSIDE]


def listed(counts: Counter[str]) -> str:
    """Numbers with their names."""
    return ", ".join(f"{number} {name}" for name, number in sorted(counts.items()))
