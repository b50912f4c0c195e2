"""Reads on standbys: how many, whether any is stale, and what the split costs; what write modes take. Prints one JSON
object.

Run with the environment of this clone. A primary with two standbys that apply everything 20 ms late, and Helios before
them with the split on; for the cost, the same with the split off and pgbench, alternating.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import asyncpg

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "e2e")]

from harness.client import Client  # noqa: E402 - the folder is put on the path above
from harness.postgres import APP, DATABASE, PASSWORDS, PostgresCluster, start_cluster, superuser_of  # noqa: E402
from harness.proxy import HeliosProcess, base_settings  # noqa: E402
from harness.wait import until  # noqa: E402
from helios.play.postgres import PostgresServer, ServerOptions, start_standby  # noqa: E402
from helios.play.process import Spawn, run  # noqa: E402
from proc import cpu_of  # noqa: E402

DELAY_MS = 20
POOL_SIZE = 20
LATE_SECONDS = 5
MAX_LAG_MS = 1000
SESSIONS = 16
WRITE = "update pairs set n = $2 where id = $1"
READ = "select n, current_setting('cluster_name') from pairs where id = $1"


@dataclass
class Pairs:
    """What came of the pairs."""

    done: int = 0
    stale: int = 0
    backwards: int = 0
    on_standby: int = 0


@contextmanager
def servers() -> Iterator[tuple[PostgresCluster, list[PostgresServer]]]:
    """A primary and two standbys that are late."""
    cluster = start_cluster(with_standby=False)
    standbys: list[PostgresServer] = []
    try:
        for number in (1, 2):
            standbys.append(start_late(cluster, f"standby-{number}", f"{DELAY_MS}ms"))
        cluster.execute("create table pairs (id int primary key, n int)")
        cluster.execute(
            f"insert into pairs select id, 0 from generate_series(1, {SESSIONS}) id; grant all on pairs to app"
        )
        yield cluster, standbys
    finally:
        for standby in standbys:
            standby.stop("immediate")
        cluster.stop()


def start_late(cluster: PostgresCluster, name: str, delay: str) -> PostgresServer:
    """A standby that applies everything so late."""
    late = {"recovery_min_apply_delay": delay, "max_connections": "150", "max_prepared_transactions": "4"}
    return start_standby(cluster.primary, name, ServerOptions(fsync=False, settings=late))


@contextmanager
def helios(
    cluster: PostgresCluster, standbys: list[PostgresServer], pool_size: int = POOL_SIZE, **routing: Any
) -> Iterator[HeliosProcess]:
    """A proxy before all of them, with pools of this size on each."""
    nodes = [*cluster.nodes(), *({"name": node.name, "host": node.host, "port": node.port} for node in standbys)]
    clusters = [{"name": "main", "nodes": nodes}]
    with tempfile.TemporaryDirectory(prefix="helios-bench-") as folder:
        settings = base_settings(
            cluster, Path(folder), clusters=clusters, routing=routing, pool={"max_size": pool_size}, workers=0
        )
        with HeliosProcess(Path(folder), settings) as process:
            yield process


async def connect(proxy: HeliosProcess) -> asyncpg.Connection[Any]:
    """A connection of the application."""
    target = proxy.target()
    made: asyncpg.Connection[Any] = await asyncpg.connect(
        host=target.host, port=target.port, user=APP, password=PASSWORDS[APP], database=DATABASE, ssl=False
    )
    return made


async def pairs(proxy: HeliosProcess, count: int, think_ms: float, reads_at: HeliosProcess | None = None) -> Pairs:
    """Each session writes a number and reads it back after at most `think_ms`; or, over another connection, at
    another proxy, to which it carries what it has seen."""
    result, each = Pairs(), count // SESSIONS

    async def session(id: int) -> None:
        connection = reader = await connect(proxy)
        if reads_at is not None:
            reader = await connect(reads_at)
        seen = 0
        for n in range(1, each + 1):
            await connection.execute(WRITE, id, n)
            token = None if reads_at is None else await connection.fetchval("show helios.lsn")
            if think_ms:
                await asyncio.sleep(random.uniform(0, think_ms) / 1000)
            if token is not None:
                await reader.execute(f"set helios.lsn = '{token}'")
            row = await reader.fetchrow(READ, id)
            assert row is not None
            found, name = row
            result.done += 1
            result.stale += found < n
            result.backwards += found < seen
            result.on_standby += name != "primary"
            seen = found
        for each_end in {connection, reader}:
            await each_end.close()

    await asyncio.gather(*(session(id) for id in range(1, SESSIONS + 1)))
    return result


def shown(result: Pairs) -> dict[str, float]:
    """As figures."""
    share = round(result.on_standby / result.done, 4)
    return {"pairs": result.done, "stale": result.stale, "backwards": result.backwards, "on_standby": share}


@dataclass
class Avoidance:
    """What came of reads beside a standby that is far behind."""

    by_node: dict[str, int]
    errors: int = 0
    too_old: int = 0
    """Older than half of that standby's delay: more than the limit of lag, and what polls and the machine add."""


