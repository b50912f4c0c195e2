"""The Prometheus text: every promised name, right types and sums, readable by Prometheus' own parser."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from fakes.core import ScriptedControl, cluster_status, engine_state, node, node_status
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from helios.planner.service import PlanCounts
from helios.telemetry.metrics import Exposition, Sample
from helios.topology.catalogs import CatalogCounts


def sample(**changes: Any) -> Sample:
    plain = Sample(
        engine=engine_state(),
        clusters=(cluster_status(),),
        failovers=ScriptedControl().failovers(),
        catalogs=CatalogCounts(kept=1, age_seconds=2.5, reads=4, failures=1),
        plans=PlanCounts(planned=7, refused=2, failed=1),
        generation=4,
        reload_succeeded=True,
        reloaded_at=datetime(2026, 1, 31, 12, 0, tzinfo=UTC),
        draining=False,
    )
    return replace(plain, **changes)


def families(**changes: Any) -> dict[str, Metric]:
    text = Exposition(lambda: sample(**changes)).render().decode()
    return {family.name: family for family in text_string_to_metric_families(text)}


def values(family: Metric) -> dict[tuple[str, ...], float]:
    """Value by the sample's label values."""
    return {tuple(entry.labels.values()): entry.value for entry in family.samples}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("heliosproxy_pool_connections_total", "gauge"),
        ("heliosproxy_pool_connections_active", "gauge"),
        ("heliosproxy_pool_connections_idle", "gauge"),
        ("heliosproxy_pool_acquire_duration_seconds", "histogram"),
        ("heliosproxy_queries", "counter"),
        ("heliosproxy_sessions_pinned", "gauge"),
        ("heliosproxy_session_pins", "counter"),
        ("heliosproxy_plans_kept", "gauge"),
        ("heliosproxy_plans_made", "counter"),
        ("heliosproxy_plans_missed", "counter"),
        ("heliosproxy_plans_refused", "counter"),
        ("heliosproxy_plans_failed", "counter"),
        ("heliosproxy_planner_restarts", "counter"),
        ("heliosproxy_query_duration_seconds", "histogram"),
        ("heliosproxy_node_healthy", "gauge"),
        ("heliosproxy_node_latency_seconds", "gauge"),
        ("heliosproxy_node_replication_lag_bytes", "gauge"),
        ("heliosproxy_node_circuit_state", "gauge"),
        ("heliosproxy_node_circuit_opened", "counter"),
        ("heliosproxy_node_failures", "counter"),
        ("heliosproxy_node_reads_running", "gauge"),
        ("heliosproxy_route", "counter"),
        ("heliosproxy_config_reload_success", "gauge"),
        ("heliosproxy_config_generation", "gauge"),
        ("heliosproxy_failovers", "counter"),
        ("heliosproxy_catalog_databases", "gauge"),
        ("heliosproxy_catalog_age_seconds", "gauge"),
        ("heliosproxy_catalog_reads", "counter"),
        ("heliosproxy_catalog_failures", "counter"),
        ("heliosproxy_promotions", "counter"),
        ("heliosproxy_promotion_refused", "gauge"),
        ("heliosproxy_failover_lease", "gauge"),
        ("heliosproxy_failover_lost_bytes", "gauge"),
        ("heliosproxy_buffer_clients", "gauge"),
        ("process_resident_memory_bytes", "gauge"),
    ],
)
def test_a_promised_name_has_its_type_and_a_help_text(name: str, kind: str) -> None:
    family = families()[name]

    assert family.type == kind
    assert family.documentation


def test_pools_of_one_node_are_summed_under_its_address() -> None:
    found = families()

    assert values(found["heliosproxy_pool_connections_active"]) == {("db-0:5432",): 3, ("db-1:5432",): 0}
    assert values(found["heliosproxy_pool_connections_idle"]) == {("db-0:5432",): 1, ("db-1:5432",): 4}
    assert values(found["heliosproxy_pool_connections_total"]) == {("db-0:5432",): 4, ("db-1:5432",): 4}


