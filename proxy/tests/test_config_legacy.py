"""Files of the original product load unchanged, or are refused where ignoring them would be unsafe."""

from __future__ import annotations

from pathlib import Path

import pytest

from helios.config import (
    AuthMethod,
    ClientTlsMode,
    Consistency,
    LogFormat,
    LogLevel,
    NodeRole,
    PoolMode,
    PreparedStatements,
)
from helios.config.legacy import IGNORED, NOT_ACTED_ON, REFUSED, RENAMED
from helios.config.loader import Loaded, dumps, load_with_warnings, loads, loads_with_warnings
from helios.errors import ConfigError

FIXTURES = Path(__file__).parent / "fixtures" / "legacy"
NODE = '[[nodes]]\nhost = "db"\n'
LEGACY = 'admin_address = "127.0.0.1:9090"\n'


def _load(name: str) -> Loaded:
    return load_with_warnings(FIXTURES / f"{name}.toml")


def _fields(loaded: Loaded) -> set[str]:
    return {warning.field for warning in loaded.warnings}


@pytest.mark.parametrize("file", sorted(FIXTURES.glob("*.toml")), ids=lambda file: file.stem)
def test_every_file_of_the_original_loads_and_is_written_in_todays_form(file: Path) -> None:
    loaded = load_with_warnings(file)

    today = loads_with_warnings(dumps(loaded.config))

    assert today.config == loaded.config
    assert not any("deprecated" in warning.message for warning in today.warnings)
    assert all(warning.source == str(file) for warning in loaded.warnings)


def test_the_required_keys_of_the_original() -> None:
    loaded = _load("required-keys")

    config = loaded.config
    assert config.listen_address == "0.0.0.0:5432"
    assert (config.pool.mode, config.pool.max_size, config.pool.min_idle) == (PoolMode.SESSION, 100, 2)
    assert (config.monitor.interval_ms, config.monitor.timeout_ms) == (5_000, 3_000)
    assert config.auth.method is AuthMethod.TRUST
    assert [node.name for node in config.clusters[0].nodes] == ["pg-primary:5432", "standby-1"]
    by_field = {warning.field: warning for warning in loaded.warnings}
    assert str(by_field["pool.max_connections"]).endswith(
        "required-keys.toml:9: pool.max_connections: is deprecated, it is pool.max_size now"
    )
    assert "as in the original" in by_field["pool"].message


def test_pass_through_is_called_by_its_name() -> None:
    for text in (LEGACY + NODE, NODE + '[auth]\nmode = "passthrough"\n'):
        loaded = loads_with_warnings(text)

        assert loaded.config.auth.method is AuthMethod.TRUST
        (warning,) = [w for w in loaded.warnings if "pass-through" in w.message]
        assert "without a password" in warning.message
        assert "only servers that trust its address" in warning.message


def test_trust_that_was_asked_for_is_not_warned_of() -> None:
    assert loads_with_warnings('[auth]\nmethod = "trust"\n' + NODE).warnings == ()


def test_the_integration_guide() -> None:
    config = _load("integration-guide").config

    assert config.listen_address == "127.0.0.1:5433"
    assert (config.pool.mode, config.pool.max_size) == (PoolMode.TRANSACTION, 20)
    assert [node.role for node in config.clusters[0].nodes] == [NodeRole.PRIMARY, NodeRole.STANDBY]
    assert {"nodes[1].role", "load_balancer.read_write_split"} <= _fields(_load("integration-guide"))


def test_the_integration_guides_configmap_starts_with_one_warning_about_its_admin_api() -> None:
    loaded = _load("guide-configmap")

    assert loaded.config.admin.address == "0.0.0.0:9090"
    assert [w.field for w in loaded.warnings if "only probes and /metrics" in w.message] == ["admin_address"]
    assert loaded.config.clusters[0].nodes[0].name == "postgres.default.svc:5432"


def test_the_product_page_counts_clients_in_max_connections() -> None:
    config = _load("product-page-pooling").config

    assert config.limits.max_client_connections == 1_000
    assert config.pool.max_size == 100
    assert _load("product-page-cache").config.limits.max_client_connections == 500


def test_features_without_effect_that_protect_nobody_are_one_warning_each() -> None:
    loaded = _load("product-page-cache")

    idle = {w.field for w in loaded.warnings if w.message == "is read but this version does not act on it"}
    assert idle == {"cache.enabled", "ai_cache.enabled", "graphql.enabled"}
    assert loaded.config.routing.schema_aware
    assert [w.line for w in loaded.warnings if w.field == "cache.enabled"] == [9]


