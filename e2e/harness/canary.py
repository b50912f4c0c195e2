"""A client that asks for its own number in every way there is, and takes anything else for a leak.

Called by the isolation tests of the wire, where nothing disturbs it, and by the canary, which kills servers, reloads
and cancels meanwhile. Whatever arrives must be the client's own, also in front of an error.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from harness.backend import Event
from harness.client import Client, Connection, full, rows, sqlstates
from harness.frontend import (
    bind,
    cancel_request,
    close_statement,
    copy_data,
    copy_done,
    copy_fail,
    execute,
    extended,
    flush,
    parse,
    query,
    sync,
)

Rows = Sequence[Sequence[str]]

DISTURBANCES = {"57014", "57P01", "57P02", "57P03", "08006", "53300"}
"""SQLSTATEs that a client may see because something was done to it: cancelled, its server killed, the pool full."""


class ForeignValueError(AssertionError):
    """A client saw what is not its own."""


class DisturbedError(Exception):
    """Something was done to the client, who was told so. Its session may be anywhere: it has to begin anew."""


@dataclass
class Asker:
    """A client with a number. `done` counts its ways by name."""

    client: Client
    number: int
    generator: random.Random
    done: Counter[str] = field(default_factory=Counter)
    _kept: set[str] = field(default_factory=set)
    """What this session has made: statements, settings."""

    def take_turn(self, ways: Sequence[Way]) -> None:
        """Ask once, by a way drawn at random.

        Raises:
            ForeignValueError: something came that is not our own.
            DisturbedError: an error came that is told to whom something was done.
        """
        way = self.generator.choice(ways)
        way(self)
        self.client.transcript.clear()
        self.done[way.__name__] += 1

    def expect(self, events: Iterable[Event], wanted: Rows, errors: Sequence[str] = ()) -> None:
        """The rows and errors of an answer, which holds no notification of another's."""
        events = list(events)
        seen = [list(row) for row in rows(events)]
        if any(row not in [list(own) for own in wanted] for row in seen):
            raise ForeignValueError(f"client {self.number} got {full(events)}")
        for event in events:
            if event.kind == "NotificationResponse" and event.brief != f"NotificationResponse {self.channel} {self}":
                raise ForeignValueError(f"client {self.number} heard {event.brief}")
        told = sqlstates(events)
        if DISTURBANCES & set(told) - set(errors):
            raise DisturbedError(told)
        if (seen, told) != ([list(row) for row in wanted], list(errors)):
            raise ForeignValueError(f"client {self.number} got {full(events)} in place of {wanted}")

    def expect_own(self, events: Iterable[Event], times: int = 1) -> None:
        """One row with our number, or more."""
        self.expect(events, [[str(self)]] * times)

    def once(self, what: str) -> bool:
        """Whether this session does this for the first time."""
        if what in self._kept:
            return False
        self._kept.add(what)
        return True

    @property
    def channel(self) -> str:
        """The channel that only we listen to."""
        return f"canary_{self.number}"

    def __str__(self) -> str:
        return str(self.number)


Way = Callable[[Asker], None]


def simple(asker: Asker) -> None:
    asker.expect_own(asker.client.query(f"select {asker}"))


def extended_batch(asker: Asker) -> None:
    asker.expect_own(asker.client.extended("select $1::int", str(asker)))


def named_statement(asker: Asker) -> None:
    use = bind([str(asker)], name="w") + execute()
    messages = (parse("select $1::int", name="w"), use, use, close_statement("w"), sync())
    asker.expect_own(asker.client.batch(*messages), times=2)


def pipeline_with_an_error(asker: Asker) -> None:
    asker.client.send(query(f"select {asker}"), extended("select 1/0"), extended(f"select {asker}"))
    asker.expect_own(asker.client.until_ready())
    asker.expect(asker.client.until_ready(), [], ["22012"])
    asker.expect_own(asker.client.until_ready())


def multi_statement(asker: Asker) -> None:
    asker.expect_own(asker.client.query(f"begin; select {asker}; commit"))


def transaction(asker: Asker) -> None:
    asker.expect(asker.client.query("begin"), [])
    asker.expect_own(asker.client.query(f"select {asker}"))
    asker.expect(asker.client.extended("select 1/0"), [], ["22012"])
    asker.expect(asker.client.query("rollback"), [])


def flushed(asker: Asker) -> None:
    asker.client.send(parse(f"select {asker}"), bind(), execute(), flush())
    ends = ("CommandComplete", "ErrorResponse")
    asker.expect_own(asker.client.receive_until(lambda event: event.kind in ends))
    asker.expect_own(asker.client.batch(bind(), execute(), sync()))


def large(asker: Asker) -> None:
    value = str(asker) * asker.generator.randint(1, 7_000)
    asker.expect(asker.client.extended("select $1::int, $2::text", str(asker), value), [[str(asker), value]])


def kept_statement(asker: Asker) -> None:
    if asker.once("statement"):
        asker.expect(asker.client.batch(parse(f"select {asker} + $1::int", name="kept"), sync()), [])
    asker.expect_own(asker.client.batch(bind(["0"], name="kept"), execute(), sync()))