async def beside_a_late_one(proxy: HeliosProcess, seconds: float) -> Avoidance:
    """Reads for so long, of what is written all the time, while one standby applies everything `LATE_SECONDS` late."""
    found = Avoidance({})
    written = [(0.0, 0)]
    """When, and what."""
    end = time.monotonic() + LATE_SECONDS + seconds

    async def write() -> None:
        connection = await connect(proxy)
        while time.monotonic() < end:
            n = written[-1][1] + 1
            await connection.execute(WRITE, 1, n)
            written.append((time.monotonic(), n))
            await asyncio.sleep(0.02)
        await connection.close()

    async def read() -> None:
        connection = await connect(proxy)
        while time.monotonic() < end:
            limit = time.monotonic() - LATE_SECONDS / 2
            wanted = max((n for at, n in written if at < limit), default=0)
            try:
                row = await connection.fetchrow(READ, 1)
            except (asyncpg.PostgresError, OSError):
                found.errors += 1
                continue
            assert row is not None
            found.by_node[row[1]] = found.by_node.get(row[1], 0) + 1
            found.too_old += row[0] < wanted
            await asyncio.sleep(0.005)
        await connection.close()

    writer = asyncio.create_task(write())
    await asyncio.sleep(LATE_SECONDS)
    await asyncio.gather(writer, *(read() for _ in range(SESSIONS)))
    return found


async def write_modes(cluster: PostgresCluster, proxy: HeliosProcess, count: int) -> dict[str, float]:
    """Median milliseconds of an UPDATE in each mode, with synchronous standbys; `hint` is semisync by a hint."""
    cluster.execute("alter system set synchronous_standby_names = '*'", "postgres")
    cluster.execute("select pg_reload_conf()", "postgres")
    connection = await connect(proxy)
    while True:
        try:
            await connection.execute("set helios.write_mode = sync")
            break
        except asyncpg.ObjectNotInPrerequisiteStateError:
            await asyncio.sleep(0.1)
    figures: dict[str, float] = {}
    for mode in ("default", "async", "semisync", "sync", "hint"):
        await connection.execute(f"set helios.write_mode = '{'default' if mode == 'hint' else mode}'")
        sql = f"/*helios:twr=semisync*/ {WRITE}" if mode == "hint" else WRITE
        took = []
        for n in range(count):
            began = time.perf_counter()
            await connection.execute(sql, 1, n)
            took.append(time.perf_counter() - began)
        figures[mode] = round(statistics.median(took) * 1000, 3)
    await connection.close()
    cluster.execute("alter system reset synchronous_standby_names", "postgres")
    cluster.execute("select pg_reload_conf()", "postgres")
    return figures


def scanned(server: PostgresServer) -> int:
    """Reads of pgbench that a server has answered, as far as its statistics know by now."""
    sql = "select coalesce(sum(idx_scan), 0) from pg_stat_user_tables where relname = 'pgbench_accounts'"
    with Client(superuser_of(server)) as client:
        return int(client.value(sql) or 0)


def pgbench(cluster: PostgresCluster, proxy: HeliosProcess, seconds: int) -> tuple[int, float]:
    """Transactions of `pgbench -S` with 64 clients, and microseconds of the proxy for each."""
    target, before = proxy.target(), cpu_of(proxy.pid)
    argv: list[str | Path] = [
        cluster.primary.binaries.tool("pgbench"),
        "-n",
        "-S",
        "-c",
        "64",
        "-T",
        str(seconds),
        "-h",
        target.host,
    ]
    environment = {"PGPASSWORD": str(target.password), "PGSSLMODE": "disable", "LC_ALL": "C"}
    done = run(
        [*argv, "-p", str(target.port), "-U", target.user, DATABASE], Spawn(env=environment), timeout=seconds + 60
    )
    assert done.returncode == 0, done.stdout
    line = next(line for line in done.stdout.splitlines() if "actually processed" in line)
    count = int(line.rpartition(":")[2].split("/")[0])
    return count, (cpu_of(proxy.pid) - before).total / count


