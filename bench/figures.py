"""The figures of the benchmark. Called by `run`, each with the rig; hands back what `report` prints.

Every comparison alternates (Helios, PgBouncer, Helios, …) and takes the median of the ratios of neighbouring runs, so
that what else happens on the machine hits both sides.
"""

from __future__ import annotations

import bisect
import contextlib
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import copying
import idle_clients
import instructions
import proc
import syscalls
from helios.play import sql
from load import CALM, PROTOCOLS, Load, Run, Wait, drive
from outcome import Effort, Outcome, Ratio, Table
from rig import DATABASE, BenchError, Proxy, Rig, Way

__all__ = ["FIGURES", "Figure"]

POOL_SIZE = 20
TARGETS = {64: 0.95, 8: 1.0, 1: 1.0}
"""CPU per query ÷ PgBouncer's at most, by clients."""
RING_TARGET = 0.75
"""The same on io_uring, with 64 clients."""
WAIT_TARGET = 4.0
CROWD = 1_000
IDLE_CLIENTS = 1_000
MANY_CLIENTS, MANY_SERVERS = 5_000, 50
READING = "\\set aid random(1, 100000)\nselect abalance from pgbench_accounts where aid = :aid;\n"
SETTING = f"""\\if :is_set = 0
set work_mem = '7MB';
set statement_timeout = '5min';
set timezone = 'Asia/Tokyo';
\\set is_set 1
\\endif
{READING}"""
"""Each client sets them once, before its first query."""
LARGE_ROW = "select repeat('x', 1000000);\n"
COPIED = "select repeat('x', 100) from generate_series(1, 500000)"
WARM_UP_SECONDS = 3
"""Under valgrind, until all servers are logged in: SCRAM is many instructions."""
NO_ALLOCATION = 0.05
"""What is asked for now and then, by the worker's clock and its planner, counts for no query."""
SAMPLE_SECONDS = 0.05
REPLAY = "[transaction_replay]\nenabled = true\n"
REPLAY_TARGET = 1.2
TPC_B = """\\set aid random(1, 100000)
\\set bid 1
\\set tid random(1, 10)
\\set delta random(-5000, 5000)
begin;
update pgbench_accounts set abalance = abalance + :delta where aid = :aid;
select abalance from pgbench_accounts where aid = :aid;
update pgbench_tellers set tbalance = tbalance + :delta where tid = :tid;
update pgbench_branches set bbalance = bbalance + :delta where bid = :bid;
insert into pgbench_history (tid, bid, aid, delta, mtime) values (:tid, :bid, :aid, :delta, current_timestamp);
end;
"""
SHOWN_CALLS = 0.005
"""System calls that are rarer, per query, are only in the sum."""


@dataclass(frozen=True)
class Figure:
    """A figure that can be chosen by its name."""

    name: str
    measure: Callable[[Rig, Effort], Outcome]


def _pairs(
    rig: Rig, helios: Proxy, pgbouncer: Proxy, load: Load, effort: Effort, ours: Load | None = None
) -> list[tuple[Run, Run]]:
    """The calmest alternating runs, after a short one on each side that fills the pools; `ours` for the first, if that
    has another load than the second.

    As long as others disturb, up to twice as many runs are made; which ones count is decided by that alone.
    """
    ours = ours or load
    for proxy in (helios, pgbouncer):
        drive(rig, proxy, Load(load.protocol, load.clients, 1, load.threads))
    made: list[tuple[Run, Run]] = []
    while len(made) < effort.pairs or (len(made) < 2 * effort.pairs and _calm(made) < effort.pairs):
        effort.patience.wait_until_calm()
        made.append((drive(rig, helios, ours), drive(rig, pgbouncer, load)))
    return sorted(made, key=_disturbed)[: effort.pairs]


def _calm(pairs: Sequence[tuple[Run, Run]]) -> int:
    return sum(_disturbed(pair) < CALM for pair in pairs)


def _disturbed(pair: tuple[Run, Run]) -> float:
    return max(run.others for run in pair)


def _ratios(pairs: Sequence[tuple[Run, Run]]) -> list[float]:
    return [ours.cpu.total / theirs.cpu.total for ours, theirs in pairs]


