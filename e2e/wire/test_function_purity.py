"""Calls of functions in transaction mode: those whose code leaves nothing cost nothing, the others do as they should.

Every statement makes one transaction on the server, and so does each question and each reset of the proxy's own: the
numbers of the transactions on the only server connection tell whether there was one.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.client import Client, sqlstates
from harness.frontend import bind, execute, parse, sync
from harness.postgres import APP, MONITOR, PostgresCluster
from harness.proxy import HeliosProcess, StartProxy
from harness.wait import until

DATABASE = "purity"
INVALID_STATEMENT_NAME = "26000"
TRANSACTION = (
    "select split_part(virtualxid, '/', 2) from pg_locks where pid = pg_backend_pid() and locktype = 'virtualxid'"
)
TENANT = "select coalesce(current_setting('app.tenant', true), 'null')"

FUNCTIONS = """
create function clean(a int) returns int language plpgsql as $$
  begin perform count(*) from counted; return a + 1; end $$;
create function clean_sql(a int) returns int language sql as $$ select clean(a) $$;
create function clean_atomic(a int) returns int begin atomic select clean_sql(a); end;
create function sets() returns void language plpgsql as $$ begin set app.tenant = 'blue'; end $$;
create function sets_by_execute() returns void language plpgsql as $$ begin execute 'set app.tenant = ''blue'''; end $$;
create function locks() returns void language plpgsql as $$ begin begin perform 1 / 0;
  exception when division_by_zero then perform pg_advisory_lock(4712); end; end $$;
create function unlocks() returns bool language sql as $$ select pg_advisory_unlock(4712) $$;
"""

CLEAN = "create or replace function changing() returns text language plpgsql as $$ begin return ''; end $$"
DIRTY = (
    "create or replace function changing() returns text language plpgsql as "
    "$$ begin return set_config('work_mem', '55MB', false); end $$"
)

Run = Callable[[Client, str], None]


def simple(client: Client, sql: str) -> None:
    assert sqlstates(client.query(sql)) == [], sql


def extended(client: Client, sql: str) -> None:
    assert sqlstates(client.extended(sql)) == [], sql


def prepared(client: Client, sql: str) -> None:
    """Parsed once in the life of a client, as drivers do."""
    run = (bind(name=sql), execute(), sync())
    states = sqlstates(client.batch(*run))
    if states == [INVALID_STATEMENT_NAME]:
        client.batch(parse(sql, name=sql), sync())
        states = sqlstates(client.batch(*run))
    assert states == [], sql


RUNS = pytest.mark.parametrize("run", [simple, extended, prepared], ids=lambda run: run.__name__)


@pytest.fixture(scope="module")
def database(postgres: PostgresCluster) -> PostgresCluster:
    """A database of this file's own, with functions."""
    postgres.execute(f"create database {DATABASE} owner {APP}", "postgres")
    postgres.execute(
        f"grant all on schema public to {APP}; create table counted (); grant all on counted to {APP}", DATABASE
    )
    with Client(postgres.direct(database=DATABASE)) as owner:
        assert sqlstates(owner.query(FUNCTIONS)) == []
    return postgres


@pytest.fixture
def proxy(database: PostgresCluster, start_proxy: StartProxy) -> HeliosProcess:
    """One server connection, so that what one client leaves the other finds."""
    return start_proxy(pool={"mode": "transaction", "max_size": 1})


def cost(client: Client, run: Run, sql: str) -> int:
    """Transactions that the proxy itself made on the server because of a statement."""
    run(client, sql)
    begin = int(client.value(TRANSACTION) or 0)
    run(client, sql)
    with_statement = int(client.value(TRANSACTION) or 0)
    return with_statement - begin - 2


def catalog_metrics(proxy: HeliosProcess) -> dict[str, float]:
    """Those named heliosproxy_catalog_, without that."""
    prefix = "heliosproxy_catalog_"
    lines = [line for line in proxy.get("/metrics/prometheus")[1].splitlines() if line.startswith(prefix)]
    return {name.removeprefix(prefix): float(value) for name, _, value in (line.partition(" ") for line in lines)}


def is_free(client: Client, run: Run, sql: str) -> None:
    """Wait until a statement costs nothing beyond itself."""
    until(lambda: cost(client, run, sql) == 0, f"nothing is asked after {sql}")


@pytest.mark.checklist(61)
@RUNS
def test_clean_functions_leave_the_server_alone(proxy: HeliosProcess, run: Run) -> None:
    with Client(proxy.target(DATABASE)) as client:
        for sql in (
            "select clean(1)",
            "select clean_sql(2)",
            "select clean_atomic(3)",
            "do $$ begin perform clean(4); end $$",
        ):
            is_free(client, run, sql)
        assert cost(client, run, "select sets_by_execute()") > 0
        assert cost(client, run, "select sets_by_execute()") > 0
        assert cost(client, run, "select clean(5)") == 0


@RUNS
def test_a_setting_of_a_function_s_own_follows_its_client(proxy: HeliosProcess, run: Run) -> None:
    """By its name, which only the body tells: no catalog lists a setting with a dot."""
    with Client(proxy.target(DATABASE)) as client, Client(proxy.target(DATABASE)) as other:
        is_free(client, run, "select clean(1)")

        run(client, "select sets()")

        for _ in range(3):
            assert other.value(TENANT) == "null"
            assert client.value(TENANT) == "blue"


