"""HeliosProxy + references → configuration: precedence, secrets as paths, and what is never passed over in silence."""

from pathlib import PurePosixPath
from typing import Any

from helios.config import (
    ClusterConfig,
    ConsistencyKeysConfig,
    NodeConfig,
    NodeRole,
    PoolConfig,
    PoolMode,
    ProxyConfig,
    RoutingRuleConfig,
    TransactionReplayConfig,
)
from helios_crds import API_VERSION, KINDS, HeliosProxy, Reason, Severity, parse_as
from helios_crds.placement import Placement
from helios_crds.pool_settings import names_of
from helios_crds.problems import Problem
from helios_crds.render import Discovery, References, RenderResult, render
from helios_crds.v1alpha1.settings import PoolSpec
from helios_crds.workload import workload

NODES = [{"host": "db-0", "role": "primary"}, {"host": "db-1", "port": 5433, "weight": 50}]


def make(kind: str, spec: dict[str, Any], name: str = "web") -> Any:
    return parse_as(KINDS[kind], {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec})


def proxy(**spec: Any) -> HeliosProxy:
    made: HeliosProxy = make("HeliosProxy", {"nodes": NODES, "auth": {"usersSecretRef": {"name": "users"}}, **spec})
    return made


def config_of(result: RenderResult) -> ProxyConfig:
    assert result.config is not None, [str(problem) for problem in result.problems]
    return result.config


def told(result: RenderResult) -> list[tuple[str, Reason, Severity]]:
    return [(problem.field, problem.reason, problem.severity) for problem in result.problems]


def test_smallest_proxy_is_rendered_for_a_pod() -> None:
    result = render(proxy(), References())

    config = config_of(result)
    assert not result.problems
    assert config.listen_address == ProxyConfig().listen_address
    assert config.admin.address == "0.0.0.0:9090"
    assert config.admin.token_file == "/etc/heliosproxy/admin/token"
    assert config.auth.users_file == "/etc/heliosproxy/secrets/users/users.txt"
    assert config.clusters == (
        ClusterConfig(
            name="main",
            nodes=(
                NodeConfig(host="db-0", port=5432, role=NodeRole.PRIMARY),
                NodeConfig(host="db-1", port=5433, weight=50),
            ),
        ),
    )
    assert config.pool == PoolConfig()


def test_same_input_gives_the_same_configuration() -> None:
    references = References.among([make("PoolProfile", {"maxPoolSize": 7}, "small")])
    subject = proxy(poolProfileRef={"name": "small"}, databases=[{"name": "b"}, {"name": "a"}])

    assert render(subject, references) == render(subject, references)


def test_inline_goes_before_profile_and_profile_before_default() -> None:
    profile = make("PoolProfile", {"mode": "session", "maxPoolSize": 200, "resetQuery": "DISCARD ALL"}, "high-tps")
    subject = proxy(pool={"maxConnections": 20, "minConnections": 5}, poolProfileRef={"name": "high-tps"})

    result = render(subject, References.among([profile]))

    pool = config_of(result).pool
    assert (pool.max_size, pool.min_idle, pool.mode, pool.reset_query) == (20, 5, PoolMode.SESSION, "DISCARD ALL")
    entries = [setting.as_status() for setting in result.effective]
    status = {entry["field"]: (entry["value"], entry["source"]) for entry in entries}
    assert status == {
        "pool.mode": ("session", "PoolProfile/high-tps"),
        "pool.minConnections": ("5", "spec"),
        "pool.maxConnections": ("20", "spec"),
        "pool.reserveConnections": ("0", "default"),
        "pool.reserveTimeoutSeconds": ("5", "default"),
        "pool.idleTimeoutSeconds": ("300", "default"),
        "pool.maxLifetimeSeconds": ("1800", "default"),
        "pool.acquireTimeoutSeconds": ("30", "default"),
        "pool.preparedStatementMode": ("track", "default"),
        "pool.resetQuery": ("DISCARD ALL", "PoolProfile/high-tps"),
        "pool.applicationNameAddHost": ("false", "default"),
        "pool.pinNotices": ("false", "default"),
    }
    HeliosProxy.model_validate({**subject.model_dump(by_alias=True), "status": {"effective": entries}})


def test_every_setting_of_the_pool_is_effective() -> None:
    assert names_of(PoolSpec).keys() == PoolConfig.model_fields.keys()


def test_missing_pool_profile_is_told_and_inline_values_go_on() -> None:
    result = render(proxy(pool={"maxConnections": 20}, poolProfileRef={"name": "gone"}), References())

    assert config_of(result).pool.max_size == 20
    assert told(result) == [("spec.poolProfileRef", Reason.REF_MISSING, Severity.WARNING)]
    assert "PoolProfile/gone does not exist" in str(result.problems[0])


