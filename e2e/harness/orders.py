"""An application on SQLAlchemy: sessions that place orders with lines, take them from a stock, and retry nothing.

Called by the campaign of transactions that outlive their servers; hands on `Shop`.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import count, pairwise
from types import TracebackType

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship, selectinload

from harness.client import Target
from harness.wait import until

__all__ = ["Shop", "engine_of", "furnish", "wrong"]

ARTICLES = 20
STOCK = 1_000_000


class Base(DeclarativeBase):
    """Tables of the shop."""


class Article(Base):
    """What there is of something."""

    __tablename__ = "articles"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    left: Mapped[int]


class Order(Base):
    """Has lines; `token` is the client's own name for it."""

    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(sa.BigInteger, sa.Identity(always=True), primary_key=True)
    token: Mapped[int] = mapped_column(unique=True)
    total: Mapped[int] = mapped_column(default=0)
    lines: Mapped[list[Line]] = relationship(back_populates="order", order_by="Line.id")


class Line(Base):
    """Belongs to an order; its key is a serial."""

    __tablename__ = "lines"
    id: Mapped[int] = mapped_column(primary_key=True)
    amount: Mapped[int]
    order_id: Mapped[int] = mapped_column(sa.ForeignKey("orders.id"))
    order: Mapped[Order] = relationship(back_populates="lines")


@dataclass(frozen=True)
class Placed:
    """An order as its client knows it, and when it was told that it is committed (`time.monotonic`)."""

    id: int
    lines: tuple[tuple[int, int], ...]
    """Key and amount of each, in the order of the keys."""
    at: float


def engine_of(target: Target, size: int = 1) -> sa.Engine:
    """With so many connections that stay."""
    login = (target.user, target.password, target.host, target.port, target.database)
    url = sa.URL.create("postgresql+psycopg", *login, query={"sslmode": "disable"})
    return sa.create_engine(url, pool_size=size, max_overflow=0)


def furnish(target: Target) -> None:
    """Make the tables."""
    engine = engine_of(target)
    Base.metadata.create_all(engine)
    with Session(engine) as session, session.begin():
        session.add_all(Article(id=number, left=STOCK) for number in range(1, ARTICLES + 1))
    engine.dispose()


@dataclass
class Shop:
    """Clients that order until told to stop; a context manager. `errors` counts SQLSTATEs and lost connections."""

    target: Target
    clients: int = 8
    placed: dict[int, Placed] = field(default_factory=dict)
    """Acknowledged orders by their tokens."""
    errors: Counter[str] = field(default_factory=Counter)
    tokens: count[int] = field(default_factory=lambda: count(1))
    _threads: list[threading.Thread] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Shop:
        self._engine = engine_of(self.target, self.clients)
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(self.clients)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(90)
        self._engine.dispose()

    def await_more(self, orders: int, deadline: float = 60.0) -> None:
        """Wait for so many more acknowledged orders."""
        goal = len(self.placed) + orders
        until(lambda: len(self.placed) >= goal, f"{orders} more orders (errors: {self.errors})", deadline)

    def longest_pause(self, since: float, to: float) -> float:
        """The longest time, in seconds, without an acknowledgement in between."""
        times = [since, *sorted(each.at for each in list(self.placed.values()) if since < each.at < to), to]
        return max(later - earlier for earlier, later in pairwise(times))

    def _run(self) -> None:
        while not self._stop.is_set():
            token = next(self.tokens)
            try:
                order, lines = self._order(token)
            except sa.exc.DBAPIError as error:
                self.errors[getattr(error.orig, "sqlstate", None) or "connection lost"] += 1
            else:
                self.placed[token] = Placed(order, lines, time.monotonic())
            time.sleep(0.002)

    def _order(self, token: int) -> tuple[int, tuple[tuple[int, int], ...]]:
        """One order: parent and children by three flushes, and a row that others want too."""
        with Session(self._engine) as session, session.begin():
            order = Order(token=token)
            session.add(order)
            session.flush()
            order.lines.append(Line(amount=random.randrange(1, 9)))
            session.flush()
            order.lines += [Line(amount=random.randrange(1, 9)) for _ in range(random.randrange(3))]
            session.flush()
            order.total = sum(line.amount for line in order.lines)
            article = session.get_one(Article, random.randrange(1, ARTICLES + 1), with_for_update=True)
            article.left -= order.total
            return order.id, tuple(sorted((line.id, line.amount) for line in order.lines))


def wrong(shop: Shop, target: Target) -> list[str]:
    """What this server has that is not as the clients know it; empty for nothing."""
    engine = engine_of(target)
    found = []
    with Session(engine) as session:
        orders = session.scalars(sa.select(Order).options(selectinload(Order.lines))).all()
        there = {order.token: order for order in orders}
        left = session.scalar(sa.select(sa.func.sum(Article.left))) or 0
    engine.dispose()
    for token, placed in shop.placed.items():
        order = there.get(token)
        lines = () if order is None else tuple((line.id, line.amount) for line in order.lines)
        if order is None or (order.id, lines) != (placed.id, placed.lines):
            found.append(f"{token}: {placed} is {None if order is None else (order.id, lines)}")
    for order in orders:
        if order.total != sum(line.amount for line in order.lines) or not order.lines:
            found.append(f"{order.token}: its lines do not make its total")
    if unasked := there.keys() - shop.placed.keys():
        found.append(f"there and not acknowledged: {sorted(unasked)}")
    if left + sum(order.total for order in orders) != ARTICLES * STOCK:
        found.append("what was ordered and what is left is not what there was")
    return found
