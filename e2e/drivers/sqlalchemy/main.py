"""What SQLAlchemy 2 sees on psycopg and on asyncpg: `python -m drivers.sqlalchemy.main DSN`.

Pools with pre-ping, ORM sessions with savepoints, server-side cursors, isolation levels, bulk inserts with RETURNING.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, insert
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship

from drivers.scenarios import Scenarios, failures

scenario = Scenarios()


class Base(DeclarativeBase):
    """Tables of these scenarios."""


class Customer(Base):
    """Has orders."""

    __tablename__ = "customer"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    tags: Mapped[list[str]] = mapped_column(ARRAY(sa.Text), default=list)
    facts: Mapped[dict[str, Any]] = mapped_column(JSONB, default=dict)
    since: Mapped[dt.datetime] = mapped_column(
        sa.DateTime(timezone=True), default=dt.datetime(2024, 2, 29, tzinfo=dt.UTC)
    )
    orders: Mapped[list[Order]] = relationship(back_populates="customer", order_by="Order.id")


class Order(Base):
    """Belongs to a customer."""

    __tablename__ = "order"
    id: Mapped[int] = mapped_column(primary_key=True)
    amount: Mapped[int]
    customer_id: Mapped[int] = mapped_column(sa.ForeignKey("customer.id"))
    customer: Mapped[Customer] = relationship(back_populates="orders")


def url(dsn: str, driver: str) -> sa.URL:
    """The URL of a dialect; asyncpg's takes no sslmode."""
    parts = urlsplit(dsn)
    query = {"sslmode": "disable"} if driver == "psycopg" else {"ssl": "disable"}
    login = (parts.username, (parts.password or "").replace("%20", " "), parts.hostname, parts.port)
    return sa.URL.create(f"postgresql+{driver}", *login, parts.path.removeprefix("/"), query=query)


def engine_of(dsn: str, **options: Any) -> sa.Engine:
    """An engine on psycopg that pings a connection before it hands it out."""
    return sa.create_engine(url(dsn, "psycopg"), pool_pre_ping=True, **options)


def setting(connection: sa.Connection, name: str) -> Any:
    """A setting as the server shows it."""
    return connection.scalar(sa.select(sa.func.current_setting(name, True)))


def with_tables(connection: sa.Connection) -> None:
    """Empty tables."""
    Base.metadata.drop_all(connection)
    Base.metadata.create_all(connection)


def fill(session: Session) -> None:
    """Three customers with orders."""
    for number in range(3):
        orders = [Order(amount=number * 10 + part) for part in range(4)]
        session.add(Customer(name=f"customer {number}", tags=["a", "b"], facts={"n": number}, orders=orders))


@scenario
def first_connect(dsn: str) -> Any:
    with engine_of(dsn).connect() as connection:
        info = connection.dialect
        return [
            *(info.server_version_info, info.default_schema_name, info.default_isolation_level),
            *(connection.get_isolation_level(), setting(connection, "client_encoding")),
            connection.execute(sa.text("select :text || 'ü'"), {"text": "é"}).scalar(),
        ]


@scenario
def objects(dsn: str) -> Any:
    engine = engine_of(dsn)
    with engine.begin() as connection:
        with_tables(connection)
    with Session(engine) as session:
        fill(session)
        session.commit()
        found = session.scalars(sa.select(Customer).order_by(Customer.id)).all()
        seen: list[Any] = [[each.name, each.tags, each.facts, each.since] for each in found]
        seen.append([order.amount for order in found[1].orders])
        total = sa.select(Customer.name, sa.func.sum(Order.amount)).join(Order).group_by(Customer.name)
        seen.append([tuple(row) for row in session.execute(total.order_by(Customer.name))])
        session.add(Customer(name="customer 1"))
        with failures(seen, sa.exc.IntegrityError):
            session.commit()
        session.rollback()
        upsert = insert(Customer).values(name="customer 1", tags=[], facts={}, since=dt.datetime.now(dt.UTC))
        upsert = upsert.on_conflict_do_update(index_elements=["name"], set_={"facts": {"twice": True}})
        seen.append(session.scalar(upsert.returning(Customer.facts)))
        session.commit()
        many = [{"amount": number, "customer_id": 1} for number in range(2500)]
        seen.append(len(session.scalars(sa.insert(Order).returning(Order.id), many).all()))
        session.commit()
        seen.append(session.scalar(sa.select(sa.func.count(Order.id))))
    with engine.connect() as connection:
        inspector = sa.inspect(connection)
        seen += [sorted(inspector.get_table_names()), inspector.get_foreign_keys("order")]
        seen.append([str(column["type"]) for column in inspector.get_columns("customer")])
    engine.dispose()
    return seen


@scenario
def savepoints(dsn: str) -> Any:
    engine = engine_of(dsn)
    with engine.begin() as connection:
        with_tables(connection)
    seen: list[Any] = []
    with Session(engine) as session:
        for name in ("one", "two", "one", "three"):
            with failures(seen, sa.exc.IntegrityError), session.begin_nested():
                session.add(Customer(name=name))
        session.commit()
        seen.append(session.scalars(sa.select(Customer.name).order_by(Customer.id)).all())
    engine.dispose()
    return seen