def test_missing_policy_forbids_a_configuration() -> None:
    subject = proxy(
        auditPolicyRef={"name": "pci"}, routingRuleRefs=[{"name": "bi"}], tenantQuotaRefs=[{"name": "acme"}]
    )

    result = render(subject, References())

    assert result.config is None
    assert told(result) == [
        ("spec.auditPolicyRef", Reason.REF_MISSING, Severity.ERROR),
        ("spec.routingRuleRefs[0]", Reason.REF_MISSING, Severity.ERROR),
        ("spec.tenantQuotaRefs[0]", Reason.REF_MISSING, Severity.ERROR),
    ]


def test_policy_that_this_version_does_not_honour_forbids_a_configuration() -> None:
    audit = make("AuditPolicy", {"backend": {"type": "s3", "bucket": "records", "region": "eu"}}, "pci")
    quota = make("TenantQuota", {"maxQueriesPerMinute": 600}, "acme")

    for subject, friend in (
        (proxy(auditPolicyRef={"name": "pci"}), audit),
        (proxy(tenantQuotaRefs=[{"name": "acme"}]), quota),
        (proxy(features={"auditChain": True}), audit),
        (proxy(features={"rateLimiting": True}), audit),
        (proxy(plugins={"enabled": True}), audit),
    ):
        result = render(subject, References.among([friend]))
        assert result.config is None
        assert [problem.reason for problem in result.errors] == [Reason.NOT_ACTED_ON]


def test_what_only_slows_down_is_a_warning() -> None:
    result = render(proxy(features={"queryCache": True}), References())

    assert result.config is not None
    assert [problem.severity for problem in result.problems] == [Severity.WARNING]


def test_rules_may_go_by_every_word_of_the_contract() -> None:
    words = ["primary", "standby", "sync", "semisync", "async", "any", "nearest", "vector"]
    rules = [make("RoutingRule", {"match": {"queryPattern": "x"}, "route": word}, word) for word in words]
    subject = proxy(routingRuleRefs=[{"name": word} for word in words], routing={"writeMode": "semisync"})

    result = render(subject, References.among(rules))

    routing = config_of(result).routing
    assert [(rule.name, rule.route) for rule in routing.rules] == list(zip(words, words, strict=True))
    assert routing.write_mode == "semisync"
    assert not result.problems


def test_consistency_keys_have_their_secrets_as_files() -> None:
    keys = {
        "url": "rediss://app@redis:6380/2",
        "secretRef": {"name": "login"},
        "caSecretRef": {"name": "trusted"},
        "prefix": "shop:",
        "ttlSeconds": 30,
        "timeoutMillis": 100,
    }
    result = render(proxy(routing={"consistencyKeys": keys}), References())

    made = config_of(result).routing.consistency_keys
    named = {file.field: file.path for file in result.secret_files}
    assert made == ConsistencyKeysConfig(
        url="rediss://app@redis:6380/2",
        password_file=named["spec.routing.consistencyKeys.secretRef"],
        ca_file=named["spec.routing.consistencyKeys.caSecretRef"],
        prefix="shop:",
        ttl_seconds=30,
        timeout_ms=100,
    )


def test_faults_of_consistency_keys_are_told_of_their_fields() -> None:
    split = {"readWriteSplit": True, "consistencyKeys": {"url": "redis://redis", "ttlSeconds": 19}}

    result = render(proxy(routing=split), References())

    assert [problem.field for problem in result.errors] == ["spec.routing.consistencyKeys.ttlSeconds"]


def test_rules_are_tried_in_the_order_of_their_references() -> None:
    reports = make("RoutingRule", {"match": {"applicationName": ["r*", "b?"]}, "route": "standby", "node": "n"}, "one")
    match = {"applicationName": ["x"], "queryPattern": "from t"}
    pinned = make("RoutingRule", {"match": match, "route": "primary", "consistency": "strong"}, "two")
    bounded = make(
        "RoutingRule", {"match": match, "route": "any", "consistency": "bounded", "maxLagMillis": 9}, "three"
    )
    refs = [{"name": name} for name in ("three", "one", "two")]

    config = config_of(render(proxy(routingRuleRefs=refs), References.among([reports, pinned, bounded])))

    assert config.routing.rules == (
        RoutingRuleConfig(
            name="three",
            application_name=("x",),
            query_pattern="from t",
            route="any",
            consistency="bounded",
            max_lag_ms=9,
        ),
        RoutingRuleConfig(name="one", application_name=("r*", "b?"), route="standby", node="n"),
        RoutingRuleConfig(
            name="two", application_name=("x",), query_pattern="from t", route="primary", consistency="strong"
        ),
    )
    assert not config.routing.read_write_split
    assert config.routing.reads_hints


