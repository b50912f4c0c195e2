"""The users file: PgBouncer's quoting, errors with line numbers, no secret ever in a text."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helios.config import AuthConfig, AuthMethod, ClusterConfig, DatabaseConfig, ProxyConfig
from helios.config.users import SecretKind, caution_users, parse_users, read_users, users_of
from helios.errors import SecretError

DIGEST = "A" * 43 + "="
VERIFIER = f"SCRAM-SHA-256$4096:c2FsdA==${DIGEST}:{DIGEST}"
MD5 = "md5" + "0123456789abcdef" * 2


def _secret(text: str) -> str | None:
    (user,) = parse_users(text, "users.txt")
    return None if user.secret is None else user.secret.get_secret_value()


@pytest.mark.parametrize(
    ("secret", "kind", "can_log_in"),
    [
        ("", SecretKind.NONE, False),
        ("plain", SecretKind.PLAIN, True),
        ("md5 is a word", SecretKind.PLAIN, True),
        (MD5, SecretKind.MD5, True),
        (VERIFIER, SecretKind.SCRAM_VERIFIER, True),
    ],
)
def test_a_secret_is_told_by_its_form(secret: str, kind: SecretKind, can_log_in: bool) -> None:
    (user,) = parse_users(f'"app" "{secret}"\n', "users.txt")

    assert (user.name, user.kind, user.can_log_in(AuthMethod.SCRAM_SHA_256)) == ("app", kind, can_log_in)


@pytest.mark.parametrize(
    ("line", "secret"),
    [
        ('"a" "b"', "b"),
        ('  "a"\t  "b"  ', "b"),
        ('"a" "b" ; a comment', "b"),
        ('"a" "b" # "c"', "b"),
        ('"a" "say ""hi"""', 'say "hi"'),
        ('"a" " b "', " b "),
        ('"a" "b"\r', "b"),
        ('"a" ""', None),
        ('"a" """"', '"'),
    ],
)
def test_quoting_is_that_of_pgbouncer(line: str, secret: str | None) -> None:
    assert _secret(f"; header\n\n# more\n{line}\n") == secret


@given(
    st.text(st.characters(exclude_characters="\n\r\0", exclude_categories=["Cs"]), min_size=1, max_size=15),
    st.text(st.characters(exclude_characters="\n\r\0", exclude_categories=["Cs"]), min_size=1, max_size=15).filter(
        lambda text: not text.startswith("SCRAM-SHA-256$")
    ),
)
def test_every_name_and_secret_can_be_written(name: str, secret: str) -> None:
    line = '"{}" "{}"'.format(name.replace('"', '""'), secret.replace('"', '""'))

    (user,) = parse_users(line, "users.txt")

    assert user.secret is not None
    assert (user.name, user.secret.get_secret_value()) == (name, secret)


def test_every_faulty_line_is_reported_with_its_number_and_no_secret() -> None:
    text = "\n".join(
        [
            '"app" "hunter2"',
            "app hunter2",
            '"app" "hunter2" hunter2',
            '"" "hunter2"',
            f'"{"x" * 64}" "hunter2"',
            '"app" "hunter2"',
            '"scram" "SCRAM-SHA-256$4096:c2FsdA==$hunter2"',
            '"open" "hunter2',
        ]
    )

    with pytest.raises(SecretError) as caught:
        parse_users(text, "users.txt")

    assert [problem.line for problem in caught.value.problems] == [2, 3, 4, 5, 6, 7, 8]
    assert str(caught.value.problems[4]).startswith('users.txt:6: auth.users_file: user "app" is here for the second')
    assert "hunter2" not in str(caught.value)


def test_users_that_cannot_get_in_or_on_are_warned_of() -> None:
    users = parse_users(f'"p" "x"\n"m" "{MD5}"\n"n" ""\n"s" "{VERIFIER}"\n"t" "{VERIFIER}"\n"u" "{VERIFIER}"\n', "u")
    one = ProxyConfig(clusters=(ClusterConfig(name="main"),), databases=(DatabaseConfig(user="app"),))
    trust = AuthConfig(method=AuthMethod.TRUST)

    shut_out, mute = caution_users(one.model_copy(update={"databases": ()}), users)
    assert 'has "n", "m": they cannot log in' in shut_out.message
    assert mute.message.endswith('as "n"')
    assert [finding.message for finding in caution_users(one, users)] == [shut_out.message]
    assert caution_users(one.model_copy(update={"auth": trust}), users) == []
    (mute,) = caution_users(one.model_copy(update={"auth": trust, "databases": ()}), users)
    assert 'as "n", "s", "t" and 1 more' in mute.message
    assert caution_users(one, users[:1]) == []


def test_secrets_hide_in_every_text() -> None:
    users = parse_users('"app" "hunter2"', "users.txt")

    assert "hunter2" not in f"{users} {users[0]!r} {users[0].secret}"


def test_the_users_of_a_configuration(tmp_path: Path) -> None:
    (tmp_path / "users.txt").write_text('"app" "x"\n')

    assert users_of(ProxyConfig()) == ()
    assert [u.name for u in users_of(ProxyConfig(auth=AuthConfig(users_file="users.txt")), tmp_path)] == ["app"]


@pytest.mark.parametrize(
    ("content", "words"), [(None, "no such file"), (b'"a" "\xff"', "is not UTF-8"), (b'\n"a" "\0"', "a zero byte")]
)
def test_files_that_cannot_be_used(content: bytes | None, words: str, tmp_path: Path) -> None:
    file = tmp_path / "users.txt"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(SecretError, match=words) as caught:
        read_users(file)

    assert caught.value.problems[0].field == "auth.users_file"
    assert str(file) in str(caught.value)
