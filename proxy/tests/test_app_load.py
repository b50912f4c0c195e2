"""A configuration that reaches a running `helios serve` by POST /config or by a change of its files, as in a pod."""

from __future__ import annotations

import hashlib
import json
import signal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from harness.proxy import HeliosProcess, StartProxy, dump_toml
from harness.wait import until

Outcome = tuple[int, dict[str, Any]]


def document(process: HeliosProcess, generation: int, **sections: Any) -> bytes:
    """The process's configuration under another generation, with sections replaced."""
    return dump_toml({**process.settings, "generation": generation, **sections}).encode()


def send(process: HeliosProcess, content: bytes) -> Outcome:
    status, body = process.post("/config", content)
    return status, json.loads(body)


def in_force(process: HeliosProcess) -> tuple[int, str, int]:
    """Generation, hash and pool size."""
    config = process.json("/config")
    return config["generation"], config["hash"], config["pool_max_connections"]


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def settle(process: HeliosProcess) -> None:
    until(lambda: process.get("/readyz")[0] == 200, "the proxy is ready")


@pytest.fixture
def process(start_proxy: StartProxy) -> HeliosProcess:
    started = start_proxy(generation=5, admin={"address": "127.0.0.1:0", "token": "s3cret"})
    started.token = "s3cret"
    settle(started)
    return started


@pytest.fixture
def watching(start_proxy: StartProxy, tmp_path: Path) -> HeliosProcess:
    """A proxy that looks at its files ten times a second, its token in a file."""
    (tmp_path / "token").write_text("first\n")
    admin = {"address": "127.0.0.1:0", "token_file": str(tmp_path / "token")}
    started = start_proxy(generation=5, admin=admin, watch={"interval_ms": 100})
    started.token = "first"
    settle(started)
    return started


def test_the_hash_is_that_of_the_file(process: HeliosProcess) -> None:
    assert in_force(process) == (5, sha256(process.config_file.read_bytes()), 2)


def test_a_newer_document_counts_at_once_and_loses_no_client(process: HeliosProcess) -> None:
    newer = document(process, 6, pool={"max_size": 7})
    with psycopg.connect(process.target().dsn(), connect_timeout=10) as connection:
        connection.execute("select set_config('helios.test', 'kept', false)")

        answer = send(process, newer)

        assert connection.execute("select current_setting('helios.test')").fetchone() == ("kept",)
    assert answer == (200, {"generation": 6, "hash": sha256(newer), "problems": [], "restartNeeded": []})
    assert in_force(process) == (6, sha256(newer), 7)


def test_the_document_in_force_may_come_again(process: HeliosProcess) -> None:
    newer = document(process, 6, workers=3)
    assert send(process, newer)[1]["restartNeeded"] == ["workers"]

    status, answer = send(process, newer)

    assert (status, answer["hash"], answer["restartNeeded"]) == (200, sha256(newer), ["workers"])


@pytest.mark.parametrize("generation", [4, 5])
def test_what_is_not_newer_is_a_conflict(process: HeliosProcess, generation: int) -> None:
    before = in_force(process)

    status, answer = send(process, document(process, generation, pool={"max_size": 9}))

    assert status == 409
    assert (answer["generation"], answer["hash"]) == before[:2]
    assert "generation" in answer["error"]
    assert in_force(process) == before
    assert process.json("/config")["last_reload"]["succeeded"] is True


BAD_DOCUMENTS = {
    b"": "clusters",
    b"= no toml": "is no valid TOML",
    b"config_version = 1 # \xff\n": "is not UTF-8 text",
    b"config_version = 1\ngeneration = 6\n[pool]\nsiez = 3\n": "pool.siez",
}


def test_a_bad_document_changes_nothing_and_every_problem_is_told(process: HeliosProcess) -> None:
    before = in_force(process)

    for content, told in BAD_DOCUMENTS.items():
        status, answer = send(process, content)

        assert status == 422, content
        assert told in " ".join(answer["problems"])
        assert in_force(process) == before
    assert process.json("/config")["last_reload"]["succeeded"] is False


def test_the_file_is_older_than_what_was_sent_and_stays_out(process: HeliosProcess) -> None:
    assert send(process, document(process, 6, pool={"max_size": 7}))[0] == 200
    before = process.json("/config")["last_reload"]["at"]

    process.signal(signal.SIGHUP)

    until(lambda: process.json("/config")["last_reload"]["at"] != before, "the reload to end")
    assert in_force(process)[::2] == (6, 7)


def test_a_document_without_a_token_is_refused(start_proxy: StartProxy) -> None:
    process = start_proxy(generation=5)

    status, body = process.post("/config", document(process, 6))

    assert status == 403
    assert "admin.token" in json.loads(body)["error"]
    assert in_force(process)[0] == 5


def test_a_changed_file_is_noticed(watching: HeliosProcess) -> None:
    watching.write({**watching.settings, "generation": 6, "pool": {"max_size": 7}})

    until(lambda: in_force(watching)[::2] == (6, 7), "the new file to be in force")


def test_a_file_behind_a_swapped_link_is_noticed(watching: HeliosProcess, tmp_path: Path) -> None:
    """As kubelet updates a mounted ConfigMap: a new folder, and a link to it that changes in one step."""
    new = tmp_path / "version-2.toml"
    new.write_bytes(document(watching, 6, pool={"max_size": 7}))
    link = tmp_path / "link"
    link.symlink_to(new)

    link.replace(watching.config_file)

    until(lambda: in_force(watching)[::2] == (6, 7), "the new file to be in force")


def test_a_rotated_token_is_accepted_beside_the_old_one_and_then_alone(watching: HeliosProcess, tmp_path: Path) -> None:
    def accepts(token: str) -> bool:
        watching.token = token
        return watching.get("/config")[0] == 200

    (tmp_path / "token").write_text("second\nfirst\n")
    until(lambda: accepts("second"), "the new token")
    assert accepts("first")

    (tmp_path / "token").write_text("second\n")
    until(lambda: not accepts("first"), "the old token to be refused")
    assert accepts("second")


def test_secrets_are_read_again_while_the_file_is_older_than_what_was_sent(
    watching: HeliosProcess, tmp_path: Path
) -> None:
    assert send(watching, document(watching, 6, pool={"max_size": 7}))[0] == 200

    (tmp_path / "token").write_text("second\n")

    def accepted() -> bool:
        watching.token = "second"
        return watching.get("/config")[0] == 200

    until(accepted, "the new token")
    assert in_force(watching)[::2] == (6, 7)
    assert watching.json("/config")["last_reload"]["succeeded"] is True


def test_a_file_without_a_watcher_waits_to_be_asked_for(process: HeliosProcess) -> None:
    process.write({**process.settings, "generation": 6, "pool": {"max_size": 7}})
    assert send(process, document(process, 7, watch={"interval_ms": 50}))[0] == 200

    process.write({**process.settings, "generation": 8, "pool": {"max_size": 9}})

    until(lambda: in_force(process)[::2] == (8, 9), "the file to be noticed once watching is on")