def _median(runs: Sequence[Run], of: Callable[[Run], float]) -> float:
    return statistics.median(of(run) for run in runs)


def _row(name: str, runs: Sequence[Run]) -> list[str]:
    return [
        name,
        f"{_median(runs, lambda run: run.cpu.total):.2f}",
        f"{_median(runs, lambda run: run.cpu.user):.2f}",
        f"{_median(runs, lambda run: run.cpu.system):.2f}",
        f"{_median(runs, lambda run: run.tps):,.0f}",
        f"{_median(runs, lambda run: run.latency_ms):.3f}",
        f"{max(run.others for run in runs):.0%}",
    ]


def _rows(case: str, pairs: Sequence[tuple[Run, Run]]) -> list[list[str]]:
    ours, theirs = zip(*pairs, strict=True)
    return [_row(f"{case}: Helios", ours), _row(f"{case}: PgBouncer", theirs)]


_COST_HEADER = ("case", "CPU µs", "of it user", "of it system", "per second", "latency ms", "others' CPU")


def queries(protocol: str) -> Callable[[Rig, Effort], Outcome]:
    """CPU per query in one protocol, with 64 clients, 8 and 1."""

    def measure(rig: Rig, effort: Effort) -> Outcome:
        found = Outcome()
        rows: list[list[str]] = []
        for clients, target in TARGETS.items():
            with rig.helios(POOL_SIZE) as helios, rig.pgbouncer(POOL_SIZE) as pgbouncer:
                pairs = _pairs(rig, helios, pgbouncer, Load(protocol, clients, effort.seconds), effort)
            case = f"{protocol}, {clients} clients"
            found.ratios.append(Ratio(f"CPU per query, {case}", _ratios(pairs), target))
            found.ratios.append(Ratio(f"queries per second, {case}", [a.tps / b.tps for a, b in pairs]))
            rows += _rows(case, pairs)
            found.configs |= {"helios.toml": helios.config, "pgbouncer.ini": pgbouncer.config}
        found.tables.append(Table(f"Per query, {protocol}", _COST_HEADER, rows))
        return found

    return measure


def on_io_uring(rig: Rig, effort: Effort) -> Outcome:
    """CPU per query with 64 clients where connections are on io_uring, whatever the others are on."""
    found, rows = Outcome(), []
    for protocol in PROTOCOLS:
        with rig.helios(POOL_SIZE, io="io_uring") as helios, rig.pgbouncer(POOL_SIZE) as pgbouncer:
            pairs = _pairs(rig, helios, pgbouncer, Load(protocol, 64, effort.seconds), effort)
        case = f"{protocol}, 64 clients, io_uring"
        found.ratios.append(Ratio(f"CPU per query, {case}", _ratios(pairs), RING_TARGET))
        rows += _rows(case, pairs)
    found.tables.append(Table("Per query, io_uring", _COST_HEADER, rows))
    return found


def connects(rig: Rig, effort: Effort) -> Outcome:
    """CPU of connect (trust), one query and close."""
    seconds = min(effort.seconds, 3)  # each leaves a port in TIME_WAIT
    with rig.helios(POOL_SIZE) as helios, rig.pgbouncer(POOL_SIZE) as pgbouncer:
        pairs = _pairs(rig, helios, pgbouncer, Load("simple", 8, seconds, reconnect=True), effort)
    ratio = Ratio("CPU per connect + query + close, trust, 8 clients", _ratios(pairs))
    return Outcome([ratio], [Table("Connect + query + close (`pgbench -C`)", _COST_HEADER, _rows("trust", pairs))])


@dataclass
class _Peak:
    connections: int = 0
    samples: int = 0


@contextlib.contextmanager
def _counting_connections(rig: Rig) -> Iterator[_Peak]:
    """Sample pg_stat_activity of the benchmark's database from the side."""
    peak, done = _Peak(), threading.Event()
    query = "select count(*) as n from pg_stat_activity where datname = $1 and backend_type = 'client backend'"

    def sample() -> None:
        while not done.wait(SAMPLE_SECONDS):
            with contextlib.suppress(*sql.SQL_ERRORS):
                count = int(sql.fetch(rig.postgres.target(), query, DATABASE)[0]["n"])
                peak.connections = max(peak.connections, count)
                peak.samples += 1

    sampler = threading.Thread(target=sample, name="connections")
    sampler.start()
    try:
        yield peak
    finally:
        done.set()
        sampler.join()


