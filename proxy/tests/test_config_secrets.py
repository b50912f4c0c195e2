"""Secrets from files."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from helios.config import AdminConfig, MonitorConfig, ProxyConfig
from helios.config.secrets import MAX_SECRET_FILE_BYTES, admin_tokens, monitor_password
from helios.errors import SecretError


def _token(path: Path) -> str | None:
    tokens = admin_tokens(ProxyConfig(admin=AdminConfig(token_file=str(path))))
    return tokens[0].get_secret_value() if tokens else None


@pytest.mark.parametrize(
    ("content", "secret"),
    [(b"s3cret", "s3cret"), (b"s3cret\n", "s3cret"), (b"s3cret\r\nmore", "s3cret"), (b"\xef\xbb\xbf a b ", " a b ")],
)
def test_the_first_line_is_the_secret(content: bytes, secret: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(content)

    assert _token(tmp_path / "token") == secret


def test_each_line_of_a_token_file_is_a_token(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("new\nold\n\n")

    tokens = admin_tokens(ProxyConfig(admin=AdminConfig(token_file="token")), tmp_path)

    assert [token.get_secret_value() for token in tokens] == ["new", "old"]


@pytest.mark.parametrize("content", [b"", b"\n", b"\nsecond line"])
def test_an_empty_first_line_is_no_secret(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(content)

    with pytest.raises(SecretError, match=r"admin\.token_file: the first line of .*token is empty"):
        _token(tmp_path / "token")


@pytest.mark.parametrize(
    ("name", "words"), [("", "is a directory"), ("nowhere", "no such file"), ("x" * 300, "too long")]
)
def test_paths_that_cannot_be_read_are_named(name: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(SecretError, match=words) as caught:
        _token(tmp_path / name)

    assert caught.value.problems[0].field == "admin.token_file"


def test_a_huge_file_is_no_secret(tmp_path: Path) -> None:
    with (tmp_path / "token").open("wb") as file:
        file.truncate(MAX_SECRET_FILE_BYTES + 1)

    with pytest.raises(SecretError, match="is larger than"):
        _token(tmp_path / "token")


def test_inline_secrets_and_none(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("from file")

    assert admin_tokens(ProxyConfig()) == ()
    assert admin_tokens(ProxyConfig(admin=AdminConfig(token=SecretStr("x")))) == (SecretStr("x"),)
    config = ProxyConfig(monitor=MonitorConfig(user="m", password_file="password"))
    assert monitor_password(config, tmp_path) == SecretStr("from file")
