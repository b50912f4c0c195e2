"""docs/guides/monitor-role.md: its SQL works on a real PostgreSQL, and it is what play itself gives its monitor."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from play_harness import scratch

from helios.play import sql
from helios.play.postgres import PostgresServer, ServerOptions, start_primary
from helios.play.roles import Role, ensure_database, ensure_monitor, ensure_role, identifier, literal

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "monitor-role.md"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A primary on which the guide's SQL has been run."""
    with scratch() as root:
        primary = start_primary(root, options=ServerOptions(fsync=False))
        sql.execute(primary.target(), guide_sql())
        yield primary
        primary.stop("immediate")


def guide_sql() -> str:
    """The one SQL block of the guide."""
    blocks = re.findall(r"^```sql\n(.*?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 1
    return str(blocks[0])


def rights(server: PostgresServer, role: str) -> dict[str, object]:
    """What a role may do, as far as the guide speaks of it."""
    query = """
        select rolcanlogin, rolsuper, rolconnlimit, pg_has_role(rolname, 'pg_monitor', 'member') as monitors,
               has_function_privilege(rolname, 'pg_promote(boolean, integer)', 'execute') as promotes
        from pg_roles where rolname = $1
    """
    return sql.fetch(server.target(), query, role)[0]


def test_the_guides_role_logs_in_and_sees_replication(server: PostgresServer) -> None:
    monitor = server.target(user="helios_monitor", password="change-me")

    seen = sql.fetch(monitor, "select pg_is_in_recovery() as recovers, count(*) as walsenders from pg_stat_replication")
    sessions = sql.fetch(monitor, "select query from pg_stat_activity where usename = 'postgres'")

    assert seen == [{"recovers": False, "walsenders": 0}]
    assert all(row["query"] != "<insufficient privilege>" for row in sessions)
    assert rights(server, "helios_monitor")["promotes"] is True
    with pytest.raises(sql.SQL_ERRORS, match="permission denied"):
        sql.fetch(monitor, "select * from pg_authid")


def test_plays_own_monitor_has_the_same_rights(server: PostgresServer) -> None:
    ensure_monitor(server.target(), Role("plays_monitor", "secret"))
    ensure_monitor(server.target(), Role("plays_monitor", "secret again"))

    assert rights(server, "plays_monitor") == rights(server, "helios_monitor")
    assert sql.fetch(server.target(user="plays_monitor", password="secret again"), "select 1 as one") == [{"one": 1}]


def test_roles_and_databases_keep_any_name_and_password(server: PostgresServer) -> None:
    name, password = 'O\'Neill "x"; drop', "'; \\ \" $x$"

    ensure_role(server.target(), Role(name, password))
    ensure_database(server.target(), name, name)
    ensure_database(server.target(), name, name)

    asked = sql.fetch(server.target(name, name, password), "select current_user as who, current_database() as place")
    assert asked == [{"who": name, "place": name}]
    assert (identifier('a"b'), literal("a'b")) == ('"a""b"', "'a''b'")


def test_what_the_superuser_makes_later_is_the_owners_to_use(server: PostgresServer) -> None:
    ensure_role(server.target(), Role("shop", "secret"))
    ensure_database(server.target(), "shop", "shop")

    sql.execute(server.target("shop"), "create table made_by_superuser as select 1 as a")

    assert sql.fetch(server.target("shop", "shop", "secret"), "select a from made_by_superuser") == [{"a": 1}]
