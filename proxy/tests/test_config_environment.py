"""Variables in string values, seen through the loader."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helios.config.environment import escape, substitute
from helios.config.loader import loads
from helios.errors import ConfigError

BASE = """
[auth]
method = "trust"
[[nodes]]
host = "db"
"""


def _substituted(text: str, **environment: str) -> str:
    tree = {"value": text}
    assert substitute(tree, environment) == []
    return str(tree["value"])


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("${A}", "1"),
        ("x${A}y${A}", "x1y1"),
        ("${B:-two}", "two"),
        ("${A:-two}", "1"),
        ("${EMPTY:-two}", "two"),
        ("${EMPTY}", ""),
        ("${B:-}", ""),
        ("$${A}", "${A}"),
        ("$$${A}", "$${A}"),
        ("$A costs 5$", "$A costs 5$"),
        ("${B:-http://x/$y}", "http://x/$y"),
    ],
)
def test_variables_are_replaced(text: str, result: str) -> None:
    assert _substituted(text, A="1", EMPTY="") == result


@given(st.text(st.sampled_from("${}A:-x ")))
def test_escaped_text_comes_back(text: str) -> None:
    assert _substituted(escape(text), A="1") == text


def test_what_a_variable_holds_is_not_looked_into() -> None:
    assert _substituted("${A}", A="${B}") == "${B}"


def test_an_unset_variable_is_named_with_its_place() -> None:
    with pytest.raises(ConfigError) as caught:
        loads('workers = 1\nlisten_address = "${HELIOS_TEST_UNSET}:1"\n' + BASE, "helios.toml")

    (problem,) = caught.value.problems
    assert (problem.line, problem.field) == (2, "listen_address")
    assert "HELIOS_TEST_UNSET is not set" in problem.message


@pytest.mark.parametrize("text", ["${", "${1A}", "${A", "${A-b}", "${}"])
def test_a_start_without_a_variable_is_refused(text: str) -> None:
    (finding,) = substitute({"value": text}, {"A": "1"})

    assert "starts no variable" in finding.message
    assert "$${" in finding.hint


def test_numbers_and_flags_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELIOS_TEST_PORT", "5433")
    monkeypatch.setenv("HELIOS_TEST_FLAG", "false")

    config = loads(
        BASE
        + 'port = "${HELIOS_TEST_PORT}"\nenabled = "${HELIOS_TEST_FLAG}"\nweight = "${HELIOS_TEST_UNSET:-7}"\n'
        + '[[nodes]]\nhost = "${HELIOS_TEST_PORT}"\n'
    )

    first, second = config.clusters[0].nodes
    assert (first.port, first.enabled, first.weight) == (5433, False, 7)
    assert second.host == "5433"


@pytest.mark.parametrize("value", ["no", "1.5", "", "٣", "9" * 30])
def test_text_that_is_no_number_is_refused_by_name(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELIOS_TEST_PORT", value)

    with pytest.raises(ConfigError, match=r"nodes\[0\]\.port: is text from an environment variable"):
        loads(BASE + 'port = "${HELIOS_TEST_PORT}"')


def test_part_of_a_string_is_no_number() -> None:
    with pytest.raises(ConfigError, match=r'port: is a string "5432"; an integer'):
        loads(BASE + 'port = "54${HELIOS_TEST_UNSET:-32}"')


def test_variables_without_quotes_are_read_as_the_original_did(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELIOS_TEST_PORT", "5433")

    config = loads(BASE + "port = ${HELIOS_TEST_PORT}  # a comment\nweight = ${HELIOS_TEST_UNSET:-5}\n")

    assert (config.clusters[0].nodes[0].port, config.clusters[0].nodes[0].weight) == (5433, 5)


def test_comments_may_name_unset_variables() -> None:
    assert loads("# ${HELIOS_TEST_UNSET}\n" + BASE).workers == 0


def test_a_secret_may_be_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELIOS_TEST_SECRET", "hunter2")

    config = loads(BASE + '[monitor]\nuser = "m"\npassword = "${HELIOS_TEST_SECRET}"\n')

    assert config.monitor.password is not None
    assert config.monitor.password.get_secret_value() == "hunter2"
