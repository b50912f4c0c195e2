"""Every setting of PgBouncer 1.25 and what becomes of it; those that its development version has are here as well.

One table a section of pgbouncer.ini. `pgbouncer` acts by them, the guide is generated from them.
"""

from __future__ import annotations

from typing import Final

from helios.config.base import YEAR_SECONDS
from helios.config.foreign.settings import Setting, Table, carried, lost, needless
from helios.config.foreign.values import names, number, rounded, seconds, text, to_words, word

__all__ = ["DATABASES", "PEERS", "PGBOUNCER", "USERS"]


def _folder(written: str) -> str:
    if written.startswith("@"):
        raise ValueError("the name of an abstract socket; Helios makes files, name a folder")
    return written


_MODE = word("session", "transaction", "statement")
_SSLMODE = word("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_AUTH_TYPE = word("any", "trust", "plain", "md5", "scram-sha-256", "cert", "hba", "ldap", "pam")
_ATTRS = word("any", "read-write", "read-only", "primary", "standby")

_FOREVER = f"0 is without end there, {YEAR_SECONDS} seconds (a year) here"
_ONCE = "0 is one use only there, a second here"

_lifetime = rounded(1, _ONCE)
_endless = rounded(YEAR_SECONDS, _FOREVER)

_WAIT = "a client that waited in vain gets error 53300 and stays connected; PgBouncer closes its connection"
_MIN = "so many idle connections are kept ahead; PgBouncer counts those in use as well"
_TIMEOUT = "there is no such time-out; set it in PostgreSQL (ALTER ROLE … SET)"
_NO_CERTIFICATE = "Helios shows servers no certificate; one that demands it refuses the login"
_PROTOCOLS = "Helios speaks TLS 1.2 and 1.3, nothing older, and neither can be switched off"
_NAMES = "names are looked up again every few seconds; see monitor.resolve_seconds"
_KEEPALIVE = "a silent peer is asked after 30 seconds; see [tcp]"
_ALL_TO_PRIMARY = "every new connection goes to the cluster's primary, which is found by asking the nodes"

_QUERY = "it runs on a connection of its own whose search_path is pg_catalog: other names must be qualified"
_HBA = "a line that Helios cannot act on is an error, PgBouncer passes over it"
_ONE_QUERY = "one query looks users up, for all databases: set it in [pgbouncer]"

PGBOUNCER: Final[Table] = {
    "admin_users": carried(names, "console.admin_users"),
    "auth_dbname": carried(text, "auth.query_database"),
    "auth_hba_file": carried(text, "auth.hba_file", note=_HBA),
    "auth_ident_file": carried(text, "auth.ident"),
    "auth_query": carried(text, "auth.query", note=_QUERY),
    "auth_user": carried(text, "auth.query_user"),
    "client_tls_ca_file": carried(text, "tls.client_ca_file"),
    "stats_users": carried(names, "console.stats_users"),
    "application_name_add_host": carried(number, "pool.application_name_add_host", "0", lambda value: (value != 0, "")),
    "auth_file": carried(text, "auth.users_file"),
    "auth_ldap_options": lost(text, "clients are not checked against LDAP", ""),
    "auth_type": carried(_AUTH_TYPE, "auth.method", "md5"),
    "autodb_idle_timeout": needless(seconds, "a pool that nobody uses holds no connection and next to no memory"),
    "cancel_wait_timeout": needless(seconds, "a cancel request waits for no pool"),
    "client_idle_timeout": carried(seconds, "limits.client_idle_timeout_seconds", "0", rounded()),
    "client_login_timeout": carried(seconds, "limits.startup_timeout_seconds", "60", _endless),
    "client_tls13_ciphers": needless(text, "Helios offers the suites of TLS 1.3 that are sound, and no others"),
    "client_tls_cert_file": carried(text, "tls.cert_file"),
    "client_tls_ciphers": needless(text, "Helios offers the suites of TLS 1.2 that are sound, and no others"),
    "client_tls_dheparams": needless(text, "Helios offers no DHE suites"),
    "client_tls_ecdhcurve": needless(text, "Helios offers X25519, P-256 and P-384"),
    "client_tls_key_file": carried(text, "tls.key_file"),
    "client_tls_protocols": lost(text, _PROTOCOLS, "secure"),
    "client_tls_sslmode": carried(
        _SSLMODE, "tls.mode", "disable", to_words({"prefer": "allow", "verify-ca": "require", "verify-full": "require"})
    ),
    "conffile": needless(text, "the file is named on the command line"),
    "default_pool_size": carried(number, "pool.max_size", "20"),
    "disable_pqexec": lost(number, "the simple protocol cannot be switched off", 0, unsafe=True),
    "dns_max_ttl": needless(seconds, _NAMES),
    "dns_nxdomain_ttl": needless(seconds, _NAMES),
    "dns_zone_check_period": needless(seconds, _NAMES),
    "idle_transaction_timeout": carried(seconds, "limits.idle_transaction_timeout_seconds", "0", rounded()),
    "ignore_startup_parameters": needless(text, "startup parameters are set on the server, as without a pooler"),
    "job_name": needless(text, "it is for Windows services"),
    "listen_addr": carried(text, "listen_address"),
    "listen_backlog": needless(number, "the backlog is 4096, or what the system allows"),
    "listen_port": carried(number, "listen_address", "6432"),
    "log_connections": needless(number, "logins are counted in /metrics, not logged"),
    "log_disconnections": needless(number, "clients are counted in /metrics, their ends are not logged"),
    "log_pooler_errors": needless(number, "errors go to the client; the log has what its operator can act on"),
    "log_stats": needless(number, "the figures are in /metrics"),
    "logfile": needless(text, "the log goes to stderr, for the service manager to keep"),
    "login_notify_message": lost(text, "clients are not greeted", ""),
    "max_client_conn": carried(number, "limits.max_client_connections", "100"),
    "max_db_client_connections": carried(number, "limits.max_database_client_connections", "0"),
    "max_db_connections": carried(number, "limits.max_database_server_connections", "0"),
    "max_packet_size": lost(number, "messages of any size pass, in bounded memory", 2147483647),
    "max_prepared_statements": carried(
        number,
        "pool.prepared_statements",
        "200",
        lambda value: ("track" if value else "disable", ""),
        "a server connection is bounded by bytes of text (limits.server_prepared_bytes), not by a number",
    ),
    "max_user_client_connections": carried(number, "limits.max_user_client_connections", "0"),
    "max_user_connections": carried(number, "limits.max_user_server_connections", "0"),
    "min_pool_size": carried(number, "pool.min_idle", "0", note=_MIN),
    "peer_id": lost(number, "cancel requests work within one process, which uses all cores", 0),
    "pidfile": needless(text, "Helios stays in the foreground; its service manager knows the process"),
    "pkt_buf": needless(number, "buffers have one size"),
    "pool_idle_timeout": needless(seconds, "a pool that nobody uses holds no connection and next to no memory"),
    "pool_mode": carried(_MODE, "pool.mode", "session"),
    "query_timeout": carried(seconds, "limits.query_timeout_seconds", "0", rounded()),
    "query_wait_notify": lost(number, "waiting clients get no notice", 0),
    "query_wait_timeout": carried(seconds, "pool.acquire_timeout_seconds", "120", _endless, _WAIT),
    "reserve_pool_size": carried(number, "pool.reserve_size", "0"),
    "reserve_pool_timeout": carried(seconds, "pool.reserve_timeout_seconds", "5", _endless),
    "resolv_conf": lost(text, "names are resolved as the system says", ""),
    "sbuf_loopcnt": needless(number, "clients take turns by themselves"),
    "scram_iterations": needless(number, "plain passwords are proven with 4096 iterations"),
    "server_check_delay": needless(seconds, "dead servers are noticed by their sockets and by polling the nodes"),
    "server_check_query": needless(text, "dead servers are noticed by their sockets and by polling the nodes"),
    "server_connect_timeout": carried(seconds, "limits.connect_timeout_seconds", "15", _endless),
    "server_fast_close": lost(number, "a session keeps its server connection until it ends", 0),
    "server_idle_timeout": carried(seconds, "pool.idle_timeout_seconds", "600", rounded()),
    "server_lifetime": carried(seconds, "pool.max_lifetime_seconds", "3600", _lifetime),
    "server_login_retry": needless(seconds, "clients wait while a node is away; polling says when it is back"),
    "server_reset_query": carried(text, "pool.reset_query", "DISCARD ALL"),
    "server_reset_query_always": carried(number, "pool.reset_query", "0"),
    "server_round_robin": lost(number, "the server connection that was used last is taken first", 0),
    "server_tls13_ciphers": needless(text, "Helios offers the suites of TLS 1.3 that are sound, and no others"),
    "server_tls_ca_file": carried(text, "clusters[].tls.ca_file"),
    "server_tls_cert_file": lost(text, _NO_CERTIFICATE, ""),
    "server_tls_ciphers": needless(text, "Helios offers the suites of TLS 1.2 that are sound, and no others"),
    "server_tls_key_file": lost(text, _NO_CERTIFICATE, ""),
    "server_tls_protocols": lost(text, _PROTOCOLS, "secure"),
    "server_tls_sslmode": carried(
        _SSLMODE,
        "clusters[].tls.mode",
        "prefer",
        to_words({"allow": "prefer"}, allow="allow tries without encryption first, prefer with it"),
    ),
    "service_name": needless(text, "it is for Windows services"),
    "so_reuseport": needless(number, "one process uses all cores"),
    "stats_period": needless(number, "/metrics holds counters; who reads them makes averages"),
    "suspend_timeout": needless(seconds, "there is no SUSPEND"),
    "syslog": lost(number, "the log goes to stderr, for the service manager to keep", 0),
    "syslog_facility": needless(text, "the log goes to stderr"),
    "syslog_ident": needless(text, "the log goes to stderr"),
    "tcp_defer_accept": needless(number, "a client that says nothing costs next to nothing"),
    "tcp_keepalive": needless(number, "keepalive is on for every connection"),
    "tcp_keepcnt": lost(number, _KEEPALIVE, 0),
    "tcp_keepidle": lost(number, _KEEPALIVE, 0),
    "tcp_keepintvl": lost(number, _KEEPALIVE, 0),
    "tcp_socket_buffer": needless(number, "the system sizes the buffers of sockets"),
    "tcp_user_timeout": carried(number, "tcp.user_timeout_ms", "0"),
    "track_extra_parameters": needless(text, "every parameter that a client sets follows it"),
    "transaction_timeout": lost(seconds, _TIMEOUT, 0),
    "unix_socket_dir": carried(_folder, "unix_socket_dir", note="where it is not written, Helios listens by TCP only"),
    "unix_socket_group": lost(text, "the file belongs to the group that Helios runs as", ""),
    "unix_socket_mode": carried(text, "unix_socket_mode", "0777"),
    "user": needless(text, "start Helios as the user it shall run as"),
    "verbose": carried(number, "log.level", "0", lambda value: ("debug" if value > 0 else "info", "")),
}
"""`[pgbouncer]`."""


def _own(note: str) -> Setting:
    return lost(text, f"{note}; set it in PostgreSQL (ALTER DATABASE … SET)")


DATABASES: Final[Table] = {
    **{name: lost(text, _ONE_QUERY) for name in ("auth_user", "auth_query", "auth_dbname")},
    "application_name": _own("connections are not named by the database entry"),
    "client_encoding": _own("no encoding is set for a database"),
    "connect_query": lost(text, "no statement is run when a server connection is opened", unsafe=True),
    "datestyle": _own("no style is set for a database"),
    "dbname": carried(text, "database"),
    "host": carried(text, "cluster"),
    "load_balance_hosts": needless(word("round-robin", "disable"), _ALL_TO_PRIMARY),
    "max_db_client_connections": carried(number, "max_client_connections"),
    "max_db_connections": carried(number, "max_server_connections"),
    "min_pool_size": carried(number, "pool.min_idle", note=_MIN),
    "password": carried(text, "password"),
    "pool_mode": carried(_MODE, "pool.mode"),
    "pool_size": carried(number, "pool.max_size"),
    "port": carried(number, "cluster", "5432"),
    "query_wait_timeout": carried(seconds, "pool.acquire_timeout_seconds", convert=_endless, note=_WAIT),
    "reserve_pool": carried(number, "pool.reserve_size"),
    "reserve_pool_size": carried(number, "pool.reserve_size"),
    "server_lifetime": carried(seconds, "pool.max_lifetime_seconds", convert=_lifetime),
    "target_session_attrs": lost(
        _ATTRS,
        "every statement goes to the primary, so writes would not be refused",
        "any",
        "read-write",
        "primary",
        unsafe=True,
    ),
    "timezone": _own("no time zone is set for a database"),
    "user": carried(text, "user"),
}
"""Connection strings of `[databases]`; our keys are below `[[databases]]`."""

_PER_USER = "pools are set per database, not per user"

USERS: Final[Table] = {
    "client_idle_timeout": carried(seconds, "client_idle_timeout_seconds", convert=rounded()),
    "idle_transaction_timeout": carried(seconds, "idle_transaction_timeout_seconds", convert=rounded()),
    "max_user_client_connections": carried(number, "max_client_connections"),
    "max_user_connections": carried(number, "max_server_connections"),
    "pool_mode": lost(_MODE, _PER_USER),
    "pool_size": carried(number, "max_pool_size"),
    "query_timeout": carried(seconds, "query_timeout_seconds", convert=rounded()),
    "query_wait_timeout": lost(seconds, _PER_USER),
    "reserve_pool_size": lost(number, _PER_USER, 0),
    "transaction_timeout": lost(seconds, _TIMEOUT, 0),
}
"""Settings of `[users]`; our keys are below `[[users]]`."""

_PEER = "cancel requests are not passed to other processes; one process uses all cores"

PEERS: Final[Table] = {
    "host": lost(text, _PEER),
    "pool_size": lost(number, _PEER),
    "port": lost(number, _PEER),
}
"""Connection strings of `[peers]`."""
