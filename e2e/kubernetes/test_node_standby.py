"""Level node: a primary and a standby in pods. The entrance for reading, and a promotion with a fence of the user's."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cluster import KubectlError
from harness.installed import POSTGRES_FOLDER, PSQL, Installed
from harness.wait import until

pytestmark = pytest.mark.level("node")

PATIENCE = 120.0
MONITOR = {"user": "helios_monitor", "secretRef": {"name": "database", "key": "monitor"}}
GRANTS = """
alter role helios_monitor replication;
grant pg_checkpoint, pg_signal_backend to helios_monitor;
grant execute on function pg_promote(boolean, integer), pg_reload_conf() to helios_monitor;
grant alter system on parameter synchronous_standby_names to helios_monitor;
grant alter system on parameter primary_conninfo to helios_monitor;
"""
"""What the guide asks for. PostgreSQL 15."""
HBA = 'echo "host replication all all scram-sha-256" >> "$PGDATA/pg_hba.conf" && pg_ctl reload -D "$PGDATA"'
ROLE = "select pg_is_in_recovery()"
WHERE = f"{ROLE}, host(inet_server_addr())"
EXTENDED = """
import asyncio, asyncpg, json, os, sys

async def main():
    password = os.environ["PGPASSWORD"]
    connection = await asyncpg.connect(host=sys.argv[1], port=6432, user="app", password=password, database="app")
    seen = [await connection.fetchval("select pg_is_in_recovery()") for _ in range(10)]
    try:
        await connection.execute("insert into kept values ($1)", 2)
        refused = None
    except asyncpg.PostgresError as error:
        refused = error.sqlstate
    await connection.close()
    print(json.dumps([seen, refused]))

asyncio.run(main())
"""
FENCE = """
import json, os
told = {name: os.environ[name] for name in ("HELIOS_NODE", "HELIOS_HOST", "HELIOS_PORT")}
with open("/tmp/fenced", "a") as file:
    file.write(json.dumps({**told, "uid": os.getuid()}) + chr(10))
"""
FENCED = """
import json, pathlib
file = pathlib.Path("/tmp/fenced")
print(json.dumps([json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []))
"""


@pytest.fixture
def replicated(in_cluster: Installed) -> Installed:
    """A standby that streams, and a table."""
    superuser = ("exec", "database-0", "--", "psql", "--host=/tmp", "--username=postgres")
    in_cluster.kubectl(*superuser, "--command", GRANTS)
    in_cluster.kubectl(*superuser, "app", "--command", "create table kept (number int); alter table kept owner to app")
    in_cluster.kubectl("exec", "database-0", "--", "sh", "-c", HBA)
    in_cluster.kubectl("apply", "-f", str(POSTGRES_FOLDER / "standby.yaml"))
    in_cluster.kubectl("wait", "--for=condition=Ready", "pod/standby", "--timeout=120s")
    return in_cluster


def psql(shop: Installed, host: str, sql: str) -> str:
    """What psql in a pod is told at this Service, or why not, with the SQLSTATE; empty while nothing listens there."""
    options = [f"--host={host}" if option.startswith("--host=") else option for option in PSQL]
    try:
        return shop.kubectl("exec", "psql", "--", *options, "-v", "VERBOSITY=verbose", "-c", sql, "app").strip()
    except KubectlError as error:
        print(error)
        return "" if "Connection refused" in str(error) or "could not translate" in str(error) else str(error)


def test_entrance_for_reading_leads_to_the_standby_only(replicated: Installed) -> None:
    shop = replicated
    shop.apply("HeliosProxy", "minimal", {"replicas": 2, "readListenPort": 6433, "monitor": MONITOR})
    shop.await_condition("minimal", "Ready", "True", deadline=PATIENCE)
    until(lambda: psql(shop, "minimal-ro", ROLE) == "t", "the entrance for reading answers", PATIENCE)
    until(lambda: psql(shop, "minimal", ROLE) == "f", "the other one leads to the primary", PATIENCE)

    standby = shop.get("pod", "standby")["status"]["podIP"]
    assert {psql(shop, "minimal-ro", WHERE) for _ in range(10)} == {f"t|{standby}"}
    assert "25006" in psql(shop, "minimal-ro", "insert into kept values (1)")
    assert shop.python(EXTENDED, "minimal-ro") == [[True] * 10, "25006"]
    assert shop.python(EXTENDED, "minimal") == [[False] * 10, None]

    # Nobody who asked for a standby gets the primary instead.
    shop.kubectl("delete", "pod", "standby")
    told = until(lambda: not_the_standby(shop), "the standby is missed", PATIENCE)
    print(told)
    assert psql(shop, "minimal-ro", ROLE) != "f"
    assert psql(shop, "minimal", ROLE) == "f"


def not_the_standby(shop: Installed) -> str:
    """What else a reader is told."""
    told = psql(shop, "minimal-ro", ROLE)
    return "" if told == "t" else told


def test_promotion_runs_the_fence_command_in_the_pod_that_promotes(replicated: Installed) -> None:
    shop = replicated
    nodes = [{"host": f"{name}.minimal-backends"} for name in ("database-0", "standby")]
    failover = {"enabled": True, "fenceCommand": ["python", "-c", FENCE], "fenceTimeoutSeconds": 30}
    spec = {"replicas": 2, "nodes": nodes, "monitor": MONITOR, "failover": failover}
    shop.apply("HeliosProxy", "minimal", spec)
    shop.await_condition("minimal", "Ready", "True", deadline=PATIENCE)
    until(lambda: psql(shop, "minimal", ROLE) == "f", "the Service leads to the primary", PATIENCE)
    until(lambda: healthy(shop) == 2, "both servers are known", PATIENCE)
    psql(shop, "minimal", "insert into kept values (1)")
    assert fenced(shop) == []
    standby = shop.get("pod", "standby")["status"]["podIP"]

    shop.kubectl("scale", "statefulset/database", "--replicas=0")
    until(lambda: psql(shop, "minimal", WHERE) == f"f|{standby}", "the standby is promoted", PATIENCE)

    # Nothing was written where the Service did not answer.
    insert = "insert into kept values (2) returning number"
    assert until(lambda: psql(shop, "minimal", insert), "the Service answers", PATIENCE) == "2"
    assert psql(shop, "minimal", "select count(*) from kept") == "2"
    address = {"HELIOS_HOST": nodes[0]["host"], "HELIOS_PORT": "5432"}
    (told,) = fenced(shop)
    assert told["HELIOS_NODE"]
    assert {**told, **address, "uid": 65534} == told


def healthy(shop: Installed) -> int:
    """Servers that the pods can use, as the status says."""
    return int(shop.get("heliosproxy", "minimal")["status"].get("healthyNodes", 0))


def fenced(shop: Installed) -> list[dict[str, Any]]:
    """What the fence has noted, over all pods."""
    names = [pod["metadata"]["name"] for pod in shop.pods()]
    return [each for name in names for each in json.loads(shop.kubectl("exec", name, "--", "python", "-c", FENCED))]
