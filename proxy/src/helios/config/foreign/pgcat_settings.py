"""Every setting of PgCat 1.2 and what becomes of it, one table a section of pgcat.toml.

`pgcat` acts by them, the guide is generated from them. Times are in milliseconds there, save where a name says else.
"""

from __future__ import annotations

from typing import Final

from helios.config.base import YEAR_SECONDS
from helios.config.foreign.settings import Table, carried, lost, needless
from helios.config.foreign.values import anything, flag, integer, ms_to_seconds, of_type, word

__all__ = ["GENERAL", "PLUGINS", "POOL", "SHARD", "USER"]

_text = of_type(str, "a string in quotes")
_list = of_type(list, "a list")
_table = of_type(dict, "a table")
_MODE = word("session", "transaction")
_AUTH = word("trust", "md5")

_FOREVER = f"0 is without end there, {YEAR_SECONDS} seconds (a year) here"
_lifetime = ms_to_seconds()
_endless = ms_to_seconds(YEAR_SECONDS, _FOREVER)

_PARSED = "every statement is planned"
_STANDBYS = "reads go to standbys where there are any that are fresh enough"
_FRESH = "no read is older than what its session has written, see routing.consistency"
_POLLED = "each node is polled, see [monitor]"
_QUERY = "it is asked for users that are not here too, and the search_path is pg_catalog: other names must be qualified"
_ONE_QUERY = "one query looks users up, for all pools: set it in [general]"
_CONSOLE = "the console is the database pgbouncer, and its users are users like all others"
_METRICS = "/metrics is a path of the admin API, which listens there"
_RESOLVED = "names are resolved whenever a connection is opened"
_KEEPALIVE = "a silent peer is asked after 30 seconds"
_TIMEOUT = "users belong to no pool here; write query_timeout_seconds in [[users]]"
_PER_USER = "pools are set per database, not per user"
_SHARDS = "Helios does not shard"

GENERAL: Final[Table] = {
    "admin_auth_type": lost(_AUTH, "who uses the console proves it as everybody does", "md5"),
    "admin_password": carried(_text, "auth.users_file"),
    "admin_username": carried(_text, "console.admin_users", "", lambda name: ([name], ""), _CONSOLE),
    "auth_query": carried(_text, "auth.query", "", lambda sql: (sql.replace("'$1'", "$1"), ""), _QUERY),
    "auth_query_password": carried(_text, "auth.query_password"),
    "auth_query_user": carried(_text, "auth.query_user"),
    "autoreload": carried(anything, "watch.interval_ms"),
    "ban_time": needless(integer, _POLLED),
    "connect_timeout": carried(integer, "pool.acquire_timeout_seconds", "1000", _endless),
    "dns_cache_enabled": needless(flag, _RESOLVED),
    "dns_max_ttl": needless(integer, _RESOLVED),
    "enable_prometheus_exporter": carried(flag, "admin.address", note=_METRICS),
    "healthcheck_delay": needless(integer, _POLLED),
    "healthcheck_timeout": needless(integer, _POLLED),
    "host": carried(_text, "listen_address", "0.0.0.0"),
    "idle_client_in_transaction_timeout": carried(
        integer, "limits.idle_transaction_timeout_seconds", "0", ms_to_seconds()
    ),
    "idle_timeout": carried(integer, "pool.idle_timeout_seconds", "600000", _lifetime),
    "log_client_connections": needless(flag, "logins are counted in /metrics, not logged"),
    "log_client_disconnections": needless(flag, "clients are counted in /metrics, their ends are not logged"),
    "port": carried(integer, "listen_address", "5432"),
    "prometheus_exporter_port": carried(integer, "admin.address", "9930"),
    "server_lifetime": carried(integer, "pool.max_lifetime_seconds", "3600000", _lifetime),
    "server_round_robin": needless(flag, "the server connection that was used last is taken first"),
    "server_tls": carried(flag, "clusters[].tls.mode", "false"),
    "shutdown_timeout": carried(integer, "drain.timeout_seconds", "60000", ms_to_seconds()),
    "tcp_keepalives_count": lost(integer, _KEEPALIVE, 0),
    "tcp_keepalives_idle": lost(integer, _KEEPALIVE, 0),
    "tcp_keepalives_interval": lost(integer, _KEEPALIVE, 0),
    "tcp_user_timeout": lost(integer, "a peer that acknowledges nothing for 60 seconds is given up", 0),
    "tls_certificate": carried(_text, "tls.cert_file"),
    "tls_private_key": carried(_text, "tls.key_file"),
    "validate_config": needless(flag, "a configuration is always checked; the nodes are polled from the start"),
    "verify_server_certificate": lost(
        flag, "the authorities to trust must be named: set clusters.tls mode and ca_file", False, unsafe=True
    ),
    "worker_threads": carried(integer, "workers"),
}
"""`[general]`."""