def crowd(rig: Rig, effort: Effort) -> Outcome:
    """Many clients over few servers: no error, and never more server connections than allowed."""
    load = Load("simple", CROWD, effort.seconds, threads=2)
    peaks: dict[str, int] = {}
    runs: list[list[Run]] = []
    samples = 0
    # One proxy at a time, so that every connection to the database is its own.
    for side in (rig.helios, rig.pgbouncer):
        with side(POOL_SIZE) as proxy, _counting_connections(rig) as peak:
            runs.append([drive(rig, proxy, load) for _ in range(effort.pairs)])
        peaks[proxy.name] = peak.connections
        samples += peak.samples
        if not peak.samples:
            raise BenchError("pg_stat_activity could not be sampled during the run")
    ours, theirs = runs
    name = f"{CROWD:,} clients over {POOL_SIZE} servers"
    rows = [
        [*_row(title, runs), str(sum(run.failed for run in runs)), str(peaks[title.lower()])]
        for title, runs in (("Helios", ours), ("PgBouncer", theirs))
    ]
    ratios = [
        Ratio(f"{name}: failed queries of Helios", [float(sum(run.failed for run in ours))], 0, is_count=True),
        Ratio(f"{name}: most server connections of Helios", [float(peaks["helios"])], POOL_SIZE, is_count=True),
        Ratio(f"{name}: CPU per query", _ratios(list(zip(ours, theirs, strict=True)))),
    ]
    note = f"Peak of {samples} samples of pg_stat_activity, both sides; CPU includes {CROWD:,} logins a run."
    table = Table(name, (*_COST_HEADER, "failed", "most server connections"), rows, note)
    return Outcome(ratios, [table])


def waits(rig: Rig, effort: Effort) -> Outcome:
    """One server, two workers, 64 clients: how unequal the waits are."""
    prefix = rig.folder / "latency"
    load = Load("simple", 64, effort.seconds, log=prefix)
    with rig.helios(1, workers=2) as helios, rig.pgbouncer(1) as pgbouncer:
        pairs = _pairs(rig, helios, pgbouncer, load, effort)
    sides = {"Helios": [pair[0] for pair in pairs], "PgBouncer": [pair[1] for pair in pairs]}
    rows, ratios = [], []
    for (name, runs), target in zip(sides.items(), (WAIT_TARGET, None), strict=True):
        times = [[wait.took / 1e3 for wait in run.waits] for run in runs]
        turns = [_turns(run.waits) for run in runs]
        rows.append([name, *_spread_of(times, 2), *_spread_of(turns, 0)])
        ratios.append(Ratio(f"worst wait ÷ median wait, {name}", [_unevenness(values) for values in times], target))
        title = f"the same in queries served meanwhile, {name}"
        ratios.append(Ratio(title, [_unevenness(values) for values in turns], target))
    header = ("side", "median ms", "99.9 % ms", "worst ms", "median turns", "99.9 % turns", "worst turns")
    note = (
        "A wait is the latency of a transaction, from pgbench's log; its turns are the queries that were answered "
        "meanwhile. A moment in which the machine stands still makes a long wait but no turns. Helios has two workers."
    )
    table = Table("64 clients over one server connection", header, rows, note)
    return Outcome(ratios, [table], {"helios.toml (one server connection)": helios.config})


def _turns(waits: Sequence[Wait]) -> list[float]:
    """For each wait, how many queries were answered in it, its own among them."""
    ends = sorted(wait.ended for wait in waits)
    return [float(bisect.bisect_right(ends, wait.ended) - bisect.bisect_right(ends, wait.began)) for wait in waits]


def _unevenness(values: Sequence[float]) -> float:
    return max(values) / statistics.median(values)


def _spread_of(runs: Sequence[Sequence[float]], digits: int) -> list[str]:
    """Median, 99.9th percentile and worst, each as the median over the runs."""
    ordered = [sorted(values) for values in runs]
    columns = (
        [statistics.median(values) for values in ordered],
        [values[int((len(values) - 1) * 0.999)] for values in ordered],
        [values[-1] for values in ordered],
    )
    return [f"{statistics.median(column):.{digits}f}" for column in columns]


