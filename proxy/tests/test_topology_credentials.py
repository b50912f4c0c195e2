"""As whom the monitor logs in: the order in which logins are looked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from helios.config.loader import load
from helios.errors import SecretError
from helios.topology.credentials import logins_of

CLUSTERS = """
[[clusters]]
name = "main"
[[clusters.nodes]]
host = "127.0.0.1"
"""
MONITOR = '[monitor]\nuser = "watcher"\npassword = "w1"\ndatabase = "ops"\n'
DATABASES = (
    '[[databases]]\nname = "a"\nuser = "no_password"\n[[databases]]\nname = "*"\nuser = "owner"\npassword = "o1"\n'
)
USERS = '"hashed" "md5' + "0" * 32 + '"\n"plain" "p1"\n'


def configured(folder: Path, *parts: str, users: str = '"hashed" "md5' + "0" * 32 + '"\n') -> Path:
    (folder / "users.txt").write_text(users)
    file = folder / "helios.toml"
    file.write_text('auth.users_file = "users.txt"\n' + "\n".join(parts) + CLUSTERS)
    return file


@pytest.mark.parametrize(
    ("parts", "users", "expected"),
    [
        ((MONITOR, DATABASES), USERS, ("watcher", "w1", "ops", "[monitor]")),
        ((DATABASES,), USERS, ("owner", "o1", "postgres", 'database entry "*"')),
        ((), USERS, ("plain", "p1", "postgres", "auth.users_file")),
        ((), '"a" ""\n', ("postgres", None, "postgres", "no login configured, tried without a password")),
        (('[monitor]\nuser = "peer"\n', DATABASES), USERS, ("peer", None, "postgres", "[monitor]")),
    ],
)
def test_the_first_login_in_order_is_taken(
    tmp_path: Path, parts: tuple[str, ...], users: str, expected: tuple[str, str | None, str, str]
) -> None:
    login = logins_of(load(configured(tmp_path, *parts, users=users)))["main"]

    assert (login.user, login.password, login.database, login.source) == expected


def test_a_missing_password_file_is_named(tmp_path: Path) -> None:
    config = load(configured(tmp_path, '[monitor]\nuser = "w"\npassword_file = "absent"\n'))

    with pytest.raises(SecretError, match=r"absent.*monitor\.password_file|monitor\.password_file.*absent"):
        logins_of(config)


def test_a_login_does_not_show_its_password(tmp_path: Path) -> None:
    assert "w1" not in repr(logins_of(load(configured(tmp_path, MONITOR)))["main"])