def test_choices_of_nodes_by_reason_and_their_circuits() -> None:
    nodes = [node("db-0"), node("db-1", state="open", opened_total=4)]
    found = families(engine=engine_state(nodes=nodes))

    assert values(found["heliosproxy_route"])[("db-1:5432", "read")] == 5
    assert values(found["heliosproxy_node_circuit_state"]) == {("db-0:5432",): 0, ("db-1:5432",): 2}
    assert values(found["heliosproxy_node_circuit_opened"]) == {("db-0:5432",): 0, ("db-1:5432",): 4}
    assert values(found["heliosproxy_node_reads_running"]) == {("db-0:5432",): 2, ("db-1:5432",): 2}


def test_queries_by_type() -> None:
    samples = families()["heliosproxy_queries"].samples

    assert [(entry.name, entry.labels, entry.value) for entry in samples] == [
        ("heliosproxy_queries_total", {"type": "read"}, 20),
        ("heliosproxy_queries_total", {"type": "write"}, 5),
    ]


def test_pinned_sessions_by_reason() -> None:
    assert values(families()["heliosproxy_sessions_pinned"]) == {("advisory_lock",): 2, ("library",): 0}
    assert values(families()["heliosproxy_session_pins"]) == {("advisory_lock",): 3, ("library",): 0}


def test_listening_sessions() -> None:
    found = families()

    names = ("sessions_listening", "listen_connections", "notifications", "listeners_lost")
    assert [found[f"heliosproxy_{name}"].samples[0].value for name in names] == [4, 1, 8, 1]


def test_requests_under_consistency_keys_by_what_redis_said() -> None:
    assert families()["heliosproxy_consistency_key_connections"].samples[0].value == 2
    assert values(families()["heliosproxy_consistency_key_writes"]) == {("true",): 6, ("false",): 1}
    assert values(families()["heliosproxy_consistency_key_reads"]) == {("true",): 9, ("false",): 2}


def test_histograms_are_cumulative() -> None:
    samples = families()["heliosproxy_query_duration_seconds"].samples

    shown = [
        (entry.name.removeprefix("heliosproxy_query_duration_seconds"), entry.labels, entry.value) for entry in samples
    ]
    assert shown == [
        ("_bucket", {"le": "0.001"}, 3),
        ("_bucket", {"le": "0.01"}, 5),
        ("_bucket", {"le": "+Inf"}, 6),
        ("_count", {}, 6),
        ("_sum", {}, 0.5),
    ]


def test_a_node_that_does_not_answer_has_no_latency_and_no_lag() -> None:
    lost = node_status(
        "db-1", healthy=False, latency_ms=None, replication_lag_bytes=None, replication_lag_ms=None, role="unknown"
    )
    cluster = cluster_status()
    found = families(clusters=(replace(cluster, nodes=(cluster.nodes[0], lost)),))

    assert values(found["heliosproxy_node_healthy"]) == {("db-0:5432",): 1, ("db-1:5432",): 0}
    assert values(found["heliosproxy_node_latency_seconds"]) == {("db-0:5432",): 0.0005}
    assert values(found["heliosproxy_node_replication_lag_bytes"]) == {("db-0:5432",): 0}


def test_a_server_in_two_clusters_is_shown_once() -> None:
    cluster = cluster_status()
    found = families(clusters=(cluster, replace(cluster, name="second")))

    assert len(found["heliosproxy_node_healthy"].samples) == len(cluster.nodes)


def test_a_refused_reload_is_a_zero() -> None:
    found = families(reload_succeeded=False)

    assert found["heliosproxy_config_reload_success"].samples[0].value == 0
    assert found["heliosproxy_config_generation"].samples[0].value == 4
    assert "heliosproxy_config_reload_timestamp_seconds" not in found