@scenario
def server_side_cursors(dsn: str) -> Any:
    engine = engine_of(dsn)
    numbers = sa.text("select n from generate_series(1, 2000) n")
    with engine.connect() as connection:
        streamed = connection.execution_options(stream_results=True, max_row_buffer=50).execute(numbers)
        seen: list[Any] = [streamed.fetchmany(3), sum(row[0] for row in streamed)]
        connection.commit()
        with connection.execution_options(yield_per=100).execute(numbers) as result:
            seen.append([len(part) for part in result.partitions()])
    engine.dispose()
    return str(seen)


@scenario
def isolation(dsn: str) -> Any:
    seen: list[Any] = []
    engine = engine_of(dsn, pool_size=1, max_overflow=0)
    for level in ("SERIALIZABLE", "REPEATABLE READ", "AUTOCOMMIT", "READ COMMITTED"):
        with engine.connect().execution_options(isolation_level=level) as connection:
            seen += [setting(connection, "transaction_isolation"), connection.get_isolation_level()]
    with engine.connect().execution_options(postgresql_readonly=True, postgresql_deferrable=True) as connection:
        seen += [setting(connection, "transaction_read_only"), setting(connection, "transaction_deferrable")]
    with engine.connect() as connection:
        seen += [setting(connection, "transaction_isolation"), setting(connection, "transaction_read_only")]
    two_phase = engine.connect()
    transaction = two_phase.begin_twophase("sqlalchemy")
    two_phase.execute(sa.text("select 1"))
    transaction.prepare()
    transaction.rollback()
    two_phase.close()
    engine.dispose()
    return seen


@scenario
def settings(dsn: str) -> Any:
    engine = engine_of(dsn, connect_args={"options": "-c search_path=nowhere,public -c work_mem=21MB"}, pool_size=1)

    @sa.event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        connection.execute("set time zone 'Asia/Tokyo'; set app.tenant = 'none'")
        connection.commit()

    seen: list[Any] = []
    for number in range(3):
        with engine.begin() as connection:
            connection.execute(sa.text(f"set local app.tenant = 'tenant {number}'"))
            seen.append([setting(connection, name) for name in ("app.tenant", "TimeZone", "search_path", "work_mem")])
        with engine.connect() as connection:
            seen.append(setting(connection, "app.tenant"))
            connection.execute(sa.text("set work_mem = '22MB'"))
    engine.dispose()
    return seen


@scenario
def concurrent(dsn: str) -> Any:
    engine = engine_of(dsn, pool_size=8)

    def work(number: int) -> Any:
        seen = set()
        for turn in range(30):
            with engine.begin() as connection:
                connection.execute(sa.text(f"set local app.worker = '{number}'"))
                row = connection.execute(
                    sa.text("select :n * 1000 + :t, current_setting('app.worker')"), {"n": number, "t": turn}
                ).one()
                seen.add((row[0] - turn, row[1]))
        return sorted(seen)

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(work, range(8)))
    engine.dispose()
    return found


@scenario
async def on_asyncpg(dsn: str) -> Any:
    engine = create_async_engine(url(dsn, "asyncpg"), pool_pre_ping=True, pool_size=8)
    async with engine.begin() as connection:
        await connection.run_sync(with_tables)
    seen: list[Any] = []
    async with AsyncSession(engine, expire_on_commit=False) as session:
        await session.run_sync(fill)
        await session.commit()
        for name in ("customer 1", "new"):
            with failures(seen, sa.exc.IntegrityError):
                async with session.begin_nested():
                    session.add(Customer(name=name))
        await session.commit()
        names = await session.scalars(sa.select(Customer.name).order_by(Customer.id))
        seen.append(names.all())
        total = 0
        async for amount in await session.stream_scalars(sa.select(Order.amount)):
            total += amount
        seen.append(total)
        await session.commit()
    with failures(seen, sa.exc.DBAPIError):
        async with engine.begin() as connection:
            await connection.execute(sa.text("select 1 / 0"))
    async with engine.connect() as connection:
        serializable = await connection.execution_options(isolation_level="SERIALIZABLE")
        seen.append((await serializable.execute(sa.text("show transaction_isolation"))).scalar())
    await engine.dispose()
    return seen


@scenario
async def concurrent_on_asyncpg(dsn: str) -> Any:
    engine = create_async_engine(url(dsn, "asyncpg"), pool_pre_ping=True, pool_size=8)

    async def work(number: int) -> Any:
        seen = set()
        for turn in range(30):
            async with engine.begin() as connection:
                query = sa.text("select cast(:n as int) * 1000 + cast(:t as int)")
                seen.add((await connection.execute(query, {"n": number, "t": turn})).scalar_one() - turn)
        return sorted(seen)

    found = await asyncio.gather(*(work(number) for number in range(8)))
    await engine.dispose()
    return found


if __name__ == "__main__":
    scenario.main()