def cost(cluster: PostgresCluster, standbys: list[PostgresServer], seconds: int, rounds: int) -> dict[str, Any]:
    """The share of `pgbench -S` that standbys answer, and CPU per query with the split on ÷ off.

    Both over as many connections in all: with more of them fewer answers come together in a wake-up, split or not.
    """
    made = run(
        [
            cluster.primary.binaries.tool("pgbench"),
            "-i",
            "-q",
            "-h",
            cluster.primary.host,
            "-p",
            str(cluster.primary.port),
            "-U",
            APP,
            DATABASE,
        ],
        Spawn(env={"PGPASSWORD": PASSWORDS[APP]}),
    )
    assert made.returncode == 0, made.stdout
    ratios, shares = [], []
    known = sum(_settled(cluster, standbys))
    """Reads that the servers will have told of, each of them, once they have told all."""
    with ExitStack() as stack:
        each = POOL_SIZE // len(standbys)
        split = stack.enter_context(helios(cluster, standbys, each, read_write_split=True))
        pure = stack.enter_context(helios(cluster, standbys, read_write_split=False))
        for proxy in (split, pure):
            known += pgbench(cluster, proxy, 2)[0]
        for _ in range(rounds):
            before = _settled(cluster, standbys, known)
            count, dear = pgbench(cluster, split, seconds)
            known += count
            after = _settled(cluster, standbys, known)
            shares.append((sum(after[1:]) - sum(before[1:])) / count)
            count, cheap = pgbench(cluster, pure, seconds)
            known += count
            ratios.append(dear / cheap)
    return {
        "on_standby": round(statistics.median(shares), 4),
        "cpu_ratio": round(statistics.median(ratios), 3),
        "cpu_ratios": [round(ratio, 3) for ratio in ratios],
    }


def _settled(cluster: PostgresCluster, standbys: list[PostgresServer], least: int = 0) -> list[int]:
    """Reads of each server, the primary first, once their statistics stand still and tell of `least` in all.

    A server tells of a session's last second only once that has been idle for ten. What is late of one server must not
    be taken for what another has not told yet, so `least` is all that has ever been asked.
    """
    known: list[int] = []

    def stands_still() -> bool:
        nonlocal known
        before, known = known, [scanned(server) for server in (cluster.primary, *standbys)]
        time.sleep(2)
        return known == before and sum(known) >= least

    until(stands_still, "the statistics of the servers", 60)
    return known


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Reads on standbys; see the docstring.")
    parser.add_argument("--pairs", type=int, default=100_000)
    parser.add_argument("--writes", type=int, default=500)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--late-seconds", type=float, default=30)
    parser.add_argument("--only-late", action="store_true", help="only the reads beside a standby that is far behind")
    parser.add_argument("--only-share", action="store_true", help="only the share and cost of pgbench -S")
    args = parser.parse_args()
    figures: dict[str, Any] = {"delay_ms": DELAY_MS, "sessions": SESSIONS}
    with servers() as (cluster, standbys):
        if args.only_share:
            figures["pgbench -S, 64 clients"] = cost(cluster, standbys, args.seconds, args.rounds)
            print(json.dumps(figures, indent=1))
            return
        late = start_late(cluster, "late", f"{LATE_SECONDS}s")
        routing: dict[str, Any] = {"read_write_split": True, "consistency": "bounded", "max_lag_ms": MAX_LAG_MS}
        try:
            with helios(cluster, [*standbys, late], **routing) as proxy:
                beside = asyncio.run(beside_a_late_one(proxy, args.late_seconds))
        finally:
            late.stop("immediate")
        figures[f"reads beside a standby {LATE_SECONDS} s behind"] = asdict(beside)
        if args.only_late:
            print(json.dumps(figures, indent=1))
            return
        with helios(cluster, standbys, read_write_split=True) as proxy:
            figures["pairs, read 0 to 100 ms after the write"] = shown(asyncio.run(pairs(proxy, args.pairs, 100)))
            figures["pairs, read at once"] = shown(asyncio.run(pairs(proxy, args.pairs // 10, 0)))
            with helios(cluster, standbys, read_write_split=True) as other:
                carried = asyncio.run(pairs(proxy, args.pairs, 100, other))
                figures["pairs, read 0 to 100 ms after the write at another proxy"] = shown(carried)
            figures["UPDATE by write mode, ms"] = asyncio.run(write_modes(cluster, proxy, args.writes))
        with helios(cluster, standbys, read_write_split=True, catch_up_after=0) as proxy:
            waiting = asyncio.run(pairs(proxy, args.pairs // 10, 0))
            figures["pairs, read at once, catch_up_after 0"] = shown(waiting)
        figures["pgbench -S, 64 clients"] = cost(cluster, standbys, args.seconds, args.rounds)
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
