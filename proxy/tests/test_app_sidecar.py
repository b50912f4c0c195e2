"""`helios serve --sidecar`: inside one pod only, nothing before a share of the server connections, gone at once."""

from __future__ import annotations

import hashlib
import json
import re
import signal
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from harness.postgres import PostgresCluster
from harness.proxy import HeliosProcess, base_settings, dump_toml
from harness.wait import until

TOKEN = "s3cret"
LONG_SECONDS = 300
"""Nothing that a test waits for takes so long."""


@pytest.fixture
def sidecar(postgres: PostgresCluster, tmp_path: Path) -> Iterator[HeliosProcess]:
    """A document made for pods that everybody reaches, that promote, and that leave slowly."""
    settings = base_settings(
        postgres,
        tmp_path,
        generation=5,
        admin={"address": "127.0.0.1:0", "token": TOKEN},
        listen_address="0.0.0.0:0",
        read_listen_address="0.0.0.0:0",
        limits={"max_server_connections": 8},
        failover={"enabled": True, "lease_file": str(tmp_path / "lease")},
        drain={"endpoint_delay_seconds": LONG_SECONDS, "timeout_seconds": 10},
    )
    with HeliosProcess(tmp_path, settings, arguments=["--sidecar"]) as process:
        process.token = TOKEN
        yield process


def grant(process: HeliosProcess, limit: int) -> None:
    request = urllib.request.Request(f"{process.admin}/share", method="PUT", data=json.dumps({"limit": limit}).encode())
    request.add_header("Authorization", f"Bearer {TOKEN}")
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert json.loads(answer.read())["limit"] == limit


def test_sidecar_begins_with_its_share_and_stays_in_its_pod(sidecar: HeliosProcess) -> None:
    until(lambda: sidecar.get("/readyz")[0] == 200, "it has found the primary", 60)
    assert sidecar.get("/startupz") == (503, sidecar.get("/health/startup")[1])
    assert "no share of the server connections" in sidecar.get("/startupz")[1]
    share = sidecar.json("/share")
    assert (share["limit"], share["granted"]) == (1, False), "until it is granted more it counts as one"

    grant(sidecar, 3)
    assert sidecar.get("/startupz")[0] == 200
    assert re.search(r"listen=127\.0\.0\.1:\d+,127\.0\.0\.1:\d+ ", sidecar.log())
    assert not (sidecar.config_file.parent / "lease").exists(), "it never promotes"

    # The document is everybody's; what is different here stays so over a change of it.
    changed = dump_toml({**sidecar.settings, "generation": 6, "pool": {"max_size": 7}}).encode()
    status, answer = sidecar.post("/config", changed)
    assert (status, json.loads(answer)["restartNeeded"]) == (200, [])
    config = sidecar.json("/config")
    assert (config["hash"], config["pool_max_connections"]) == (hashlib.sha256(changed).hexdigest(), 7)
    assert sidecar.json("/share")["limit"] == 3
    with closing(psycopg.connect(sidecar.target().dsn(), connect_timeout=30)) as client:
        assert client.execute("select 42").fetchone() == (42,)

    sidecar.signal(signal.SIGTERM)
    assert sidecar.wait(60) == 0, "no load balancer is waited for"


def test_without_a_total_it_starts_by_itself(postgres: PostgresCluster, tmp_path: Path) -> None:
    with HeliosProcess(tmp_path, base_settings(postgres, tmp_path), arguments=["--sidecar"]) as process:
        until(lambda: process.get("/startupz")[0] == 200, "it listens", 60)