def scram_connects(rig: Rig, effort: Effort) -> Outcome:
    """CPU of connect (SCRAM), one query and close."""
    seconds = min(effort.seconds, 3)
    with rig.helios(POOL_SIZE, way=Way.SCRAM) as helios, rig.pgbouncer(POOL_SIZE, way=Way.SCRAM) as pgbouncer:
        pairs = _pairs(rig, helios, pgbouncer, Load("simple", 8, seconds, reconnect=True), effort)
    ratio = Ratio("CPU per connect + query + close, SCRAM, 8 clients", _ratios(pairs), 1.0)
    return Outcome([ratio], [Table("Connect with SCRAM + query + close", _COST_HEADER, _rows("SCRAM", pairs))])


def encrypted(rig: Rig, effort: Effort) -> Outcome:
    """CPU per query of clients with TLS 1.3."""
    load = Load("simple", 64, effort.seconds, sslmode="require")
    with rig.helios(POOL_SIZE, way=Way.TLS) as helios, rig.pgbouncer(POOL_SIZE, way=Way.TLS) as pgbouncer:
        pairs = _pairs(rig, helios, pgbouncer, load, effort)
    ratio = Ratio("CPU per query, TLS to clients, simple, 64 clients", _ratios(pairs), 0.95)
    return Outcome([ratio], [Table("Per query, TLS to clients", _COST_HEADER, _rows("TLS", pairs))])


def settings(rig: Rig, effort: Effort) -> Outcome:
    """64 clients that SET three equal parameters each, beside 64 that set none; both Helios."""
    script = _script(rig, "settings", SETTING)
    plain = Load("simple", 64, effort.seconds, script=_script(rig, "plain", READING))
    with rig.helios(POOL_SIZE) as one, rig.helios(POOL_SIZE) as other:
        pairs = _pairs(rig, one, other, plain, effort, Load("simple", 64, effort.seconds, script=script))
    rows = [_row(name, runs) for name, runs in zip(("with SET", "plain"), zip(*pairs, strict=True), strict=True)]
    ratio = Ratio("CPU per query, three equal parameters SET by each client ÷ plain", _ratios(pairs), 1.05)
    return Outcome([ratio], [Table("Parameters that clients set", _COST_HEADER, rows)])


def large_rows(rig: Rig, effort: Effort) -> Outcome:
    """Rows of 1 MB, in MB per second of the proxy's CPU."""
    load = Load("simple", 4, effort.seconds, script=_script(rig, "rows", LARGE_ROW))
    with rig.helios(POOL_SIZE) as helios, rig.pgbouncer(POOL_SIZE) as pgbouncer:
        pairs = _pairs(rig, helios, pgbouncer, load, effort)
    values = [theirs.cpu.total / ours.cpu.total for ours, theirs in pairs]
    ratio = Ratio("MB per CPU second, rows of 1 MB (must be ≥ 1.5)", values)
    return Outcome([ratio], [Table("Per row of 1 MB, 4 clients", _COST_HEADER, _rows("rows", pairs))])


def copies(rig: Rig, effort: Effort) -> Outcome:
    """COPY to and from a client, in MB per second of the proxy's CPU."""
    ways = {"to a client": False, "from a client": True}
    ratios, rows = [], []
    with rig.helios(POOL_SIZE) as helios, rig.pgbouncer(POOL_SIZE) as pgbouncer:
        for way, into in ways.items():
            rates: dict[str, list[float]] = {helios.name: [], pgbouncer.name: []}
            for _ in range(effort.pairs):
                effort.patience.wait_until_calm()
                for proxy in (helios, pgbouncer):
                    rates[proxy.name].append(copying.rate(proxy, COPIED, into))
            ours, theirs = rates.values()
            values = [a / b for a, b in zip(ours, theirs, strict=True)]
            ratios.append(Ratio(f"MB per CPU second, COPY {way} (must be ≥ 1.5)", values))
            rows += [[f"{way}: {name}", f"{statistics.median(found):,.0f}"] for name, found in rates.items()]
    return Outcome(ratios, [Table("COPY", ("case", "MB per CPU second"), rows)])