@pytest.mark.parametrize(
    "text",
    [
        '[schema_routing]\nenabled = true\nanalytics_node = "db"\n',
        '[routing]\nschema_aware = true\n[routing.workload]\nenabled = true\nolap_target = "db"\n',
    ],
)
def test_the_node_for_analytics_is_a_target(text: str) -> None:
    routing = loads(LEGACY + text + NODE.replace("host", 'name = "db"\nhost')).routing

    assert (routing.schema_aware, routing.workload.olap_target) == (True, ("db",))


def test_a_target_that_names_nobody_is_told() -> None:
    text = '[routing.workload]\nolap_target = "analytics-*"\n'
    unused = loads_with_warnings(LEGACY + text + NODE)
    strange = loads_with_warnings(LEGACY + "[routing]\nschema_aware = true\n" + text + NODE)

    for loaded, words in ((unused, "has no effect without"), (strange, "names no node")):
        (warning,) = (each for each in loaded.warnings if each.field == "routing.workload.olap_target")
        assert words in warning.message


def test_features_that_are_switched_off_are_passed_over() -> None:
    assert not _fields(_load("demo")) & {"plugins.enabled", "tls.enabled", "rate_limit.enabled", "lag_routing_enabled"}


def test_what_the_original_says_of_reads_is_said_of_routing() -> None:
    assert _load("integration-guide").config.routing.read_write_split
    assert not _load("full").config.routing.read_write_split
    demo = _load("demo").config.routing
    assert (demo.max_lag_ms, demo.consistency) == (1_000, Consistency.SESSION)
    lag = loads_with_warnings("ryw_enabled = false\n[lag_routing]\nenabled = true\nmax_lag_bytes = 9\n" + NODE)
    assert (lag.config.routing.max_lag_bytes, lag.config.routing.consistency) == (9, Consistency.BOUNDED)


def test_every_key_that_acts_is_carried_over() -> None:
    loaded = _load("full")

    config = loaded.config
    assert config.admin.token is not None
    assert config.admin.token.get_secret_value() == "s3cret"
    assert config.drain.timeout_seconds == 90
    assert config.pool.model_dump(exclude_unset=True) == {
        "mode": PoolMode.TRANSACTION,
        "max_size": 40,
        "min_idle": 10,
        "idle_timeout_seconds": 600,
        "max_lifetime_seconds": 3_600,
        "acquire_timeout_seconds": 5,
        "reset_query": "DISCARD ALL",
        "prepared_statements": PreparedStatements.TRACK,
    }
    assert config.limits.startup_timeout_seconds == 20
    assert (config.limits.max_prepared_statements, config.limits.max_prepared_bytes) == (4_096, 1_048_576)
    assert config.monitor.failure_threshold == 5
    assert (config.auth.method, config.auth.users_file) == (AuthMethod.SCRAM_SHA_256, str(FIXTURES / "users.txt"))
    assert (config.log.level, config.log.format) == (LogLevel.WARNING, LogFormat.JSON)
    assert [(node.weight, node.enabled) for node in config.clusters[0].nodes] == [(100, True), (50, False)]
    beaten = {w.field for w in loaded.warnings if "has no effect beside pool_mode" in w.message}
    assert {"pool.max_connections", "pool.idle_timeout_secs"} <= beaten


SWITCHED_ON = {
    "agent_contracts": '[[agent_contracts]]\nid = "a"\n',
    "auth.api_key": "[auth.api_key]\nenabled = true\n",
    "auth.api_keys": '[auth.api_keys]\nheader = "X"\n',
    "auth.enabled": "[auth]\nenabled = true\n",
    "auth.jwt": '[auth.jwt]\nenabled = true\nissuer = "x"\n',
    "auth.ldap": "[auth.ldap]\nenabled = true\n",
    "auth.oauth": "[auth.oauth]\nenabled = true\n",
    "hba": '[[hba]]\naction = "reject"\n',
    "multi_tenancy": "[multi_tenancy]\nenabled = true\n",
    "plugins": '[[plugins]]\nname = "llm-guardrail"\n',
    "query_rewrite": "[query_rewrite]\nenabled = true\n",
    "rate_limit": "[rate_limit]\nenabled = true\n",
    "rewriter": "[rewriter.agent_safety]\nenabled = true\n",
    "tenancy": "[tenancy]\nenabled = true\n",
    "tls.require_client_cert": "[tls]\nenabled = false\nrequire_client_cert = true\n",
}