def test_switches_that_are_off_say_nothing() -> None:
    features = {"tr": False, "queryCache": False, "rateLimiting": False, "auditChain": False, "poolModes": True}
    subject = proxy(features=features, plugins={"enabled": False, "pluginDir": "/plugins"})

    result = render(subject, References())

    assert not result.problems
    assert config_of(result) == config_of(render(proxy(), References()))


def test_the_switch_goes_before_the_block_of_transaction_replay() -> None:
    cursors = {"holdableCursors": True, "maxCursors": 7, "tempTableMaxBytes": 5000, "mutables": "allow_unseen"}
    block = {"enabled": True, "notices": True, "journal": {"maxEntries": 9}, **cursors}

    on = config_of(render(proxy(transactionReplay=block), References())).transaction_replay
    off = config_of(render(proxy(transactionReplay=block, features={"tr": False}), References())).transaction_replay
    switched = config_of(render(proxy(features={"tr": True}), References())).transaction_replay

    assert (on.enabled, on.notices, on.journal.max_entries) == (True, True, 9)
    assert (on.holdable_cursors, on.max_cursors, on.temp_table_max_bytes) == (True, 7, 5000)
    assert on.mutables == "allow_unseen"
    assert off == on.model_copy(update={"enabled": False})
    assert switched == TransactionReplayConfig(enabled=True)


def test_pool_modes_off_is_session_mode_whatever_the_profile_says() -> None:
    profile = make("PoolProfile", {"mode": "statement"}, "p")
    subject = proxy(features={"poolModes": False}, poolProfileRef={"name": "p"})

    result = render(subject, References.among([profile]))

    assert config_of(result).pool.mode is PoolMode.SESSION
    assert result.effective[0].source == "features.poolModes"


def test_secrets_are_paths_and_their_keys_are_checked() -> None:
    subject = proxy(
        databases=[{"name": "app", "user": "app", "passwordSecretRef": {"name": "app-db", "key": "pw"}}],
        monitor={"user": "watch", "secretRef": {"name": "watch"}},
    )
    local = Placement.local(PurePosixPath("/data/secrets"), listen_port=15432, admin_port=0)

    result = render(
        subject, References(secrets={"app-db": ["pw"], "watch": ["password"], "users": ["users.txt"]}), local
    )
    missing = render(subject, References(secrets={"app-db": ["password"], "users": ["users.txt"]}), local)

    config = config_of(result)
    assert config.databases[0].password_file == "/data/secrets/app-db/pw"
    assert config.monitor.password_file == "/data/secrets/watch/password"
    assert config.listen_address == "127.0.0.1:15432"
    assert config.admin.address == "127.0.0.1:0"
    assert config.admin.token_file is None
    assert [(file.secret, file.key, file.path) for file in result.secret_files] == [
        ("app-db", "pw", "/data/secrets/app-db/pw"),
        ("users", "users.txt", "/data/secrets/users/users.txt"),
        ("watch", "password", "/data/secrets/watch/password"),
    ]
    assert missing.config is None
    assert [(p.field, p.reason, p.message) for p in missing.problems] == [
        ("spec.databases[0].passwordSecretRef", Reason.REF_MISSING, "Secret/app-db has no key pw"),
        ("spec.monitor.secretRef", Reason.REF_MISSING, "Secret/watch does not exist in this namespace"),
    ]


def test_no_backend_is_discovery_of_the_service_named_after_the_proxy() -> None:
    subject = make("HeliosProxy", {"auth": {"method": "trust"}})
    found = NodeConfig(host="10.0.0.7", port=5432)

    empty = render(subject, References())
    filled = render(subject, References(discovered={"main": (found,)}))

    assert empty.discoveries == filled.discoveries == (Discovery("main", "web-backends"),)
    assert told(empty) == [("spec.nodes", Reason.BACKENDS_MISSING, Severity.ERROR)]
    assert config_of(filled).clusters == (ClusterConfig(name="main", nodes=(found,)),)


def test_several_clusters_and_databases() -> None:
    clusters = [
        {"name": "orders", "nodes": NODES},
        {"name": "search", "discovery": {"serviceName": "search-db"}},
    ]
    databases = [
        {"name": "orders", "cluster": "orders", "pool": {"mode": "session", "maxConnections": 5}},
        {"name": "*", "cluster": "search", "database": "all"},
    ]
    subject = make("HeliosProxy", {"auth": {"method": "trust"}, "clusters": clusters, "databases": databases})

    result = render(subject, References(discovered={"search": (NodeConfig(host="10.0.0.9"),)}))

    config = config_of(result)
    assert result.discoveries == (Discovery("search", "search-db"),)
    assert [cluster.name for cluster in config.clusters] == ["orders", "search"]
    assert [(d.name, d.cluster, d.database, d.pool.max_size) for d in config.databases] == [
        ("orders", "orders", None, 5),
        ("*", "search", "all", None),
    ]
    missing = render(subject, References())
    assert told(missing) == [("spec.clusters[1].discovery", Reason.BACKENDS_MISSING, Severity.ERROR)]