def unnamed_statement(asker: Asker) -> None:
    asker.expect(asker.client.batch(parse(f"select {asker}"), sync()), [])
    asker.expect_own(asker.client.batch(bind(), execute(), sync()))


def setting(asker: Asker) -> None:
    if asker.once("setting"):
        asker.expect(asker.client.query(f"set application_name = '{asker}'"), [])
    asker.expect_own(asker.client.query("show application_name"))


def setting_by_function(asker: Asker) -> None:
    if asker.once("function"):
        asker.expect(
            asker.client.query(f"select set_config('work_mem', '{64 + asker.number}kB', false)"),
            [[f"{64 + asker.number}kB"]],
        )
    asker.expect(asker.client.extended("show work_mem"), [[f"{64 + asker.number}kB"]])


def custom_setting(asker: Asker) -> None:
    if asker.once("custom"):
        asker.expect(asker.client.query(f"set canary.own = '{asker}'"), [])
    asker.expect_own(asker.client.query("select current_setting('canary.own', true)"))


def sql_prepare(asker: Asker) -> None:
    asker.expect(asker.client.query(f"prepare own as select {asker}"), [])
    asker.expect_own(asker.client.query("execute own"))
    asker.expect(asker.client.query("deallocate own"), [])


def temporary_table(asker: Asker) -> None:
    asker.expect(asker.client.query(f"create temp table own as select {asker} as number"), [])
    asker.expect_own(asker.client.extended("select number from own"))
    asker.expect(asker.client.query("drop table own"), [])


def cursor(asker: Asker) -> None:
    asker.expect(asker.client.query(f"begin; declare own cursor for select {asker} from generate_series(1, 9)"), [])
    asker.expect_own(asker.client.query("fetch 4 from own"), times=4)
    asker.expect(asker.client.query("commit"), [])


def listening(asker: Asker) -> None:
    asker.expect(asker.client.query(f"listen {asker.channel}"), [])
    asker.expect(asker.client.query(f"notify {asker.channel}, '{asker}'"), [])
    if not any(event.kind == "NotificationResponse" for event in asker.client.transcript):
        asker.expect([asker.client.receive()], [])
    asker.expect(asker.client.query(f"unlisten {asker.channel}"), [])


def copy_out(asker: Asker) -> None:
    events = asker.client.query(f"copy (select {asker} from generate_series(1, 3)) to stdout")
    asker.expect(events, [])
    if any(event.raw != f"{asker}\n".encode() for event in events if event.kind == "CopyData"):
        raise ForeignValueError(f"client {asker} got {full(events)}")


def copy_in_that_fails(asker: Asker) -> None:
    bad = copy_data(b"not a number\n") + copy_done()
    data, code = asker.generator.choice([(bad, "22P02"), (copy_fail("changed our mind"), "57014")])
    asker.client.send(query("copy items (id) from stdin"))
    begun = ("CopyInResponse", "ErrorResponse")
    asker.expect(asker.client.receive_until(lambda event: event.kind in begun), [])
    asker.expect(asker.client.batch(data), [], [code])


def time_out(asker: Asker) -> None:
    asker.expect(asker.client.query("begin; set local statement_timeout = 3"), [])
    asker.expect(asker.client.query("select pg_sleep(5)"), [], ["57014"])
    asker.expect(asker.client.query("rollback"), [])


SHORT_WAYS: list[Way] = [
    simple,
    extended_batch,
    named_statement,
    pipeline_with_an_error,
    multi_statement,
    flushed,
    large,
    kept_statement,
    unnamed_statement,
]
"""Ways that leave nothing in a server that a pool has to undo."""

WAYS: list[Way] = [
    *SHORT_WAYS,
    *SHORT_WAYS,
    transaction,
    setting,
    setting_by_function,
    custom_setting,
    sql_prepare,
    temporary_table,
    cursor,
    listening,
    copy_out,
    copy_in_that_fails,
    time_out,
]
"""All ways; the short ones are drawn more often."""


def break_off(client: Client, number: int, generator: random.Random) -> None:
    """Leave in the middle of something, perhaps with a cancel request that comes late."""
    pending = generator.choice(
        [
            query(f"select {number}"),
            query(f"select {number} from generate_series(1, 2000)"),
            extended(f"select {number}")[: generator.randint(1, 40)],
            parse(f"select {number}") + bind() + execute() + flush(),
            query(f"select pg_sleep(0.01), {number}") * 3,
            query(f"begin; create temp table left_behind as select {number} as number"),
            query("copy items (id) from stdin") + copy_data(b"1"),
        ]
    )
    client.send(pending)
    if generator.random() < 0.4:
        cancel(client)
    if generator.random() < 0.5:
        client.abort()


def cancel(client: Client) -> None:
    """Send a CancelRequest and do not wait for what comes of it."""
    canceller = Connection(client.target.host, client.target.port)
    canceller.send(cancel_request(client.pid, client.key))
    canceller.close()