@pytest.mark.parametrize("key", REFUSED)
def test_protection_that_is_switched_on_is_refused(key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loads(LEGACY + SWITCHED_ON[key] + NODE)

    problem = next(p for p in caught.value.problems if p.field.startswith(key))
    assert "is switched on, but this version does not act on it" in problem.message
    assert REFUSED[key] in problem.message
    assert problem.line is not None


@pytest.mark.parametrize("section", ["multi_tenancy", "rate_limit", "plugins", "query_rewrite", "tenancy"])
def test_protection_that_is_switched_off_is_no_matter(section: str) -> None:
    config = loads(LEGACY + f'[{section}]\nenabled = false\nanything = "x"\n' + NODE)

    assert config.auth.method is AuthMethod.TRUST


def test_a_switch_may_come_from_the_environment() -> None:
    with pytest.raises(ConfigError, match=r"rate_limit\.enabled: is switched on"):
        loads(LEGACY + '[rate_limit]\nenabled = "${HELIOS_TEST_UNSET:-true}"\n' + NODE)
    assert loads(LEGACY + '[rate_limit]\nenabled = "${HELIOS_TEST_UNSET:-false}"\n' + NODE).workers == 0


@pytest.mark.parametrize("enabled", ["true", '"${HELIOS_TEST_UNSET:-true}"'])
def test_tls_is_carried_over(enabled: str) -> None:
    files = 'cert_path = "/c.pem"\nkey_path = "/k.pem"\nca_path = "/ca.pem"\n'

    tls = loads(f"{LEGACY}[tls]\nenabled = {enabled}\n{files}{NODE}").tls

    assert (tls.mode, tls.cert_file, tls.key_file) == (ClientTlsMode.ALLOW, "/c.pem", "/k.pem")
    assert loads(f"{LEGACY}[tls]\nenabled = false\n{NODE}").tls.mode is ClientTlsMode.DISABLE


def test_numbers_from_the_environment_are_converted_with_their_unit() -> None:
    config = loads(LEGACY + '[health]\ncheck_interval_secs = "${HELIOS_TEST_UNSET:-7}"\n' + NODE)

    assert config.monitor.interval_ms == 7_000


def test_a_problem_with_an_old_key_names_the_old_key() -> None:
    with pytest.raises(ConfigError) as caught:
        loads(LEGACY + '[pool_mode]\nmode = "transction"\nmax_pool_size = 0\n' + NODE, "proxy.toml")

    assert [(p.line, p.field) for p in caught.value.problems] == [
        (3, "pool_mode.mode"),
        (4, "pool_mode.max_pool_size"),
    ]


def test_an_unknown_key_in_an_old_section_gets_its_nearest_name() -> None:
    with pytest.raises(ConfigError, match=r'health\.check_intervall_secs: .*did you mean "check_interval_secs"'):
        loads(LEGACY + "[health]\ncheck_intervall_secs = 5\n" + NODE)


def test_the_smaller_of_two_pools_bounds_the_idle_ones() -> None:
    text = LEGACY + "[pool]\nmin_connections = 10\nmax_connections = 100\n[pool_mode]\nmax_pool_size = 5\n" + NODE

    assert loads(text).pool.min_idle == 5


def test_an_address_stands_for_host_and_port() -> None:
    loaded = loads_with_warnings(LEGACY + '[[nodes]]\naddress = "[::1]:5433"\n')

    assert loaded.config.clusters[0].nodes[0].name == "[::1]:5433"
    with pytest.raises(ConfigError, match=r"nodes\[0\]\.address: must be host:port"):
        loads(LEGACY + '[[nodes]]\naddress = "db"\n')


def test_a_key_that_stands_where_a_section_belongs_is_said() -> None:
    with pytest.raises(ConfigError, match="must be a table"):
        loads("admin = 5\n" + LEGACY + NODE)


def test_our_own_format_keeps_our_own_defaults() -> None:
    with pytest.raises(ConfigError, match=r"auth\.users_file: is missing"):
        loads("config_version = 1\n" + NODE)
    with pytest.raises(ConfigError, match=r"auth\.users_file: is missing"):
        loads("config_version = 1\n" + LEGACY + NODE)


def test_a_write_mode_counts_where_its_section_is_switched_on() -> None:
    section = '[transparent_write_routing]\nenabled = {}\nsync_mode = "{}"\nforward_timeout_ms = 5000\n'
    pool = "[transparent_write_routing.pool]\nmax_connections = 50\n"

    on = loads_with_warnings(LEGACY + section.format("true", "semisync") + pool + NODE)
    assert on.config.routing.write_mode == "semisync"
    assert ["transparent_write_routing.sync_mode" in str(warning) for warning in on.warnings].count(True) == 1
    assert loads(LEGACY + section.format("false", "sync") + pool + NODE).routing.write_mode is None
    with pytest.raises(ConfigError, match=r"transparent_write_routing\.sync_mode"):
        loads(LEGACY + section.format("true", "never") + NODE)
    with pytest.raises(ConfigError, match="sync_mod"):
        loads(LEGACY + "[transparent_write_routing]\nsync_mod = 1\n" + NODE)


def test_the_tables_do_not_contradict_each_other() -> None:
    names = [*RENAMED, *NOT_ACTED_ON, *IGNORED, *REFUSED]

    assert len(names) == len(set(names))
