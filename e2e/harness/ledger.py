"""A bank ledger: clients that move money between accounts, retry nothing, and know which of their transfers were
acknowledged. Called by the failover tests and the campaign; hands on `Ledger`.
"""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from types import TracebackType

from harness.client import Client, ClosedError, LoginRefusedError, Target, full, sqlstates
from harness.wait import until

ACCOUNTS = 100
BALANCE = 1_000

SCHEMA = f"""
create table accounts (id int primary key, balance bigint not null);
insert into accounts select n, {BALANCE} from generate_series(1, {ACCOUNTS}) n;
create table transfers (id bigint primary key, amount int not null);
grant all on accounts, transfers to public;
"""
SUM = "select sum(balance) from accounts"


@dataclass
class Transfer:
    """One transaction of a client, times of `time.monotonic`."""

    id: int
    began: float
    ended: float = 0.0
    is_acknowledged: bool = False
    asked_to_commit: bool = False


@dataclass
class Ledger:
    """Clients that transfer until told to stop; a context manager. `errors` counts SQLSTATEs, connections that were
    lost without one, and answers that did not come."""

    target: Target
    clients: int = 4
    extended: bool | None = False
    """The protocol of their statements; None for either in turn, by transfer."""
    pause_seconds: float = 0.002
    transfers: list[Transfer] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    told: list[str] = field(default_factory=list)
    """For whoever looks for the cause: what each error was, of which transfer and statement."""
    _ids: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    _threads: list[threading.Thread] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Ledger:
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(self.clients)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """End the clients after what they are at."""
        self._stop.set()
        for thread in self._threads:
            thread.join(90)

    def acknowledged(self) -> list[Transfer]:
        """Those that the server said were committed."""
        return [each for each in list(self.transfers) if each.is_acknowledged]

    def await_more(self, count: int, deadline: float = 60.0) -> None:
        """Wait for so many more acknowledged transfers."""
        goal = len(self.acknowledged()) + count
        until(lambda: len(self.acknowledged()) >= goal, f"{count} more transfers (errors: {self.errors})", deadline)

    def longest_pause(self, since: float, to: float) -> float:
        """The longest time, in seconds, without an acknowledgement in between."""
        times = [since, *sorted(each.ended for each in self.acknowledged() if since < each.ended < to), to]
        return max(later - earlier for earlier, later in itertools.pairwise(times))

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                with Client(self.target, deadline=90) as client:
                    self._serve(client)
            except LoginRefusedError as error:
                self._note(f"login {error.sqlstate}", error)
                time.sleep(0.05)
            except TimeoutError as error:
                self._note("no answer", error)
            except (ClosedError, OSError) as error:
                self._note("connection lost", error)
                time.sleep(0.01)

    def _serve(self, client: Client) -> None:
        """Transfer until told to stop, or until the client is told that its connection ends."""
        try:
            while not self._stop.is_set():
                self._transfer(client)
                time.sleep(self.pause_seconds)
        except ClosedError as error:
            last_words = sqlstates(client.transcript[-1:])
            if not last_words:
                raise
            self._note(last_words[0], error)

    def _note(self, name: str, cause: object) -> None:
        self.errors[name] += 1
        self.told.append(f"{time.time():.3f} {name}: {cause}")

    def _transfer(self, client: Client) -> None:
        transfer = Transfer(next(self._ids), time.monotonic())
        self.transfers.append(transfer)
        amount = random.randrange(1, 100)
        payer, payee = sorted(random.sample(range(1, ACCOUNTS + 1), 2))
        statements = (
            "begin",
            f"select balance from accounts where id in ({payer}, {payee}) order by id for update",
            f"update accounts set balance = balance - {amount} where id = {payer} returning balance",
            f"update accounts set balance = balance + {amount} where id = {payee}",
            f"insert into transfers values ({transfer.id}, {amount}) returning id",
        )
        extended = transfer.id % 2 == 1 if self.extended is None else self.extended
        for statement in statements:
            if self._failed(client, statement, extended):
                return
        transfer.asked_to_commit = True
        if not self._failed(client, "commit", extended):
            transfer.ended = time.monotonic()
            transfer.is_acknowledged = True

    def _failed(self, client: Client, statement: str, extended: bool) -> bool:
        events = client.extended(statement) if extended else client.query(statement)
        states = sqlstates(events)
        if states:
            self._note(states[0], (statement, full(events)))
            if statement != "commit":
                client.query("rollback")
        return bool(states)


def lost(ledger: Ledger, target: Target) -> list[int]:
    """Numbers of acknowledged transfers that this server does not have; AssertionError if money was made or lost, or a
    transfer is there that nobody asked to commit."""
    with Client(target, deadline=60) as client:
        assert client.value(SUM) == str(ACCOUNTS * BALANCE)
        there = client.value("select coalesce(string_agg(id::text, ','), '') from transfers") or ""
    kept = {int(number) for number in there.split(",") if number}
    transfers = list(ledger.transfers)
    assert not kept & {each.id for each in transfers if not each.asked_to_commit}
    return [each.id for each in transfers if each.is_acknowledged and each.id not in kept]