def _script(rig: Rig, name: str, text: str) -> Path:
    file = rig.folder / f"{name}.sql"
    file.write_text(text)
    return file


def crowd_memory(rig: Rig, effort: Effort) -> Outcome:
    """What each of thousands of idle clients over 50 servers takes; none is turned away, or the figure fails."""
    del effort
    with rig.helios(MANY_SERVERS) as proxy:
        before = proc.memory_of(proxy.pid)
        with idle_clients.connected(proxy.port, MANY_CLIENTS):
            during = proc.memory_of(proxy.pid)
    per_client = (during - before) / MANY_CLIENTS / 1024
    ratio = Ratio(f"KiB per client, {MANY_CLIENTS:,} idle ones over {MANY_SERVERS} servers", [per_client], 8, True)
    return Outcome([ratio])


def memory(rig: Rig, effort: Effort) -> Outcome:
    """Resident memory that an idle client costs, after it has run one query."""
    del effort  # nothing here takes time
    rows, per_client = [], []
    for side in (rig.helios, rig.pgbouncer):
        with side(POOL_SIZE) as proxy:
            before = proc.memory_of(proxy.pid)
            with idle_clients.connected(proxy.port, IDLE_CLIENTS):
                during = proc.memory_of(proxy.pid)
        per_client.append((during - before) / IDLE_CLIENTS)
        rows.append([proxy.name, f"{before / 2**20:.1f}", f"{during / 2**20:.1f}", f"{per_client[-1] / 1024:.1f}"])
    header = ("side", "MiB without clients", "MiB with them", "KiB per client")
    ratio = Ratio(f"memory per idle client, {IDLE_CLIENTS:,} clients", [per_client[0] / per_client[1]])
    note = "Resident memory of all processes (user space only; the kernel's socket buffers are not in it)."
    return Outcome([ratio], [Table(f"{IDLE_CLIENTS:,} idle clients", header, rows, note)])


def idle(rig: Rig, effort: Effort) -> Outcome:
    """What a proxy costs that nobody uses. Nothing of it is subtracted elsewhere."""
    rows = []
    for side in (rig.helios, rig.pgbouncer):
        with side(POOL_SIZE) as proxy:
            start, threads = proc.cpu_of(proxy.pid), proc.thread_cpu_of(proxy.pid)
            began = time.monotonic()
            time.sleep(effort.seconds)
            seconds = time.monotonic() - began
            spent = (proc.cpu_of(proxy.pid) - start).total
            after = proc.thread_cpu_of(proxy.pid)
        split = {name: (value - threads.get(name, 0)) / seconds / 1e3 for name, value in after.items()}
        by_thread = ", ".join(f"{name} {ms:.2f}" for name, ms in sorted(split.items(), key=lambda item: -item[1]))
        rows.append([proxy.name, f"{spent / seconds / 1e3:.2f}", by_thread])
    header = ("side", "CPU ms per second", "by thread")
    note = "Helios polls its node four times a second. Nothing of this is subtracted from the other figures."
    return Outcome([], [Table("Without clients", header, rows, note)])


def system_calls(rig: Rig, effort: Effort) -> Outcome:
    """System calls per query at 64 clients; slower under strace, so only the counts mean anything."""
    load = Load("simple", 64, effort.seconds)
    counted: dict[str, dict[str, float]] = {}
    for side in (rig.helios, rig.pgbouncer):
        with side(POOL_SIZE) as proxy:
            drive(rig, proxy, Load("simple", 64, 1))
            with syscalls.counting(proxy.pid, rig.folder / "strace") as counts:
                run = drive(rig, proxy, load)
            counted[proxy.name] = {name: count / run.transactions for name, count in counts.items()}
    highest = {name: max(side.get(name, 0) for side in counted.values()) for side in counted.values() for name in side}
    names = sorted((name for name in highest if highest[name] >= SHOWN_CALLS), key=lambda name: -highest[name])
    rows = [[name, *(f"{side.get(name, 0):.2f}" for side in counted.values())] for name in names]
    totals = [sum(side.values()) for side in counted.values()]
    rows.append(["all", *(f"{total:.2f}" for total in totals)])
    note = "simple, 64 clients; strace slows both sides down, so polls are more frequent without it."
    table = Table("System calls per query", ("call", *counted), rows, note)
    return Outcome([Ratio("system calls per query, simple, 64 clients", [totals[0] / totals[1]])], [table])


