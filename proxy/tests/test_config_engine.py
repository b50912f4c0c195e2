"""The contract with the engine: it takes every snapshot that Python makes, and both agree on what a secret is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from helios.config import (
    AuthConfig,
    AuthMethod,
    ClusterConfig,
    NodeConfig,
    PoolConfig,
    PoolMode,
    PreparedStatements,
    ProxyConfig,
)
from helios.config.loader import load
from helios.config.snapshot import engine_snapshot
from helios.config.users import parse_users
from helios.core import Core
from helios.errors import SecretError, SnapshotError

FIXTURES = Path(__file__).parent / "fixtures" / "legacy"
MAIN = (ClusterConfig(name="main", nodes=(NodeConfig(host="db"),)),)
TRUST = AuthConfig(method=AuthMethod.TRUST)
KEY = "A" * 43 + "="


@pytest.mark.parametrize("file", sorted(FIXTURES.glob("*.toml")), ids=lambda file: file.stem)
def test_the_engine_takes_every_file_of_the_original(file: Path) -> None:
    Core(engine_snapshot(load(file)))


@pytest.mark.parametrize("method", AuthMethod)
@pytest.mark.parametrize("mode", PoolMode)
@pytest.mark.parametrize("prepared", PreparedStatements)
def test_the_engine_knows_every_word(
    method: AuthMethod, mode: PoolMode, prepared: PreparedStatements, tmp_path: Path
) -> None:
    (tmp_path / "users.txt").write_text('"app" "x"\n"none" ""\n')
    pool = PoolConfig(mode=mode, prepared_statements=prepared, reset_query="DISCARD ALL", idle_timeout_seconds=0)
    config = ProxyConfig(auth=AuthConfig(method=method, users_file="users.txt"), pool=pool, clusters=MAIN)

    Core(engine_snapshot(config, tmp_path))


@pytest.mark.parametrize("path", [("generation",), ("limits", "max_prepared_bytes"), ("auth", "users")])
def test_the_engine_has_no_defaults_and_no_room_for_more(path: tuple[str, ...]) -> None:
    snapshot = engine_snapshot(ProxyConfig(auth=TRUST, clusters=MAIN))

    without, more = json.loads(snapshot), json.loads(snapshot)
    for document in (without, more):
        table = document
        for part in path[:-1]:
            table = table[part]
        if document is without:
            del table[path[-1]]
        else:
            table["unheard_of"] = 1

    with pytest.raises(SnapshotError, match=path[-1]):
        Core(json.dumps(without).encode())
    with pytest.raises(SnapshotError, match="unheard_of"):
        Core(json.dumps(more).encode())


@pytest.mark.parametrize(
    "secret",
    [
        f"SCRAM-SHA-256$4096:c2FsdA==${KEY}:{KEY}",
        f"SCRAM-SHA-256$10000000:c2FsdA==${KEY}:{KEY}",
        f"SCRAM-SHA-256$10000001:c2FsdA==${KEY}:{KEY}",
        f"SCRAM-SHA-256$0:c2FsdA==${KEY}:{KEY}",
        f"SCRAM-SHA-256$04096:c2FsdA==${KEY}:{KEY}",
        f"SCRAM-SHA-256$-1:c2FsdA==${KEY}:{KEY}",
        f"SCRAM-SHA-256$4096:${KEY}:{KEY}",
        f"SCRAM-SHA-256$4096:c2FsdA${KEY}:{KEY}",
        f"SCRAM-SHA-256$4096:c2FsdB==${KEY}:{KEY}",
        f"SCRAM-SHA-256$4096:{'AAAA' * 341}AA==${KEY}:{KEY}",
        f"SCRAM-SHA-256$4096:{'AAAA' * 342}${KEY}:{KEY}",
        f"SCRAM-SHA-256$4096:c2FsdA==${KEY}:AAAA",
        f"SCRAM-SHA-256$4096:c2FsdA==${KEY}",
        f"SCRAM-SHA-256$4096:c2FsdA==${KEY}:{KEY}:",
        "SCRAM-SHA-256$",
        "SCRAM-SHA-256",
        "md5" + "F" * 32,
        "md5" + "g" * 32,
    ],
)
def test_python_and_the_engine_agree_on_verifiers(secret: str) -> None:
    snapshot = json.loads(engine_snapshot(ProxyConfig(auth=TRUST, clusters=MAIN)))
    snapshot["auth"]["users"] = [{"name": "app", "secret": secret}]

    def refused_by_python() -> bool:
        try:
            parse_users(f'"app" "{secret}"', "users.txt")
        except SecretError:
            return True
        return False

    def refused_by_engine() -> bool:
        try:
            Core(json.dumps(snapshot).encode())
        except SnapshotError:
            return True
        return False

    assert refused_by_python() == refused_by_engine()