@pytest.mark.checklist(62)
@RUNS
def test_a_function_that_locks_pins(proxy: HeliosProcess, run: Run) -> None:
    with Client(proxy.target(DATABASE)) as client:
        is_free(client, run, "select clean(1)")

        run(client, "select locks()")
        until(lambda: proxy.json("/sessions")["pinned_sessions"] == {"advisory_lock": 1}, "pinned")
        run(client, "select unlocks()")
        until(lambda: proxy.json("/sessions")["pinned_sessions"] == {}, "no longer pinned")


@RUNS
def test_a_statement_made_at_run_time_is_undone(proxy: HeliosProcess, run: Run) -> None:
    with Client(proxy.target(DATABASE)) as client, Client(proxy.target(DATABASE)) as other:
        is_free(client, run, "select clean(1)")

        run(client, "select sets_by_execute()")

        assert other.value(TENANT) in ("null", ""), "'' is what RESET leaves of a setting that nobody has defined"


@RUNS
@pytest.mark.parametrize("block", [False, True], ids=["alone", "in a block"])
def test_a_function_replaced_through_the_proxy_is_another_one_at_once(
    proxy: HeliosProcess, run: Run, block: bool
) -> None:
    with Client(proxy.target(DATABASE)) as client, Client(proxy.target(DATABASE)) as other:
        usual = other.value("show work_mem")
        simple(other, CLEAN)
        is_free(client, run, "select changing()")
        for _ in range(3):
            for sql in ("begin", DIRTY, "commit") if block else (DIRTY,):
                run(other, sql) if run is not prepared else simple(other, sql)
            run(client, "select changing()")

            assert other.value("show work_mem") == usual
            assert client.value("show work_mem") == "55MB"
            simple(client, "reset work_mem")
            simple(other, CLEAN)
        is_free(client, run, "select changing()")


@RUNS
def test_a_function_replaced_past_the_proxy_is_noticed(
    database: PostgresCluster, start_proxy: StartProxy, run: Run
) -> None:
    proxy = start_proxy(pool={"mode": "transaction", "max_size": 1}, planner={"catalog_interval_seconds": 1})
    with (
        Client(proxy.target(DATABASE)) as client,
        Client(proxy.target(DATABASE)) as other,
        Client(database.direct(database=DATABASE)) as owner,
    ):
        usual = owner.value("show work_mem")
        simple(owner, CLEAN)
        is_free(client, run, "select changing()")
        simple(owner, DIRTY)

        def follows() -> bool:
            run(client, "select changing()")
            return (client.value("show work_mem"), other.value("show work_mem")) == ("55MB", usual)

        until(follows, "the setting of the new body follows its client")
        assert all(follows() for _ in range(3))


@RUNS
def test_functions_of_an_extension_leave_the_server_alone(
    proxy: HeliosProcess, database: PostgresCluster, run: Run
) -> None:
    if database.value("select count(*) from pg_available_extensions where name = 'vector'") == "0":
        pytest.skip("this PostgreSQL has no pgvector")
    database.execute("create extension if not exists vector", DATABASE)
    with Client(proxy.target(DATABASE)) as client:
        for sql in ("select cosine_distance('[1,2]'::vector, '[2,1]')", "select vector_avg(array[1,2]::float8[])"):
            is_free(client, run, sql)


def test_a_new_function_is_found(proxy: HeliosProcess, database: PostgresCluster) -> None:
    with Client(proxy.target(DATABASE)) as client, Client(database.direct(database=DATABASE)) as owner:
        is_free(client, simple, "select clean(1)")
        simple(owner, "drop function if exists added; create function added() returns int return 1")

        is_free(client, simple, "select added()")


def test_a_catalog_that_cannot_be_read_costs_and_harms_nobody(proxy: HeliosProcess, postgres: PostgresCluster) -> None:
    postgres.execute("create database closed", "postgres")
    postgres.execute(
        f"revoke connect on database closed from public; grant connect on database closed to {APP}", "postgres"
    )
    postgres.execute(f"grant all on schema public to {APP}; create function clean() returns int return 1", "closed")
    with Client(proxy.target("closed")) as client:
        assert cost(client, simple, "select clean()") > 0
        until(lambda: catalog_metrics(proxy)["failures_total"] > 0, "the failure is counted")
        assert cost(client, simple, "select clean()") > 0

        postgres.execute(f"grant connect on database closed to {MONITOR}", "postgres")
        simple(client, "create or replace function pg_temp.wakes() returns int return 1")
        simple(client, "drop function pg_temp.wakes()")
        is_free(client, simple, "select clean()")


def test_what_is_known_is_in_the_metrics(proxy: HeliosProcess) -> None:
    with Client(proxy.target(DATABASE)) as client:
        is_free(client, simple, "select clean(1)")

    found = catalog_metrics(proxy)
    assert (found["databases"], found["failures_total"]) == (1, 0)
    assert found["reads_total"] >= 1
    assert 0 <= found["age_seconds"] < 60
