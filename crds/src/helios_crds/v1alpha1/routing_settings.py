"""`spec.routing` of a HeliosProxy, and of one of its databases.

A field without a text of its own has text and bounds from `helios.config`.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from helios.config import (
    Consistency,
    ConsistencyKeysConfig,
    ReadStrategy,
    RoutingConfig,
    WorkloadConfig,
    WriteMode,
)
from helios.config.consistency_keys import RedisUrl
from helios.config.workload import Glob
from helios_crds.base import SpecModel
from helios_crds.markers import Rule, atomic, mirrors
from helios_crds.v1alpha1.references import CaRef, PasswordRef

__all__ = ["ConsistencyKeysSpec", "DatabaseRoutingSpec", "RoutingSpec", "WorkloadSpec"]

Globs = Annotated[tuple[Glob, ...], Field(max_length=64)]


class WorkloadSpec(SpecModel):
    """Kinds of reads that nodes of their own answer."""

    oltp_target: Annotated[Globs, atomic()] = ()
    """Nodes that answer reads which are of no other kind, by name; globs (`*`, `?`) name a group. Also one of weight 0,
    which then has nothing else to do. Empty: any standby, where reads are split."""

    olap_target: Annotated[Globs, atomic()] = ()
    """The same for reads that aggregate large tables. Empty: they are reads like others."""

    vector_target: Annotated[Globs, atomic()] = ()
    """The same for reads that search by distances between vectors."""

    cold_target: Annotated[Globs, atomic()] = ()
    """The same for reads of no other kind over tables that are seldom used, where reads are split. Empty: it is not
    counted which are."""

    cold_below_per_minute: Annotated[int | None, mirrors(WorkloadConfig, "cold_below_per_minute")] = None
    temperature_half_life_seconds: Annotated[int | None, mirrors(WorkloadConfig, "temperature_half_life_seconds")] = (
        None
    )

    oltp_patterns: Annotated[Globs, atomic()] = ()
    """Tables whose reads are of no other kind, whatever they do with them: globs over the name, with its schema where
    they hold a dot. Of a statement over tables of several patterns vector goes before OLAP, and that before OLTP."""

    olap_patterns: Annotated[Globs, atomic()] = ()
    """Tables whose reads are OLAP, by the same globs."""

    vector_patterns: Annotated[Globs, atomic()] = ()
    """Tables whose reads are searches by vectors, by the same globs."""

    large_table_rows: Annotated[int | None, mirrors(WorkloadConfig, "large_table_rows")] = None


class ConsistencyKeysSpec(SpecModel):
    """What sessions share that have the same `helios.consistency_key`: they see at least what was written under it, at
    every proxy with the same Redis."""

    rules = (
        Rule(
            "consistency-keys-ca",
            "self.url.startsWith('rediss:') == has(self.caSecretRef)",
            "rediss:// must have caSecretRef, the authorities that Redis' certificate may come from; redis:// must not",
            lambda keys, _old: str(keys.get("url", "")).startswith("rediss:") == ("caSecretRef" in keys),
        ),
    )

    url: RedisUrl
    """The Redis, `redis://[user@]host[:port][/database]`, or `rediss://` for encryption. One process, with
    `maxmemory-policy noeviction` if it has a limit of memory; no Redis Cluster."""

    secret_ref: PasswordRef | None = None
    """Secret with the password of the user that `url` names, or of Redis' default user. Left out: no login."""

    ca_secret_ref: CaRef | None = None
    """Secret with the certificates of the authorities that Redis' certificate may come from."""

    prefix: Annotated[str | None, mirrors(ConsistencyKeysConfig, "prefix")] = None
    ttl_seconds: Annotated[int | None, mirrors(ConsistencyKeysConfig, "ttl_seconds")] = None
    timeout_millis: Annotated[int | None, mirrors(ConsistencyKeysConfig, "timeout_ms")] = None


class RoutingSpec(SpecModel):
    """Which node runs a statement."""

    read_write_split: Annotated[bool | None, mirrors(RoutingConfig, "read_write_split")] = None
    read_strategy: Annotated[ReadStrategy | None, mirrors(RoutingConfig, "read_strategy")] = None
    consistency: Annotated[Consistency | None, mirrors(RoutingConfig, "consistency")] = None
    max_lag_millis: Annotated[int | None, mirrors(RoutingConfig, "max_lag_ms")] = None
    max_lag_bytes: Annotated[int | None, mirrors(RoutingConfig, "max_lag_bytes")] = None
    catch_up_millis: Annotated[int | None, mirrors(RoutingConfig, "catch_up_ms")] = None
    catch_up_after: Annotated[int | None, mirrors(RoutingConfig, "catch_up_after")] = None
    zone: Annotated[str | None, mirrors(RoutingConfig, "zone")] = None
    optimistic: Annotated[bool | None, mirrors(RoutingConfig, "optimistic")] = None
    write_mode: Annotated[WriteMode | None, mirrors(RoutingConfig, "write_mode")] = None
    hints: Annotated[bool | None, mirrors(RoutingConfig, "hints")] = None
    schema_aware: Annotated[bool | None, mirrors(RoutingConfig, "schema_aware")] = None
    workload: WorkloadSpec | None = None
    """Kinds of reads, and the nodes that answer them where `schemaAware` is on."""

    consistency_keys: ConsistencyKeysSpec | None = None
    """The Redis that keeps how far the writes of sessions have come that share a key. Left out: there are no keys."""


def _as_proxy_routes(name: str) -> mirrors:
    return mirrors(RoutingConfig, name, otherwise="as for the whole proxy")


class DatabaseRoutingSpec(SpecModel):
    """Routing of one database. What is left out is as for the whole proxy."""

    read_write_split: Annotated[bool | None, _as_proxy_routes("read_write_split")] = None
    read_strategy: Annotated[ReadStrategy | None, _as_proxy_routes("read_strategy")] = None
    consistency: Annotated[Consistency | None, _as_proxy_routes("consistency")] = None
    max_lag_millis: Annotated[int | None, _as_proxy_routes("max_lag_ms")] = None
    max_lag_bytes: Annotated[int | None, _as_proxy_routes("max_lag_bytes")] = None
    catch_up_millis: Annotated[int | None, _as_proxy_routes("catch_up_ms")] = None
    catch_up_after: Annotated[int | None, _as_proxy_routes("catch_up_after")] = None
    optimistic: Annotated[bool | None, _as_proxy_routes("optimistic")] = None
    write_mode: Annotated[WriteMode | None, _as_proxy_routes("write_mode")] = None