POOL: Final[Table] = {
    "auth_query": lost(_text, _ONE_QUERY),
    "auth_query_password": lost(_text, _ONE_QUERY),
    "auth_query_user": lost(_text, _ONE_QUERY),
    "automatic_sharding_key": lost(_text, _SHARDS, unsafe=True),
    "checkout_failure_limit": lost(integer, "a client that waits in vain again and again is not closed", 0),
    "cleanup_server_connections": lost(flag, "what a client changed on a server is always undone", True),
    "connect_timeout": carried(integer, "databases[].pool.acquire_timeout_seconds", convert=_endless),
    "db_activity_based_routing": needless(flag, _FRESH),
    "db_activity_init_delay": needless(integer, _FRESH),
    "db_activity_ttl": needless(integer, _FRESH),
    "default_role": carried(
        word("any", "primary", "replica"),
        "databases[].role",
        convert=lambda role: ("standby" if role == "replica" else "primary", ""),
    ),
    "default_shard": lost(_text, _SHARDS, "shard_0"),
    "idle_timeout": carried(integer, "databases[].pool.idle_timeout_seconds", convert=_lifetime),
    "load_balancing_mode": carried(
        word("random", "loc", "least_outstanding_connections"),
        "databases[].routing.read_strategy",
        convert=lambda mode: ("random" if mode == "random" else "least_connections", ""),
    ),
    "log_client_parameter_status_changes": needless(flag, "parameters follow the client, which is not logged"),
    "plugins": lost(_table, "there are no plugins in this version", unsafe=True),
    "pool_mode": carried(_MODE, "databases[].pool.mode", "transaction"),
    "prepared_statements_cache_size": carried(
        integer,
        "databases[].pool.prepared_statements",
        "0",
        lambda value: ("track" if value else "disable", ""),
        "a server connection is bounded by bytes of text (limits.server_prepared_bytes), not by a number",
    ),
    "primary_reads_enabled": needless(flag, _STANDBYS),
    "query_parser_enabled": needless(flag, _PARSED),
    "query_parser_max_length": needless(integer, _PARSED),
    "query_parser_read_write_splitting": carried(flag, "databases[].routing.read_write_split"),
    "regex_search_limit": needless(integer, _SHARDS),
    "server_lifetime": carried(integer, "databases[].pool.max_lifetime_seconds", convert=_lifetime),
    "shard_id_regex": lost(_text, _SHARDS, unsafe=True),
    "sharding_function": needless(_text, _SHARDS),
    "sharding_key_regex": lost(_text, _SHARDS, unsafe=True),
    "shards": carried(_table, "clusters[]"),
    "table_mutation_cache_ms_ttl": needless(integer, _FRESH),
    "users": carried(_table, "auth.users_file"),
}
"""`[pools.<name>]`."""

USER: Final[Table] = {
    "auth_type": carried(_AUTH, "auth.method", "md5"),
    "connect_timeout": lost(integer, _PER_USER),
    "idle_timeout": lost(integer, _PER_USER),
    "min_pool_size": carried(
        integer, "databases[].pool.min_idle", note="so many idle connections are kept ahead; PgCat counts those in use"
    ),
    "password": carried(_text, "auth.users_file"),
    "pool_mode": lost(_MODE, _PER_USER),
    "pool_size": carried(integer, "databases[].pool.max_size"),
    "server_lifetime": lost(integer, _PER_USER),
    "server_password": carried(_text, "databases[].password"),
    "server_username": carried(_text, "databases[].user"),
    "statement_timeout": lost(integer, _TIMEOUT, 0),
    "username": carried(_text, "auth.users_file"),
}
"""`[pools.<name>.users.<number>]`."""

SHARD: Final[Table] = {
    "database": carried(_text, "databases[].database"),
    "mirrors": lost(_list, "traffic is not mirrored in this version", []),
    "servers": carried(_list, "clusters[].nodes"),
}
"""`[pools.<name>.shards.<number>]`."""

PLUGINS: Final = POOL["plugins"]
"""`[plugins]`, which holds for all pools."""
