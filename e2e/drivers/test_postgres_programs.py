"""PostgreSQL's own programs through transaction mode: pgbench, psql with \\copy, parallel pg_dump and pg_restore."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.client import Target
from harness.drivers import DATABASE, FRESH, read_pins
from harness.postgres import APP, PostgresCluster
from harness.programs import Programs
from harness.proxy import HeliosProcess, StartProxy

CLIENTS, EACH = 8, 25
"""pgbench's clients and the transactions of each. Each has a thread: to prepare, pgbench blocks one, and with it others
that hold servers in open transactions."""

DUMP_JOBS = 2
DUMP_SERVERS = 4
"""A dump of two jobs holds three transactions open at once, a restore two."""

PSQL_SCRIPT = Path(__file__).with_name("session.psql")


@pytest.fixture(scope="session")
def programs(postgres: PostgresCluster) -> Programs:
    """The programs, of the server's version."""
    return Programs(postgres)


@pytest.fixture(scope="module")
def bench(programs: Programs, drivers_proxy: HeliosProcess) -> Iterator[Target]:
    """A login with pgbench's tables, which it makes through Helios."""
    target = drivers_proxy.target(DATABASE)
    programs.run(target, "pgbench", "--initialize", "--quiet")
    yield target
    programs.run(target, "pgbench", "--initialize", "--init-steps=d")


@pytest.mark.parametrize("mode", ["simple", "extended", "prepared"])
@pytest.mark.parametrize("script", ["tpcb-like", "simple-update", "select-only"])
def test_pgbench_keeps_its_books(
    programs: Programs, bench: Target, drivers_proxy: HeliosProcess, postgres: PostgresCluster, script: str, mode: str
) -> None:
    postgres.execute("truncate pgbench_history; update pgbench_accounts set abalance = 0 where abalance <> 0", DATABASE)
    postgres.execute("update pgbench_branches set bbalance = 0; update pgbench_tellers set tbalance = 0", DATABASE)
    before = read_pins(drivers_proxy)

    load = (
        f"--client={CLIENTS}",
        f"--jobs={CLIENTS}",
        f"--transactions={EACH}",
        f"--protocol={mode}",
        f"--builtin={script}",
    )
    output = programs.run(bench, "pgbench", "--no-vacuum", *load)

    done = 0 if script == "select-only" else CLIENTS * EACH
    assert f"number of transactions actually processed: {CLIENTS * EACH}/{CLIENTS * EACH}" in output
    assert "number of failed transactions: 0 " in output
    assert postgres.value("select count(*) from pgbench_history", DATABASE) == str(done)
    sums = "(select sum(delta) from pgbench_history), (select sum(abalance) from pgbench_accounts)"
    if script == "tpcb-like":
        sums += ", (select sum(bbalance) from pgbench_branches), (select sum(tbalance) from pgbench_tellers)"
    different = f"select count(distinct coalesce(each, 0)) from unnest(array[{sums}]) each"
    assert postgres.value(different, DATABASE) == "1"
    assert read_pins(drivers_proxy).by_reason == before.by_reason


def test_psql_sees_the_same(programs: Programs, drivers_proxy: HeliosProcess, postgres: PostgresCluster) -> None:
    script = ("--no-psqlrc", "--echo-all", f"--file={PSQL_SCRIPT}")

    postgres.execute(FRESH, DATABASE)
    direct = programs.run(postgres.direct(database=DATABASE), "psql", *script)
    helios = programs.run(drivers_proxy.target(DATABASE), "psql", *script)

    assert "COPY 1000" in direct
    assert helios == direct


def test_dump_of_several_jobs_is_restored(
    programs: Programs, start_proxy: StartProxy, postgres: PostgresCluster, tmp_path: Path
) -> None:
    proxy = start_proxy(pool={"max_size": DUMP_SERVERS})
    for database in ("dumped", "restored"):
        postgres.execute(f"create database {database} owner {APP}", "postgres")
    programs.run(postgres.direct(database="dumped"), "pgbench", "--initialize", "--quiet", "--foreign-keys")
    jobs, folder = f"--jobs={DUMP_JOBS}", tmp_path / "dump"

    programs.run(proxy.target("dumped"), "pg_dump", "--format=directory", jobs, f"--file={folder}")
    programs.run(proxy.target("restored"), "pg_restore", "--no-owner", jobs, "--dbname=restored", folder)

    expected = programs.dump(postgres.direct(database="dumped"))
    assert programs.dump(postgres.direct(database="restored")) == expected
    assert programs.dump(proxy.target("dumped")) == expected
    proxy.stop()
    for database in ("dumped", "restored"):
        postgres.execute(f"drop database {database}", "postgres")