def user_instructions(rig: Rig, effort: Effort) -> Outcome:
    """Instructions in user space per query; the one figure that nothing else on the machine can change."""
    per_query: dict[str, dict[str, float]] = {"Helios": {}, "PgBouncer": {}}
    allocations: dict[str, dict[str, float]] = {"Helios": {}, "PgBouncer": {}}
    for name, counts in per_query.items():
        for protocol in PROTOCOLS:
            (short, few), (long, many) = (_count(rig, name, protocol, effort.seconds * times) for times in (1, 3))
            counts[protocol] = (long.instructions - short.instructions) / (many - few)
            allocations[name][protocol] = (long.allocations - short.allocations) / (many - few)
    ours, theirs = per_query.values()
    rows = [[name, *(f"{count:,.0f}" for count in counts.values())] for name, counts in per_query.items()]
    ratios = [Ratio(f"user-space instructions per query, {p}, 64 clients", [ours[p] / theirs[p]]) for p in ours]
    for protocol, count in allocations["Helios"].items():
        ratios.append(Ratio(f"allocations per query of a worker, {protocol}, 64 clients", [count], NO_ALLOCATION, True))
    note = "By valgrind, which runs one thread at a time; Helios therefore with one worker. Connects are not in it."
    asked = [[name, *(f"{count:.3f}" for count in counts.values())] for name, counts in allocations.items()]
    tables = [
        Table("Instructions in user space per query", ("side", *ours), rows, note),
        Table("Allocations per query", ("side", *ours), asked, "Calls of malloc and the like, by the busiest thread."),
    ]
    return Outcome(ratios, tables)


def _count(rig: Rig, name: str, protocol: str, seconds: int) -> tuple[instructions.Counts, int]:
    """What a fresh proxy ran for one load of 64 clients, connects included, and the queries that it answered."""
    out = rig.folder / f"callgrind-{name}-{protocol}-{seconds}"
    under = instructions.wrapper(out)
    with rig.helios(POOL_SIZE, 1, under) if name == "Helios" else rig.pgbouncer(POOL_SIZE, under) as proxy:
        drive(rig, proxy, Load(protocol, 64, WARM_UP_SECONDS))
        with instructions.counting(proxy):
            run = drive(rig, proxy, Load(protocol, 64, seconds))
    return instructions.counted(out), run.transactions


def replay(rig: Rig, effort: Effort) -> Outcome:
    """CPU of a TPC-B transaction with `[transaction_replay]` on, beside the same with it off."""
    script = rig.folder / "tpcb.sql"
    script.write_text(TPC_B)
    found = Outcome()
    rows: list[list[str]] = []
    for protocol in PROTOCOLS:
        with rig.helios(POOL_SIZE, more=REPLAY) as on, rig.helios(POOL_SIZE) as off:
            pairs = _pairs(rig, on, off, Load(protocol, 8, effort.seconds, script=script), effort)
        case = f"TPC-B, {protocol}, 8 clients"
        found.ratios.append(Ratio(f"CPU, {case}: replay on ÷ off", _ratios(pairs), REPLAY_TARGET))
        kept, plain = zip(*pairs, strict=True)
        rows += [_row(f"{case}: replay on", kept), _row(f"{case}: off", plain)]
    found.tables.append(Table("Transaction replay, per transaction", _COST_HEADER, rows))
    return found


FIGURES = (
    *(Figure(protocol, queries(protocol)) for protocol in PROTOCOLS),
    Figure("io_uring", on_io_uring),
    Figure("crowd", crowd),
    Figure("waits", waits),
    Figure("connects", connects),
    Figure("scram", scram_connects),
    Figure("tls", encrypted),
    Figure("settings", settings),
    Figure("rows", large_rows),
    Figure("copy", copies),
    Figure("memory", memory),
    Figure("memory5000", crowd_memory),
    Figure("idle", idle),
    Figure("syscalls", system_calls),
    Figure("instructions", user_instructions),
    Figure("replay", replay),
)
"""In the order they are measured and printed."""
