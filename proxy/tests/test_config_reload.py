"""What a new configuration changes, and which changes wait for a restart."""

from __future__ import annotations

from typing import Any

import pytest

from helios.config import AdminConfig, ClusterConfig, DrainConfig, NodeConfig, PoolConfig, ProxyConfig
from helios.config.reload import RESTART_FIELDS, ReloadPlan, diff
from helios.config.tree import get, parse_path
from helios.errors import ReloadRefused

OLD = ProxyConfig(generation=4, clusters=(ClusterConfig(name="main", nodes=(NodeConfig(host="a"),)),))


def _with(**changes: Any) -> ProxyConfig:
    return OLD.model_copy(update=changes)


def test_equal_configurations_differ_in_nothing() -> None:
    assert diff(OLD, _with()) == ReloadPlan((), ())
    assert diff(OLD, _with(generation=5)) == ReloadPlan((), ())


def test_live_fields_need_no_restart() -> None:
    clusters = (ClusterConfig(name="main", nodes=(NodeConfig(host="b"),)),)
    new = _with(pool=PoolConfig(max_size=5, min_idle=1), drain=DrainConfig(timeout_seconds=1), clusters=clusters)

    plan = diff(OLD, new)

    assert plan.changed == ("pool.max_size", "pool.min_idle", "clusters", "drain.timeout_seconds")
    assert (plan.restart, plan.live) == ((), plan.changed)


def test_fields_bound_at_start_wait_for_a_restart() -> None:
    addresses = {"listen_address": "0.0.0.0:1", "read_listen_address": "0.0.0.0:2"}
    new = _with(**addresses, workers=3, admin=AdminConfig(address="127.0.0.1:1"), pool=PoolConfig())

    plan = diff(OLD, new)

    assert plan.restart == ("listen_address", "read_listen_address", "workers", "admin.address")
    assert plan.live == ()


def test_restart_fields_exist() -> None:
    tree = OLD.model_dump()

    assert [path for path in RESTART_FIELDS if get(tree, parse_path(path)[:-1] or ("admin",)) is None] == []
    sections = (tree, tree["admin"], tree["handover"], tree["tracing"], tree["failover"])
    assert all(any(parse_path(path)[-1] in section for section in sections) for path in RESTART_FIELDS)


def test_an_older_generation_never_replaces_a_newer_one() -> None:
    with pytest.raises(ReloadRefused, match=r"generation: is 3, lower than the running configuration's 4"):
        diff(OLD, _with(generation=3))
