"""The snapshot: everything resolved, exactly the fields of the contract, every secret file named that fails."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from helios.config import (
    AuthConfig,
    AuthMethod,
    ClusterConfig,
    DatabaseConfig,
    LimitsConfig,
    NodeConfig,
    NodeRole,
    PoolConfig,
    PoolMode,
    PoolOverrides,
    PreparedStatements,
    ProxyConfig,
)
from helios.config.cpu import cpu_limit
from helios.config.snapshot import engine_snapshot, worker_count
from helios.errors import SecretError

MAIN = ClusterConfig(name="main", nodes=(NodeConfig(host="db", name="first"), NodeConfig(host="::1", port=5433)))
TRUST = AuthConfig(method=AuthMethod.TRUST)


def _snapshot(config: ProxyConfig, base_dir: Path | None = None) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(engine_snapshot(config, base_dir))
    return document


def test_the_whole_document_of_a_small_configuration() -> None:
    config = ProxyConfig(generation=3, workers=2, listen_address="[::]:0", auth=TRUST, clusters=(MAIN,))

    assert _snapshot(config) == {
        "generation": 3,
        "workers": 2,
        "clients_per_worker": 64,
        "io": "auto",
        "listen": [{"host": "::", "port": 0, "role": "primary"}],
        "unix_socket": None,
        "peers": None,
        "temperature": None,
        "consistency_keys": None,
        "tracing": None,
        "auth": {
            "method": "trust",
            "hba": None,
            "client_name": "cn",
            "map": None,
            "ident": [],
            "query": None,
            "users": [],
        },
        "tls": None,
        "clusters": [
            {
                "name": "main",
                "tls": {"mode": "prefer", "ca": None, "channel_binding": "prefer"},
                "nodes": [
                    {"name": "first", "host": "db", "port": 5432},
                    {"name": "[::1]:5433", "host": "::1", "port": 5433},
                ],
            }
        ],
        "databases": [
            {
                "name": "*",
                "cluster": "main",
                "role": "primary",
                "database": None,
                "user": None,
                "password": None,
                "max_client_connections": 0,
                "max_server_connections": 0,
                "pool": {
                    "mode": "transaction",
                    "max_size": 100,
                    "reserve_size": 0,
                    "reserve_timeout_ms": 5_000,
                    "min_idle": 0,
                    "idle_timeout_ms": 300_000,
                    "max_lifetime_ms": 1_800_000,
                    "acquire_timeout_ms": 30_000,
                    "reset_query": None,
                    "application_name_add_host": False,
                    "pin_notices": False,
                    "prepared_statements": True,
                    "server_prepared_bytes": 4_194_304,
                },
                "routing": None,
                "policy": None,
            }
        ],
        "readers": [],
        "users": [],
        "tcp": {
            "keepalive_idle_seconds": 30,
            "keepalive_interval_seconds": 10,
            "keepalive_count": 3,
            "user_timeout_ms": 0,
        },
        "circuit_breaker": {
            "enabled": True,
            "failure_threshold": 5,
            "reset_timeout_ms": 10_000,
            "success_threshold": 3,
            "half_open_requests": 3,
            "slow_start_ms": 10_000,
            "outlier_latency_factor": 10,
            "outlier_error_percent": 30,
        },
        "transaction_replay": None,
        "journal": {"max_entries": 10_000, "max_bytes": 67_108_864, "max_total_bytes": 268_435_456},
        "console": None,
        "limits": {
            "max_client_connections": 10_000,
            "max_address_client_connections": 0,
            "max_unauthenticated_connections": 10_000,
            "max_address_unauthenticated_connections": 5_000,
            "user": {
                "max_client_connections": 0,
                "max_server_connections": 0,
                "max_pool_size": None,
                "query_timeout_ms": 0,
                "idle_transaction_timeout_ms": 0,
                "client_idle_timeout_ms": 0,
                "client_write_timeout_ms": 0,
                "client_max_age_ms": 0,
            },
            "startup_timeout_ms": 30_000,
            "max_server_connections": 0,
            "max_parallel_logins": 16,
            "connect_timeout_ms": 5_000,
            "max_prepared_statements": 8_192,
            "max_prepared_bytes": 67_108_864,
            "max_channels": 1_000,
            "max_notification_bytes": 4_194_304,
            "max_buffered_clients": 1_000,
            "max_buffered_bytes": 16_777_216,
        },
    }


def test_a_second_address_leads_every_database_to_standbys(tmp_path: Path) -> None:
    databases = (
        DatabaseConfig(name="app", database="app_v2", user="app", password=SecretStr("inline")),
        DatabaseConfig(name="reports", role=NodeRole.STANDBY),
    )
    config = ProxyConfig(
        listen_address="127.0.0.1:1", read_listen_address="[::1]:2", auth=TRUST, clusters=(MAIN,), databases=databases
    )

    document = _snapshot(config, tmp_path)

    assert document["listen"] == [
        {"host": "127.0.0.1", "port": 1, "role": "primary"},
        {"host": "::1", "port": 2, "role": "standby"},
    ]
    app, reports = document["databases"]
    assert (app["role"], app["routing"], reports["role"]) == ("primary", None, "standby")
    there = document["readers"][0]
    assert there == {**app, "role": "standby", "routing": reports["routing"]}
    assert document["readers"][1] == reports


def test_users_passwords_and_overrides_are_resolved(tmp_path: Path) -> None:
    (tmp_path / "users.txt").write_text('"app" "grün"\n"nobody" ""\n')
    (tmp_path / "writer").write_text("hunter2\n")
    config = ProxyConfig(
        auth=AuthConfig(users_file="users.txt"),
        pool=PoolConfig(max_size=50, min_idle=2),
        clusters=(MAIN,),
        limits=LimitsConfig(server_prepared_bytes=7),
        databases=(
            DatabaseConfig(name="app", database="app_v2", user="app", password=SecretStr("inline")),
            DatabaseConfig(
                user="writer",
                password_file="writer",
                pool=PoolOverrides(
                    mode=PoolMode.SESSION,
                    max_size=5,
                    max_lifetime_seconds=0,
                    reset_query="DISCARD ALL",
                    prepared_statements=PreparedStatements.DISABLE,
                ),
            ),
        ),
    )

    document = _snapshot(config, tmp_path)

    assert document["auth"] == {
        "hba": None,
        "client_name": "cn",
        "map": None,
        "ident": [],
        "query": None,
        "method": "scram-sha-256",
        "users": [{"name": "app", "secret": "grün"}, {"name": "nobody", "secret": None}],
    }
    app, rest = document["databases"]
    assert (app["name"], app["cluster"], app["database"], app["password"]) == ("app", "main", "app_v2", "inline")
    assert (app["pool"]["max_size"], app["pool"]["min_idle"], app["pool"]["mode"]) == (50, 2, "transaction")
    assert (rest["name"], rest["user"], rest["password"]) == ("*", "writer", "hunter2")
    assert (rest["pool"]["max_size"], rest["pool"]["min_idle"], rest["pool"]["mode"]) == (5, 2, "session")
    assert (rest["pool"]["max_lifetime_ms"], rest["pool"]["reset_query"]) == (0, "DISCARD ALL")
    assert (rest["pool"]["prepared_statements"], rest["pool"]["server_prepared_bytes"]) == (False, 7)


def test_every_secret_file_that_fails_is_named_at_once(tmp_path: Path) -> None:
    config = ProxyConfig(
        auth=AuthConfig(users_file="users.txt"),
        clusters=(MAIN,),
        databases=(DatabaseConfig(name="a"), DatabaseConfig(name="b", user="b", password_file="b.txt")),
    )

    with pytest.raises(SecretError) as caught:
        engine_snapshot(config, tmp_path)

    assert [problem.field for problem in caught.value.problems] == ["auth.users_file", "databases[1].password_file"]
    assert str(tmp_path / "users.txt") in str(caught.value)


def test_a_changed_secret_is_in_the_next_snapshot(tmp_path: Path) -> None:
    config = ProxyConfig(auth=AuthConfig(users_file=str(tmp_path / "users.txt")), clusters=(MAIN,))
    (tmp_path / "users.txt").write_text('"app" "old"\n')
    before = _snapshot(config)

    (tmp_path / "users.txt").write_text('"app" "new"\n')

    assert [_["auth"]["users"][0]["secret"] for _ in (before, _snapshot(config))] == ["old", "new"]


@pytest.mark.parametrize(("max_size", "most"), [(1, 1), (7, 1), (8, 2), (400, 8)])
def test_open_workers_follow_cpus_and_pools(max_size: int, most: int) -> None:
    config = ProxyConfig(auth=TRUST, clusters=(MAIN,), pool=PoolConfig(max_size=max_size))

    assert worker_count(config) == min(most, cpu_limit())


def test_the_largest_pool_decides_and_a_stated_number_is_kept() -> None:
    large = DatabaseConfig(pool=PoolOverrides(max_size=400))
    config = ProxyConfig(auth=TRUST, clusters=(MAIN,), pool=PoolConfig(max_size=1), databases=(large,))

    assert worker_count(config) == min(8, cpu_limit())
    assert worker_count(config.model_copy(update={"workers": 5})) == 5
