"""Loading files: good ones, and bad ones of every kind with what is said about them."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helios.config import AuthMethod, NodeRole, PoolMode, ProxyConfig
from helios.config.legacy import IGNORED, NOT_ACTED_ON, REFUSED, RENAMED
from helios.config.loader import MAX_CONFIG_BYTES, load, load_with_warnings, loads, loads_with_warnings
from helios.config.messages import WORDS
from helios.errors import ConfigError, Problem

TRUST = '[auth]\nmethod = "trust"\n'
NODE = '[[nodes]]\nhost = "db"\n'
MINIMAL = TRUST + NODE


def _problems(text: str) -> dict[str, Problem]:
    with pytest.raises(ConfigError) as caught:
        loads(text, "helios.toml")
    assert all(problem.source == "helios.toml" for problem in caught.value.problems)
    return {problem.field: problem for problem in caught.value.problems}


def test_a_complete_file_in_our_own_format(tmp_path: Path) -> None:
    file = tmp_path / "helios.toml"
    file.write_text(
        """
        config_version = 1
        generation = 7
        listen_address = "[::]:6432"
        workers = 2
        [admin]
        address = "0.0.0.0:9090"
        token_file = "secrets/token"
        [auth]
        users_file = "users.txt"
        [monitor]
        user = "helios"
        password_file = "/run/secrets/monitor"
        [pool]
        mode = "session"
        max_size = 20
        [[clusters]]
        name = "orders"
        [[clusters.nodes]]
        host = "10.0.0.1"
        role = "primary"
        [[clusters.nodes]]
        host = "10.0.0.2"
        weight = 50
        [[clusters]]
        name = "events"
        nodes = [{ host = "10.0.1.1", port = 5433, name = "e1" }]
        [[databases]]
        name = "*"
        cluster = "orders"
        [[databases]]
        name = "log"
        cluster = "events"
        database = "events"
        user = "writer"
        password_file = "writer"
        [databases.pool]
        mode = "statement"
        [drain]
        timeout_seconds = 10
        [log]
        level = "debug"
        """
    )

    config = load(file)

    assert (config.generation, config.workers, config.pool.mode) == (7, 2, PoolMode.SESSION)
    assert config.auth.method is AuthMethod.SCRAM_SHA_256
    assert [node.name for cluster in config.clusters for node in cluster.nodes] == [
        "10.0.0.1:5432",
        "10.0.0.2:5432",
        "e1",
    ]
    assert config.clusters[0].nodes[0].role is NodeRole.PRIMARY
    assert config.databases[1].pool.over(config.pool).mode is PoolMode.STATEMENT
    assert config.databases[1].pool.over(config.pool).max_size == 20
    assert config.admin.token_file == str(tmp_path / "secrets/token")
    assert config.auth.users_file == str(tmp_path / "users.txt")
    assert config.monitor.password_file == "/run/secrets/monitor"
    assert config.databases[1].password_file == str(tmp_path / "writer")


def test_the_shortest_file_has_no_warning(tmp_path: Path) -> None:
    file = tmp_path / "helios.toml"
    file.write_text(MINIMAL)

    loaded = load_with_warnings(file)

    assert loaded.warnings == ()
    assert [cluster.name for cluster in loaded.config.clusters] == ["main"]


def test_everything_wrong_is_said_at_once_in_the_order_of_the_file() -> None:
    text = """\
