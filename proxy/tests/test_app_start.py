"""`helios serve` as a process: what it says when it starts, and one plain sentence when it cannot."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from harness.postgres import PostgresCluster
from harness.proxy import HeliosProcess, StartProxy, base_settings
from harness.wait import until
from helios.play.process import free_port

Refused = Callable[..., str]


@pytest.fixture
def refused(postgres: PostgresCluster, tmp_path: Path) -> Refused:
    """Start a proxy that must not start; what it wrote to stderr."""

    def start(**sections: object) -> str:
        process = HeliosProcess(tmp_path, base_settings(postgres, tmp_path, **sections), expect_ready=False)
        try:
            assert process.wait(20) == 1, process.log()
        finally:
            process.kill()
        assert "Traceback" not in process.log()
        return process.log()

    return start


def wait_ready(process: HeliosProcess) -> None:
    until(lambda: process.get("/readyz")[0] == 200, "the proxy is ready")


def test_the_ready_line_means_that_both_listeners_accept(start_proxy: StartProxy) -> None:
    process = start_proxy()

    assert process.get("/healthz") == (200, '{"status":"ok"}')
    with psycopg.connect(process.target().dsn(), connect_timeout=10) as connection:
        assert connection.execute("select 1").fetchone() == (1,)
    assert f"helios ready listen=127.0.0.1:{process.port} admin=http://127.0.0.1:" in process.log()


def test_a_taken_listen_port_is_named(refused: Refused) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"

        log = refused(listen_address=address)

    line = log.splitlines()[-1]
    assert line.startswith("helios serve: ")
    assert address in line
    assert "in use" in line


def test_a_taken_admin_port_is_named_and_no_client_is_accepted(refused: Refused) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"

        log = refused(admin={"address": address})

    assert f"helios serve: admin.address: cannot listen on {address}: " in log
    assert "helios ready" not in log


def test_every_problem_of_the_file_is_told(refused: Refused) -> None:
    log = refused(pool={"max_size": "many", "siez": 3})

    assert "pool.max_size" in log
    assert "pool.siez" in log


def test_a_users_file_that_is_missing_is_named(refused: Refused) -> None:
    assert "/no/such/users.txt" in refused(auth={"users_file": "/no/such/users.txt"})


def test_a_certificate_that_is_none_is_named(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "bad.pem").write_text("no certificate")
    files = {"tls_cert_file": str(tmp_path / "bad.pem"), "tls_key_file": str(tmp_path / "bad.pem")}

    assert "helios serve: admin.tls_cert_file: cannot use" in refused(admin=files)


def test_the_admin_api_speaks_tls(start_proxy: StartProxy, tmp_path: Path) -> None:
    cert, key = tmp_path / "admin.crt", tmp_path / "admin.key"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=helios"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(command, check=True, capture_output=True)

    process = start_proxy(admin={"tls_cert_file": str(cert), "tls_key_file": str(key)})

    assert process.admin.startswith("https://")
    context = ssl.create_default_context(cafile=str(cert))
    with urllib.request.urlopen(process.admin + "/healthz", context=context, timeout=5) as answer:
        assert answer.status == 200


def test_off_loopback_without_a_token_it_starts_with_one_warning(start_proxy: StartProxy) -> None:
    process = start_proxy(admin={"address": "0.0.0.0:0"})
    process.admin = process.admin.replace("0.0.0.0", "127.0.0.1")

    assert process.get("/livez")[0] == 200
    assert process.get("/metrics", accept="text/plain")[0] == 200
    assert process.get("/config")[0] == 401
    assert process.post("/config/reload")[0] == 401
    assert process.log().count("without a token") == 1


def test_a_token_from_a_file_is_demanded(start_proxy: StartProxy, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret\n")
    process = start_proxy(admin={"token_file": str(tmp_path / "token")})
    request = urllib.request.Request(process.admin + "/config", headers={"Authorization": "Bearer s3cret"})

    assert process.get("/config")[0] == 401
    with urllib.request.urlopen(request, timeout=5) as answer:
        assert answer.status == 200
    assert "s3cret" not in process.log()


def test_a_wrong_monitor_password_keeps_it_unready_and_says_why(start_proxy: StartProxy) -> None:
    process = start_proxy(monitor={"password": "wrong"})

    until(lambda: process.json("/nodes")[0]["last_error"], "an error at the node")
    status, body = process.get("/readyz")

    assert status == 503
    assert json.loads(body)["ready"] is False
    assert "password of user" in process.json("/nodes")[0]["last_error"]
    assert process.json("/topology")["currentPrimary"] is None
    assert "password of user" in process.log()


def test_an_unreachable_node_is_shown_and_disturbs_nobody(start_proxy: StartProxy, postgres: PostgresCluster) -> None:
    gone = {"name": "gone", "host": "127.0.0.1", "port": free_port(), "role": "standby"}
    process = start_proxy(clusters=[{"name": "main", "nodes": [*postgres.nodes(), gone]}])

    wait_ready(process)
    until(lambda: process.json("/nodes/gone")["last_error"] == "connection refused", "the cause is shown")

    with psycopg.connect(process.target().dsn(), connect_timeout=10) as connection:
        assert connection.execute("select 1").fetchone() == (1,)
    until(lambda: process.json("/topology")["healthyNodes"] == 2, "the others are healthy")
    assert process.json("/topology")["totalNodes"] == 3


def test_two_primaries_make_clients_wait_and_are_both_named(
    start_proxy: StartProxy, postgres: PostgresCluster, other_postgres: PostgresCluster
) -> None:
    second = {**other_postgres.nodes()[0], "name": "second", "role": "standby"}
    nodes = [postgres.nodes()[0], second]
    process = start_proxy(clusters=[{"name": "main", "nodes": nodes}], pool={"acquire_timeout_seconds": 1})

    until(lambda: "all accept writes" in (process.json("/topology")["reason"] or ""), "both are seen")

    assert process.json("/topology")["currentPrimary"] is None
    assert process.get("/readyz")[0] == 503
    with pytest.raises(psycopg.OperationalError, match="no server within 1 s"):
        psycopg.connect(process.target().dsn(), connect_timeout=10)
    assert "primary (timeline 1) and second (timeline 1)" in process.log()


def test_traffic_that_fails_wakes_the_poll(doomed_postgres: PostgresCluster, tmp_path: Path) -> None:
    monitor = {"interval_ms": 60_000, "failure_threshold": 1}
    settings = base_settings(doomed_postgres, tmp_path, monitor=monitor, pool={"acquire_timeout_seconds": 1})
    with HeliosProcess(tmp_path, settings) as process:
        wait_ready(process)
        with psycopg.connect(process.target().dsn(), connect_timeout=10, autocommit=True) as connection:
            connection.execute("select 1")
            doomed_postgres.primary.kill()
            with pytest.raises(psycopg.OperationalError):
                connection.execute("select 1")

        until(lambda: process.json("/topology")["currentPrimary"] is None, "the primary is missed long before its poll")
        assert "traffic suspects a node" in process.log()


def test_a_promotion_is_followed(doomed_postgres: PostgresCluster, tmp_path: Path) -> None:
    standby = doomed_postgres.standby
    assert standby is not None
    with HeliosProcess(tmp_path, base_settings(doomed_postgres, tmp_path)) as process:
        wait_ready(process)
        assert process.json("/topology")["currentPrimary"] == f"127.0.0.1:{doomed_postgres.primary.port}"

        doomed_postgres.primary.kill()
        until(lambda: process.get("/readyz")[0] == 503, "it is not ready without a primary")
        standby.promote()

        until(lambda: process.json("/topology")["currentPrimary"] == f"127.0.0.1:{standby.port}", "the new primary")
        wait_ready(process)
        with psycopg.connect(process.target().dsn(), connect_timeout=10) as connection:
            assert connection.execute("select pg_is_in_recovery(), inet_server_port()").fetchone() == (
                False,
                standby.port,
            )
        topology = process.json("/topology")
        assert topology["lastFailoverAt"] is not None
        assert topology["unhealthyNodes"] == 1


def test_pools_sessions_and_metrics_show_the_traffic(start_proxy: StartProxy, postgres: PostgresCluster) -> None:
    process = start_proxy()
    node = f"127.0.0.1:{postgres.primary.port}"

    with psycopg.connect(process.target().dsn(), connect_timeout=10, autocommit=True) as connection:
        for _ in range(5):
            connection.execute("select 1")
        connection.execute("insert into notes values (-1, 'metrics')")
        connection.execute("delete from notes where id = -1")

        assert process.json("/sessions")["active_sessions"] == 1
        pools = [pool for pool in process.json("/pools") if pool["node"] == node]
        assert sum(pool["active_connections"] + pool["idle_connections"] for pool in pools) >= 1
        found = metrics(process)

    assert found["heliosproxy_queries"]["type=read"] >= 5
    assert found["heliosproxy_queries"]["type=write"] >= 2
    assert found["heliosproxy_pool_connections_total"][f"node={node}"] >= 1
    assert found["heliosproxy_node_healthy"][f"node={node}"] == 1
    assert found["heliosproxy_config_reload_success"][""] == 1
    buckets = found["heliosproxy_query_duration_seconds"]
    assert buckets["le=+Inf"] >= 7
    assert process.json("/metrics")["queries_processed"] >= 7
    assert process.get("/metrics/prometheus", accept="application/json")[1].startswith("# HELP")


def test_version_has_a_real_build_time(start_proxy: StartProxy) -> None:
    version = start_proxy().json("/version")

    assert version["version"]
    assert version["build_time"].startswith("20")


def test_logs_can_be_json(postgres: PostgresCluster, tmp_path: Path) -> None:
    settings = base_settings(postgres, tmp_path, log={"format": "json"})

    with HeliosProcess(tmp_path, settings, expect_ready=False) as process:
        until(lambda: "helios ready" in process.log(), "the ready line", 20)
        lines = [json.loads(line) for line in process.log().splitlines()]

    ready = next(line for line in lines if line["message"] == "helios ready")
    assert ready["listen"].startswith("127.0.0.1:")
    assert ready["admin"].startswith("http://127.0.0.1:")


def metrics(process: HeliosProcess) -> dict[str, dict[str, float]]:
    """Family → "label=value" → value, of the samples that carry at most one label."""
    status, text = process.get("/metrics", accept="text/plain")
    assert status == 200
    found: dict[str, dict[str, Any]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            label = ",".join(f"{name}={value}" for name, value in sample.labels.items())
            found.setdefault(family.name, {})[label] = sample.value
    return found
