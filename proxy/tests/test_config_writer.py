"""What is written is read back equal, and holds nothing that goes without saying."""

from __future__ import annotations

import string

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from helios.config import (
    AdminConfig,
    AuthConfig,
    AuthMethod,
    CertificateName,
    ClientAuth,
    ClientTlsConfig,
    ClientTlsMode,
    ClusterConfig,
    DatabaseConfig,
    DrainConfig,
    IdentConfig,
    LimitsConfig,
    LogConfig,
    LogFormat,
    LogLevel,
    MonitorConfig,
    NodeConfig,
    NodeRole,
    PoolConfig,
    PoolMode,
    PoolOverrides,
    PreparedStatements,
    ProxyConfig,
)
from helios.config.loader import dumps, loads

MINIMAL = ProxyConfig(
    auth=AuthConfig(method=AuthMethod.TRUST),
    clusters=(ClusterConfig(name="main", nodes=(NodeConfig(host="db"),)),),
)

ENCRYPTED = ClientTlsConfig(
    mode=ClientTlsMode.ALLOW,
    cert_file="tls.crt",
    key_file="tls.key",
    client_auth=ClientAuth.OPTIONAL,
    client_ca_file="ca.crt",
)

_words = st.text(string.ascii_letters + string.digits + "._-äß", min_size=1, max_size=12)
_hosts = st.text(string.ascii_lowercase + string.digits + ".-", min_size=1, max_size=12) | st.just("fe80::1%eth0")
_texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=20)
_texts |= st.sampled_from(["${HOME}", "$${x", '"\\', "a\nb\x7f\u2028", "'''", "# no comment"])
_secrets = _texts.map(SecretStr)
_ports = st.integers(1, 65_535)
_seconds = st.integers(1, 86_400)


def _optional(strategy: st.SearchStrategy[str]) -> st.SearchStrategy[str | None]:
    return st.none() | strategy


@st.composite
def _clusters(draw: st.DrawFn) -> tuple[ClusterConfig, ...]:
    names = draw(st.lists(_words, min_size=1, max_size=3, unique=True))
    return tuple(ClusterConfig(name=name, nodes=draw(_nodes())) for name in names)


@st.composite
def _nodes(draw: st.DrawFn) -> tuple[NodeConfig, ...]:
    addresses = draw(st.lists(st.tuples(_hosts, _ports), min_size=1, max_size=3, unique=True))
    primary = draw(st.integers(-1, len(addresses) - 1))
    nodes = []
    for index, (host, port) in enumerate(addresses):
        named = {"name": f"n{index}"} if draw(st.booleans()) else {}
        role = NodeRole.PRIMARY if index == primary else NodeRole.STANDBY
        enabled = index == 0 or draw(st.booleans())
        weight = draw(st.integers(0, 10_000))
        nodes.append(NodeConfig(host=host, port=port, role=role, enabled=enabled, weight=weight, **named))
    return tuple(nodes)


@st.composite
def _databases(draw: st.DrawFn, clusters: tuple[ClusterConfig, ...]) -> tuple[DatabaseConfig, ...]:
    names = draw(st.lists(_texts.filter(lambda t: t != "*"), min_size=len(clusters) > 1, max_size=3, unique=True))
    entries = []
    for name in ["*", *names][: len(names)]:
        user = draw(_optional(_texts))
        inline = draw(st.booleans())
        entries.append(
            DatabaseConfig(
                name=name,
                cluster=draw(st.sampled_from([cluster.name for cluster in clusters])),
                database=draw(_optional(_texts)),
                user=user,
                password=draw(_secrets) if user and inline else None,
                password_file=draw(_texts) if user and not inline else None,
                pool=draw(
                    st.builds(
                        PoolOverrides,
                        mode=st.none() | st.sampled_from(PoolMode),
                        max_size=st.none() | st.integers(50, 200),
                        reset_query=_optional(_texts),
                    )
                ),
            )
        )
    return tuple(entries)


@st.composite
def _auths(draw: st.DrawFn) -> AuthConfig:
    lines = draw(st.lists(st.builds(IdentConfig, map=_words, system_user=_texts, database_user=_texts), max_size=3))
    return AuthConfig(
        method=draw(st.sampled_from(AuthMethod)),
        users_file=draw(_texts),
        client_name=draw(st.sampled_from(CertificateName)),
        map=draw(st.none() | st.sampled_from([line.map for line in lines])) if lines else None,
        ident=tuple(lines),
    )


@st.composite
def _configs(draw: st.DrawFn) -> ProxyConfig:
    clusters = draw(_clusters())
    return ProxyConfig(
        generation=draw(st.integers(0, 2**63 - 1)),
        listen_address=f"{draw(st.sampled_from(['0.0.0.0', '[::1]', 'db.example']))}:{draw(st.integers(1, 1000))}",
        unix_socket_dir="/run/helios",
        unix_socket_mode=draw(st.sampled_from(["0777", "660"])),
        workers=draw(st.integers(0, 64)),
        admin=draw(
            st.builds(
                AdminConfig,
                address=st.integers(1001, 65_535).map("127.0.0.1:{}".format),
                token=st.none() | _secrets,
            )
        ),
        auth=draw(_auths()),
        tls=ENCRYPTED,
        monitor=draw(st.builds(MonitorConfig, user=_texts, password=st.none() | _secrets, database=_texts)),
        pool=draw(
            st.builds(
                PoolConfig,
                mode=st.sampled_from(PoolMode),
                max_size=st.integers(50, 5_000),
                min_idle=st.integers(0, 50),
                idle_timeout_seconds=st.integers(0, 86_400),
                reset_query=_optional(_texts),
                prepared_statements=st.sampled_from(PreparedStatements),
            )
        ),
        clusters=clusters,
        databases=draw(_databases(clusters)),
        drain=draw(st.builds(DrainConfig, endpoint_delay_seconds=_seconds, timeout_seconds=_seconds)),
        limits=draw(st.builds(LimitsConfig, max_client_connections=st.integers(1, 10**6))),
        log=draw(st.builds(LogConfig, level=st.sampled_from(LogLevel), format=st.sampled_from(LogFormat))),
    )


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(_configs())
def test_what_is_written_is_read_back_equal(config: ProxyConfig) -> None:
    assert loads(dumps(config)) == config


def test_only_what_differs_from_the_defaults_is_written() -> None:
    assert dumps(MINIMAL) == (
        'config_version = 1\ngeneration = 0\n\n[auth]\nmethod = "trust"\n\n'
        '[[clusters]]\nname = "main"\n\n[[clusters.nodes]]\nhost = "db"\n'
    )


def test_a_value_that_equals_its_default_is_not_written_even_if_it_was_set() -> None:
    spelled_out = MINIMAL.model_copy(update={"listen_address": "0.0.0.0:6432", "pool": PoolConfig(max_size=100)})

    assert dumps(spelled_out) == dumps(MINIMAL)


def test_secrets_of_the_configuration_itself_are_written() -> None:
    config = MINIMAL.model_copy(update={"admin": AdminConfig(token=SecretStr('a"b'))})

    assert '\n[admin]\ntoken = "a\\"b"\n' in dumps(config)
