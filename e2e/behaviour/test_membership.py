"""Servers of a cluster that somebody else knows, Patroni by its documented answers or DNS; a pause while he switches.

What speaks Patroni's REST API here is a server of the test's own, before real PostgreSQL servers.
"""

from __future__ import annotations

import http.server
import json
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from harness.client import Client
from harness.postgres import PostgresCluster
from harness.proxy import HeliosProcess, Settings, base_settings
from harness.wait import until

PATIENCE = 60
SENT: dict[str, Callable[[Client, str], object]] = {"simple": Client.query, "extended": Client.extended}


class Patroni:
    """GET /cluster, as the members are told to say."""

    def __init__(self, postgres: PostgresCluster) -> None:
        assert postgres.standby is not None
        servers = (("leader", "running", postgres.primary), ("replica", "streaming", postgres.standby))
        self.members: list[dict[str, Any]] = [
            {"name": each.name, "role": role, "state": state, "host": each.host, "port": each.port, "timeline": 1}
            for role, state, each in servers
        ]
        self.scheduled: datetime | None = None
        """When it switches over."""
        self.body: bytes | None = None
        """Said instead."""
        patroni = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answer: dict[str, Any] = {"members": patroni.members, "scope": "demo"}
                if patroni.scheduled is not None:
                    answer["scheduled_switchover"] = {"at": patroni.scheduled.isoformat()}
                document = json.dumps(answer).encode()
                self.send_response(200 if self.path == "/cluster" else 404)
                self.end_headers()
                self.wfile.write(document if patroni.body is None else patroni.body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def patroni(postgres: PostgresCluster) -> Iterator[Patroni]:
    made = Patroni(postgres)
    yield made
    made.stop()


def settings(postgres: PostgresCluster, folder: Path, **cluster: Any) -> Settings:
    """Only the primary is listed."""
    made = base_settings(postgres, folder, pool={"acquire_timeout_seconds": PATIENCE})
    listed = made["clusters"][0]
    listed["nodes"] = [node for node in listed["nodes"] if node["port"] == postgres.primary.port]
    listed |= cluster
    return made


def names(proxy: HeliosProcess) -> dict[str, str]:
    return {node["name"]: node["role"] for node in proxy.json("/nodes")}


def waits(proxy: HeliosProcess) -> bool:
    """Whether one client waits for a primary."""
    return "heliosproxy_buffer_clients 1.0" in proxy.get("/metrics", "text/plain")[1]


def nobody() -> str:
    """A URL at which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def test_patroni_tells_the_members_and_announces_a_switchover(
    postgres: PostgresCluster, patroni: Patroni, tmp_path: Path
) -> None:
    assert postgres.standby is not None
    both = {postgres.primary.name: "primary", postgres.standby.name: "standby"}
    config = settings(postgres, tmp_path, provider="patroni", patroni_urls=[nobody(), patroni.url])
    with HeliosProcess(tmp_path, config) as proxy, Client(proxy.target(), deadline=PATIENCE) as client:
        until(lambda: names(proxy) == both, "both members", PATIENCE)
        assert proxy.post("/config/reload")[0] == 200
        assert names(proxy) == both, "a reload of the file forgets nobody"

        for send in SENT.values():
            patroni.members[0]["state"] = "stopping"
            until(lambda: "is stopping" in str(proxy.json("/topology")["reason"]), "the pause", PATIENCE)
            with ThreadPoolExecutor(max_workers=1) as pool:
                asked = pool.submit(send, client, "select 1")
                until(lambda: waits(proxy), "a client to wait", PATIENCE)
                patroni.members[0]["state"] = "running"
                asked.result(PATIENCE)

        # One that is scheduled is waited for a moment before.
        patroni.scheduled = datetime.now(UTC) + timedelta(hours=1)
        assert client.value("select 1") == "1"
        patroni.scheduled = datetime.now(UTC) + timedelta(seconds=1)
        until(lambda: "about to be switched over" in str(proxy.json("/topology")["reason"]), "the pause", PATIENCE)
        patroni.scheduled = None
        until(lambda: proxy.json("/topology")["reason"] is None, "its end", PATIENCE)
        # What is no answer changes nothing, and a member that is gone goes.
        patroni.body = b"<html>"
        until(lambda: "members cannot be asked for" in proxy.log(), "the complaint", PATIENCE)
        assert names(proxy) == both
        del patroni.members[1]
        patroni.body = None
        until(lambda: list(names(proxy)) == [postgres.primary.name], "its end", PATIENCE)
        assert client.value("select 1") == "1"


def test_every_address_of_a_name_is_a_server(postgres: PostgresCluster, tmp_path: Path) -> None:
    port = postgres.primary.port
    addresses = {str(each[4][0]) for each in socket.getaddrinfo("localhost", None, type=socket.SOCK_STREAM)}
    config = settings(postgres, tmp_path, provider="rds", dns_names=[f"localhost:{port}"])
    with HeliosProcess(tmp_path, config) as proxy, Client(proxy.target(), deadline=PATIENCE) as client:
        found = {f"[{each}]:{port}" if ":" in each else f"{each}:{port}" for each in addresses}
        until(lambda: {node["address"] for node in proxy.json("/nodes")} == found, "the addresses", PATIENCE)
        assert client.value("select 1") == "1"


def test_an_operator_may_ask_for_a_pause(postgres: PostgresCluster, tmp_path: Path) -> None:
    with (
        HeliosProcess(tmp_path, settings(postgres, tmp_path)) as proxy,
        Client(proxy.target(), deadline=PATIENCE) as one,
    ):
        assert one.value("select 1") == "1"
        assert proxy.post_json("/api/hold", {"reason": "db-2 is promoted"})[0] == 200
        assert proxy.json("/topology")["reason"] == "db-2 is promoted"
        with ThreadPoolExecutor(max_workers=1) as pool:
            asked = pool.submit(one.value, "select 2")
            until(lambda: waits(proxy), "a client to wait", PATIENCE)
            assert proxy.post_json("/api/hold", {})[0] == 200
            assert asked.result(PATIENCE) == "2"
        # Whoever forgets it does not stop everything for ever.
        assert proxy.post_json("/api/hold", {"reason": "forgotten", "seconds": 1})[0] == 200
        assert one.value("select 3") == "3"
        # It ends as soon as another node is primary, which one is already.
        assert proxy.post_json("/api/hold", {"reason": "db-2 takes over", "seconds": 300, "primary": "db-9"})[0] == 200
        assert one.value("select 4") == "4"
        for body, status, reason in (
            ({"primary": ""}, 400, "primary"),
            ({"cluster": "other", "reason": "x"}, 404, "there is no cluster 'other'"),
            ({"seconds": 0}, 400, "seconds"),
            ({"why": "x"}, 400, "why"),
        ):
            code, told = proxy.post_json("/api/hold", body)
            assert (code, reason in told["error"]) == (status, True), told