listen_adress = "0.0.0.0:6432"
workers = "two"
[admin]
address = "0.0.0.0"
[pool]
mode = "transction"
min_idle = 200
[[nodes]]
port = 70000
role = "primary"
[[nodes]]
host = "${HELIOS_TEST_UNSET}"
role = "primary"
[[databases]]
cluster = "orders"
pasword = "hunter2"
"""
    with pytest.raises(ConfigError) as caught:
        loads(text, "helios.toml")

    found = [(problem.line, problem.field) for problem in caught.value.problems]
    assert found == [
        (None, "auth.users_file"),
        (1, "listen_adress"),
        (2, "workers"),
        (4, "admin.address"),
        (6, "pool.mode"),
        (7, "pool.min_idle"),
        (8, "nodes[0].host"),
        (9, "nodes[0].port"),
        (12, "nodes[1].host"),
        (13, "nodes[1].role"),
        (15, "databases[0].cluster"),
        (16, "databases[0].pasword"),
    ]
    assert "hunter2" not in str(caught.value)


CASES = {
    "missing": (MINIMAL + "[[nodes]]\nport = 1\n", "nodes[1].host", "is missing"),
    "int_type": (MINIMAL + "port = 5432.0\n", "nodes[0].port", "is a float 5432.0; an integer"),
    "bool_type": (MINIMAL + "enabled = 1\n", "nodes[0].enabled", "is an integer 1; true or false"),
    "string_type": (TRUST + "[[nodes]]\nhost = 1\n", "nodes[0].host", "is an integer 1; a string in quotes"),
    "model_type": ("admin = 1\n" + MINIMAL, "admin", "is an integer 1; a table is wanted"),
    "tuple_type": ('clusters = "a"\n' + TRUST, "clusters", 'is a string "a"; a list of tables'),
    "greater_than_equal": (MINIMAL + "port = 0\n", "nodes[0].port", "is 0; at least 1"),
    "less_than_equal": (MINIMAL + "weight = 99999\n", "nodes[0].weight", "is 99999; at most 10000"),
    "enum": (MINIMAL + 'role = "primry"\n', "nodes[0].role", 'is "primry"; did you mean "primary"? one of'),
    "literal_error": ("config_version = 0\n" + MINIMAL, "config_version", "is 0; one of 1"),
    "string_too_short": (MINIMAL + 'name = ""\n', "nodes[0].name", "is empty; at least 1"),
    "string_too_long": (MINIMAL + f'name = "{"x" * 300}"\n', "nodes[0].name", "has 300 characters; at most 253"),
    "string_pattern_mismatch": (MINIMAL + 'name = "a b"\n', "nodes[0].name", 'not allowed here: "a b"'),
    "value_error": ('listen_address = "db:x"\n' + MINIMAL, "listen_address", 'is "db:x"; must be host:port'),
}


@pytest.mark.parametrize("kind", CASES)
def test_each_kind_of_wrong_field_has_its_words(kind: str) -> None:
    text, field, words = CASES[kind]

    problems = _problems(text)

    assert words in str(problems[field])
    assert problems.keys() == {field}


@pytest.mark.parametrize("word", ['"allow"', "true"])
def test_a_wrong_word_for_values_that_are_others_each_time(word: str) -> None:
    problems = _problems(MINIMAL + f"[transaction_replay]\nmutables = {word}\n")

    assert "one of error, allow_unseen" in str(problems["transaction_replay.mutables"])
    assert problems.keys() == {"transaction_replay.mutables"}


def test_no_kind_of_wrong_field_is_left_to_the_library() -> None:
    assert CASES.keys() == WORDS.keys()


KEYS = "[routing.consistency_keys]\n"


@pytest.mark.parametrize(
    ("text", "field", "words"),
    [
        (TRUST, "clusters", "there is none"),
        (TRUST + '[[clusters]]\nname = "a"\n', "clusters[0].nodes", 'cluster "a" has no node'),
        (MINIMAL + "enabled = false\n", "nodes", "has no enabled node"),
        (MINIMAL + NODE, "nodes[1].host", 'same address as node "db:5432"'),
        (MINIMAL + 'name = "a"\n[[nodes]]\nhost = "e"\nname = "a"\n', "nodes[1].name", '"a" is taken already'),
        (MINIMAL + 'role = "primary"\n[[nodes]]\nhost = "e"\nrole = "primary"\n', "nodes[1].role", "has one primary"),
        (MINIMAL + '[[databases]]\nname = "a"\n[[databases]]\nname = "a"\n', "databases[1].name", "is taken already"),
        (MINIMAL + '[[databases]]\ncluster = "mian"\n', "databases[0].cluster", 'did you mean "main"?'),
        (MINIMAL + '[[databases]]\npassword = "x"\n', "databases[0].password", "belongs to no user"),
        (
            MINIMAL + '[[databases]]\nuser = "u"\npassword = "x"\npassword_file = "y"\n',
            "databases[0].password_file",
            "keep one of the two",
        ),
        (MINIMAL + "[pool]\nmax_size = 1\nmin_idle = 2\n", "pool.min_idle", "more than max_size 1"),
        (MINIMAL + "[[databases]]\npool.min_idle = 101\n", "databases[0].pool.min_idle", "more than max_size 100"),
        (
            MINIMAL + "[pool]\nmin_idle = 9\n[[databases]]\npool.max_size = 2\n",
            "databases[0].pool.max_size",
            "min_idle is 9",
        ),
        (NODE, "auth.users_file", 'set auth.method = "trust"'),
        ('listen_address = "0.0.0.0:9090"\n' + MINIMAL, "admin.address", "port 9090 is listen_address's too"),
        (
            'listen_address = "127.0.0.1:1"\nread_listen_address = "[::]:1"\n' + MINIMAL,
            "read_listen_address",
            "port 1 is listen_address's too",
        ),
        (
            'read_listen_address = "127.0.0.1:9090"\n' + MINIMAL,
            "admin.address",
            "port 9090 is read_listen_address's too",
        ),
        (MINIMAL + '[admin]\ntoken = "a"\ntoken_file = "b"\n', "admin.token_file", "stands beside admin.token"),
        (MINIMAL + '[tls]\nclient_auth = "required"\n', "tls.client_ca_file", "client_auth required needs it"),
        (MINIMAL + '[tls]\ncrl_file = "x"\n', "tls.crl_file", "is not used"),
        (MINIMAL.replace('"trust"', '"cert"'), "auth.method", "not asked for certificates"),
        (MINIMAL.replace('"trust"', '"trust"\nmap = "people"'), "auth.map", 'no user map "people"'),
        (MINIMAL + '[admin]\ntls_cert_file = "a"\n', "admin.tls_cert_file", "needs admin.tls_key_file"),
        (MINIMAL + '[[clusters]]\nname = "a"\n', "nodes", "stand beside clusters"),
        (MINIMAL + '[monitor]\npassword = "x"\n', "monitor.password", "belongs to no user"),
        (MINIMAL + KEYS + 'ca_file = "x"\n', "routing.consistency_keys.ca_file", "belongs to no Redis"),
        (MINIMAL + KEYS + 'url = "rediss://r"\n', "routing.consistency_keys.ca_file", "rediss:// needs it"),
        (MINIMAL + KEYS + 'url = "redis://app@r"\n', "routing.consistency_keys.url", "user app, who has no password"),
        (MINIMAL + KEYS + 'url = "redis://u:p@r"\n', "routing.consistency_keys.url", "belongs into password_file"),
        (MINIMAL + KEYS + 'url = "redis://r:0"\n', "routing.consistency_keys.url", "must not be 0"),
        (MINIMAL + KEYS + 'url = "redis://r/x"\n', "routing.consistency_keys.url", "must be a number"),
        (MINIMAL + KEYS + 'url = "http://r"\n', "routing.consistency_keys.url", "redis"),
        (
            MINIMAL + "[routing]\nread_write_split = true\n" + KEYS + 'url = "redis://r"\nttl_seconds = 19\n',
            "routing.consistency_keys.ttl_seconds",
            "(10000 ms)",
        ),
        (
            MINIMAL + "[routing]\nread_write_split = true\nmax_lag_ms = 0\n" + KEYS + 'url = "redis://r"\n',
            "routing.consistency_keys.ttl_seconds",
            "(any time)",
        ),
        (
            MINIMAL + KEYS + 'url = "redis://r"\npassword = "x"\npassword_file = "y"\n',
            "routing.consistency_keys.password_file",
            "keep one of the two",
        ),
    ],
)
def test_rules_over_several_fields(text: str, field: str, words: str) -> None:
    assert words in str(_problems(text)[field])


def test_several_clusters_need_databases_that_name_them() -> None:
    two = TRUST + '[[clusters]]\nname = "a"\nnodes = [{host = "x"}]\n[[clusters]]\nname = "b"\nnodes = [{host = "y"}]\n'

    assert "no one knows where" in str(_problems(two)["databases"])
    assert "one of a, b" in str(_problems(two + "[[databases]]\n")["databases[0].cluster"])
    assert len(loads(two + '[[databases]]\ncluster = "b"\n').clusters) == 2


def test_two_clusters_of_one_name_are_refused() -> None:
    text = (
        TRUST + '[[clusters]]\nname = "a"\nnodes = [{host = "x"}]\n[[clusters]]\nname = "a"\nnodes = [{host = "y"}]\n'
    )

    assert _problems(text)["clusters[1].name"].line == 7


def test_an_unknown_key_far_from_any_other_lists_the_known_ones() -> None:
    assert "known here: format, level" in str(_problems(MINIMAL + "[log]\ncolour = true\n")["log.colour"])


def test_a_newer_format_is_refused_in_one_sentence() -> None:
    problems = _problems("config_version = 2\nbrand_new = 1\n")

    assert problems.keys() == {"config_version"}
    assert "reads versions up to 1" in problems["config_version"].message


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a = \n", 1, "is no valid TOML at column 5"),
        ("a = 1\na = 2\n", 2, "cannot overwrite"),
        ('a = 1\nb = "open', 2, "is no valid TOML"),
        ("a = 1\n[x\n", 2, "is no valid TOML"),
        ("a = " + "1" * 5000, None, "is no valid TOML"),
        ("a = " + "[" * 5000, None, "is no valid TOML"),
        ("a = \x00", 1, "is no valid TOML"),
    ],
)
def test_text_that_is_no_toml(text: str, line: int | None, words: str) -> None:
    (problem,) = _problems(text).values()

    assert (problem.line, words in str(problem)) == (line, True)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"# gr\xfc\xdfe\n", "helios.toml:1: is not UTF-8 text (byte 0xfc)"),
        (b"a = 1\n\xff\xfe\n", "helios.toml:2: is not UTF-8 text"),
        (b"#" * (MAX_CONFIG_BYTES + 1), "is larger than"),
        (b"", "there is none"),
    ],
)
def test_files_that_are_no_configuration(content: bytes, words: str, tmp_path: Path) -> None:
    file = tmp_path / "helios.toml"
    file.write_bytes(content)

    with pytest.raises(ConfigError) as caught:
        load(file)

    assert words in str(caught.value)


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "helios.toml"
    file.write_bytes(b"\xef\xbb\xbf" + MINIMAL.encode())

    assert load(file).auth.method is AuthMethod.TRUST


@pytest.mark.parametrize(
    ("name", "words"),
    [("", "is a folder"), ("nowhere.toml", "no such file"), ("a\0b", "cannot be read"), ("x" * 300, "too long")],
)
def test_paths_that_cannot_be_read(name: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=words):
        load(f"{tmp_path}/{name}")


def test_an_admin_api_for_everybody_without_a_token_is_warned_of(tmp_path: Path) -> None:
    file = tmp_path / "helios.toml"
    file.write_text(MINIMAL + '[admin]\naddress = "0.0.0.0:9090"\n')

    (warning,) = load_with_warnings(file).warnings

    assert (warning.field, warning.line) == ("admin.address", 6)
    assert "only probes and /metrics are served" in warning.message


def test_overrides_win_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "helios.toml"
    file.write_text('listen_address = "0.0.0.0:1"\n' + MINIMAL)
    overrides = {"listen_address": "0.0.0.0:2", "admin.address": "127.0.0.1:3", "nodes": [{"host": "other"}]}

    config = load_with_warnings(file, overrides).config

    assert (config.listen_address, config.admin.address) == ("0.0.0.0:2", "127.0.0.1:3")
    assert [node.host for node in config.clusters[0].nodes] == ["other"]


GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "configuration.md"


@pytest.mark.parametrize("block", re.findall(r"```toml\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL))
def test_every_file_of_the_guide_loads_without_a_warning(block: str) -> None:
    assert loads_with_warnings(block).warnings == ()


_KEYS = sorted(
    {*RENAMED, *NOT_ACTED_ON, *IGNORED, *REFUSED, "clusters", "nodes", "nodes.host", "databases", "pool", "admin"}
    | {f"{section}.{name}" for section, model in ProxyConfig() for name in getattr(type(model), "model_fields", ())}
)
_VALUES = [
    "1",
    "-1",
    "true",
    '"x"',
    '""',
    '"${"',
    '"${X:-1}"',
    "[]",
    "[1]",
    "[{}]",
    "{}",
    "{enabled = true}",
    "1.5",
    "1979-05-27",
]
_VALUES += [
    '[{host = "a"}]',
    '[{name = "a", nodes = [{host = 1}, {}]}, 5]',
    "[{pool = 5}, {pool = {mode = 1}}]",
    "9" * 30,
]


@given(st.lists(st.tuples(st.sampled_from(_KEYS), st.sampled_from(_VALUES)), max_size=5))
def test_whatever_a_file_holds_it_loads_or_is_refused_in_words(pairs: list[tuple[str, str]]) -> None:
    text = "".join(f"{key} = {value}\n" for key, value in pairs)

    with contextlib.suppress(ConfigError):
        loads(text, "helios.toml")
