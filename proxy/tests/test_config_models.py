"""The models: strict, frozen, documented, cheap to import, with the defaults that the documentation promises."""

from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import BaseModel, SecretStr, ValidationError

import helios.config
from helios.config import (
    AdminConfig,
    ClusterConfig,
    DatabaseConfig,
    NodeConfig,
    PoolConfig,
    PoolMode,
    PoolOverrides,
    ProxyConfig,
)
from helios.config.base import HeliosModel, is_loopback, join_address, split_address

MODELS = [
    value
    for value in vars(helios.config).values()
    if isinstance(value, type) and issubclass(value, HeliosModel) and value is not HeliosModel
]


def _fields() -> list[tuple[type[BaseModel], str]]:
    return [(model, name) for model in MODELS for name in model.model_fields]


def test_importing_the_configuration_loads_no_engine_and_no_web_framework() -> None:
    modules = "helios.config.loader, helios.config.snapshot, helios.config.reload, helios.cli, helios.commands.check"
    heavy = "helios_core helios.core aiohttp asyncpg yaml asyncio"
    code = f"import sys, {modules}; print([name for name in '{heavy}'.split() if name in sys.modules])"

    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert result.stdout == "[]\n"


@pytest.mark.parametrize(("model", "name"), _fields())
def test_every_field_says_what_it_is(model: type[BaseModel], name: str) -> None:
    description = model.model_fields[name].description

    assert description is not None
    assert description.rstrip().endswith((".", ")", "`"))


@pytest.mark.parametrize("model", MODELS)
def test_every_model_is_frozen_and_closed(model: type[BaseModel]) -> None:
    assert model.model_config["frozen"] is True
    assert model.model_config["extra"] == "forbid"


@pytest.mark.parametrize("value", [True, "5432", 5432.0, None])
def test_integers_are_strict(value: object) -> None:
    with pytest.raises(ValidationError):
        NodeConfig.model_validate({"host": "db", "port": value})


@pytest.mark.parametrize("value", [0, 1, "true"])
def test_flags_are_strict(value: object) -> None:
    with pytest.raises(ValidationError):
        NodeConfig.model_validate({"host": "db", "enabled": value})


@pytest.mark.parametrize("port", [0, -1, 65_536])
def test_ports_stay_in_range(port: int) -> None:
    with pytest.raises(ValidationError):
        NodeConfig(host="db", port=port)


def test_defaults_of_an_empty_configuration() -> None:
    config = ProxyConfig()

    assert (config.listen_address, config.admin.address, config.workers) == ("0.0.0.0:6432", "127.0.0.1:9090", 0)
    assert (config.pool.mode, config.pool.max_size, config.pool.reset_query) == (PoolMode.TRANSACTION, 100, None)
    assert (config.drain.endpoint_delay_seconds, config.drain.timeout_seconds) == (5, 60)
    assert (config.monitor.interval_ms, config.monitor.timeout_ms) == (250, 2_000)
    assert config.limits.max_client_connections == 10_000


def test_a_node_is_named_after_its_address() -> None:
    assert NodeConfig(host="db").name == "db:5432"
    assert NodeConfig(host="::1", port=5433).name == "[::1]:5433"
    assert NodeConfig(host="db", name="first").name == "first"


def test_no_database_means_every_database_on_the_only_cluster() -> None:
    config = ProxyConfig(clusters=(ClusterConfig(name="main", nodes=(NodeConfig(host="db"),)),))

    (entry,) = config.resolved_databases()

    assert (entry.name, entry.cluster, entry.database, entry.user) == ("*", "main", None, None)


def test_a_database_without_a_cluster_is_on_the_only_one() -> None:
    config = ProxyConfig(clusters=(ClusterConfig(name="main"),), databases=(DatabaseConfig(name="app"),))

    assert [entry.cluster for entry in config.resolved_databases()] == ["main"]


def test_overrides_replace_only_what_they_state() -> None:
    pool = PoolConfig(max_size=50, min_idle=5)

    merged = PoolOverrides(mode=PoolMode.SESSION, min_idle=0).over(pool)

    assert merged == PoolConfig(mode=PoolMode.SESSION, max_size=50, min_idle=0)


def test_overrides_cover_every_pool_setting() -> None:
    assert set(PoolOverrides.model_fields) == set(PoolConfig.model_fields)


def test_secrets_are_never_printed() -> None:
    config = ProxyConfig(
        admin=AdminConfig(token=SecretStr("hunter2")),
        databases=(DatabaseConfig(user="app", password=SecretStr("hunter2")),),
    )

    assert "hunter2" not in f"{config!r} {config} {config.model_dump()} {config.model_dump_json()}"


@pytest.mark.parametrize(
    ("address", "parts"),
    [("0.0.0.0:6432", ("0.0.0.0", 6432)), ("[::1]:0", ("::1", 0)), ("db.example:65535", ("db.example", 65535))],
)
def test_addresses_split_and_join(address: str, parts: tuple[str, int]) -> None:
    assert split_address(address) == parts
    assert join_address(*parts) == address


@pytest.mark.parametrize("address", ["", "6432", ":6432", "db", "db:", "db:x", "db:65536", "::1:6432", "db:-1", "db:٣"])
def test_addresses_that_are_none(address: str) -> None:
    with pytest.raises(ValueError, match=r"host:port|brackets"):
        split_address(address)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1:1", True),
        ("127.9.9.9:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
        ("10.0.0.1:1", False),
        ("admin.example:1", False),
    ],
)
def test_loopback_is_told_from_the_rest(address: str, expected: bool) -> None:
    assert is_loopback(address) is expected