def test_a_cluster_that_somebody_else_looks_after_is_named_by_what_he_calls_it() -> None:
    clusters = [
        {"name": name, "provider": name, "discovery": {"clusterName": "pg"}}
        for name in ("cloudnativepg", "crunchy", "patroni", "zalando")
    ]
    databases = [{"name": cluster["name"], "cluster": cluster["name"]} for cluster in clusters]
    subject = make("HeliosProxy", {"auth": {"method": "trust"}, "clusters": clusters, "databases": databases})

    result = render(subject, References(undiscovered={"crunchy": "it is asleep"}))

    assert [each.source for each in result.discoveries] == [
        "CloudNativePG's Cluster/pg",
        "Crunchy's PostgresCluster/pg",
        "Patroni's scope/pg",
        "Zalando's postgresql/pg",
    ]
    assert [problem.message for problem in result.problems][:2] == [
        "no node is known: CloudNativePG's Cluster/pg has no endpoints",
        "no node is known: it is asleep",
    ]


def test_what_fits_no_configuration_names_the_field_and_its_source() -> None:
    profile = make("PoolProfile", {"minIdle": 150, "maxPoolSize": 150}, "p")

    result = render(proxy(pool={"maxConnections": 20}, poolProfileRef={"name": "p"}), References.among([profile]))

    assert result.config is None
    assert [(problem.field, problem.message) for problem in result.problems] == [
        (
            "spec.pool.minConnections",
            "minConnections is 150, more than maxConnections 20 (it comes from PoolProfile/p)",
        )
    ]
    assert "max_size" not in str(result.problems[0])


def test_users_left_out_are_those_of_the_secret_named_after_the_proxy() -> None:
    subject = make("HeliosProxy", {"nodes": NODES})
    place = Placement.local(PurePosixPath("/data/secrets"), users_file="/data/users.txt")

    def users(references: References, placement: Placement) -> str | None:
        return config_of(render(subject, references, placement)).auth.users_file

    assert users(References(), Placement()) == "/etc/heliosproxy/secrets/web-users/users.txt"
    assert users(References(secrets={"web-users": ["users.txt"]}), place) == "/data/secrets/web-users/users.txt"
    assert users(References(secrets={}), place) == "/data/users.txt"
    assert config_of(render(proxy(), References(), place)).auth.users_file == "/data/secrets/users/users.txt"
    missing = render(subject, References(secrets={}))
    assert missing.config is None
    assert [str(problem) for problem in missing.problems] == [
        "spec.auth.usersSecretRef: Secret/web-users does not exist in this namespace; create it"
    ]


def test_trust_needs_no_users() -> None:
    result = render(make("HeliosProxy", {"nodes": NODES, "auth": {"method": "trust"}}), References(secrets={}))

    assert config_of(result).auth.users_file is None
    assert not result.secret_files


def test_generation_is_the_one_of_the_place() -> None:
    assert config_of(render(proxy(), References(), Placement(generation=7))).generation == 7


def test_listed_node_twice_under_one_name_of_the_configuration_is_found() -> None:
    """A name may equal the `host:port` that another node has by default; no CEL rule sees that."""
    nodes = [{"host": "a", "name": "b:5432"}, {"host": "b"}]

    result = render(proxy(nodes=nodes), References())

    assert result.config is None
    assert [problem.field for problem in result.problems] == ["spec.nodes[1].name"]


def test_workload_has_the_defaults_of_the_configuration() -> None:
    smallest = workload(proxy())
    full = workload(
        proxy(
            image="helios:1",
            replicas=3,
            listenPort=5432,
            adminPort=9100,
            drain={"endpointDelaySeconds": 1, "timeoutSeconds": 2},
            resources={"requests": {"cpu": 1}},
        )
    )

    assert (smallest.image, smallest.replicas, smallest.listen_port, smallest.admin_port) == (None, 2, 6432, 9090)
    assert smallest.termination_grace_period_seconds == 70
    assert smallest.requests == {"cpu": "250m", "memory": "128Mi"}
    assert (full.image, full.replicas, full.listen_port, full.admin_port) == ("helios:1", 3, 5432, 9100)
    assert full.termination_grace_period_seconds == 8
    assert (full.requests, full.limits) == ({"cpu": "1"}, {})


def test_problem_prints_place_field_message_and_hint() -> None:
    problem = Problem("is 0", "spec.listenPort", "a port from 1 to 65535").at("web.yaml", 3)

    assert str(problem) == "web.yaml:3: spec.listenPort: is 0; a port from 1 to 65535"
