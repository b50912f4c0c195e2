"""Reload of a running `helios serve`, by SIGHUP and by the admin API, with good files and bad ones."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from harness.proxy import HeliosProcess, StartProxy
from harness.wait import until

Trigger = Callable[[HeliosProcess], None]


def by_signal(process: HeliosProcess) -> None:
    before = process.json("/config")["last_reload"]["at"]
    process.signal(signal.SIGHUP)
    until(lambda: process.json("/config")["last_reload"]["at"] != before, "the reload is done")


def by_api(process: HeliosProcess) -> None:
    process.post("/config/reload")


@pytest.fixture(params=[by_signal, by_api], ids=["SIGHUP", "API"])
def reload(request: pytest.FixtureRequest) -> Trigger:
    trigger: Trigger = request.param
    return trigger


@pytest.fixture
def process(start_proxy: StartProxy) -> HeliosProcess:
    started = start_proxy(generation=5)
    until(lambda: started.get("/readyz")[0] == 200, "the proxy is ready")
    return started


def changed(process: HeliosProcess, **sections: Any) -> None:
    """Rewrite the file: a section given as a dict is merged into the old one."""
    settings = dict(process.settings)
    for name, section in sections.items():
        settings[name] = {**settings.get(name, {}), **section} if isinstance(section, dict) else section
    process.write(settings)


def success_metric(process: HeliosProcess) -> str:
    _, text = process.get("/metrics", accept="text/plain")
    return next(line for line in text.splitlines() if line.startswith("heliosproxy_config_reload_success "))


def test_a_good_file_is_taken_over_without_losing_a_client(process: HeliosProcess, reload: Trigger) -> None:
    with psycopg.connect(process.target().dsn(), connect_timeout=10) as connection:
        connection.execute("select set_config('helios.test', 'kept', false)")

        changed(process, generation=6, pool={"max_size": 7})
        reload(process)

        assert connection.execute("select current_setting('helios.test')").fetchone() == ("kept",)
    config = process.json("/config")
    assert (config["generation"], config["pool_max_connections"]) == (6, 7)
    assert config["last_reload"]["succeeded"] is True
    assert "reloaded" in process.log()
    assert process.get("/readyz")[0] == 200


BAD_FILES = (
    (b'config_version = 1\npool = "large"\n', "pool"),
    (b"config_version = 1\nlisten_address = '127.0.0.1:0'\n[pool]\nsiez = 3\n", "pool.siez"),
    (b"= no toml", "is no valid TOML"),
    (b"config_version = 1 # \xff\n", "is not UTF-8 text"),
)


def test_a_bad_file_leaves_the_old_configuration_and_says_why(process: HeliosProcess, reload: Trigger) -> None:
    with psycopg.connect(process.target().dsn(), connect_timeout=10) as connection:
        for content, told in BAD_FILES:
            process.config_file.write_bytes(content)
            reload(process)

            assert connection.execute("select 1").fetchone() == (1,)
            config = process.json("/config")
            assert config["generation"] == 5
            assert config["last_reload"]["succeeded"] is False
            assert told in json.dumps(config["last_reload"]["problems"])
            assert told in process.log()
    assert success_metric(process).endswith(" 0.0")
    status, ready = process.get("/readyz")
    assert (status, json.loads(ready)["reload_failed"]) == (200, True)

    process.write(process.settings)
    reload(process)

    assert success_metric(process).endswith(" 1.0")


def test_the_api_answers_400_with_every_problem(process: HeliosProcess) -> None:
    changed(process, pool={"max_size": "many", "siez": 3})

    status, body = process.post("/config/reload")

    assert status == 400
    answer = json.loads(body)
    assert {problem["field"] for problem in answer["problems"]} == {"pool.max_size", "pool.siez"}
    assert all(problem["line"] for problem in answer["problems"])
    assert "the old one kept" in answer["error"]


def test_a_lower_generation_is_never_loaded(process: HeliosProcess) -> None:
    changed(process, generation=4, pool={"max_size": 9})

    status, body = process.post("/config/reload")

    assert status == 400
    assert "lower than the running configuration's 5" in json.loads(body)["error"]
    assert process.json("/config")["pool_max_connections"] == 2


def test_a_missing_secret_file_is_a_refused_reload(process: HeliosProcess) -> None:
    changed(process, auth={"users_file": "/no/such/users.txt"})

    status, body = process.post("/config/reload")

    assert status == 400
    assert "/no/such/users.txt" in json.loads(body)["error"]


def test_what_only_a_restart_can_apply_is_told_and_not_shown_as_applied(process: HeliosProcess) -> None:
    before = process.json("/config")
    changed(process, workers=3, admin={"address": "127.0.0.1:1"}, pool={"max_size": 8})

    status, body = process.post("/config/reload")

    assert status == 200
    assert set(json.loads(body)["restart_needed"]) == {"workers", "admin.address"}
    after = process.json("/config")
    assert after["admin_address"] == before["admin_address"]
    assert after["config"]["workers"] == 2
    assert after["pool_max_connections"] == 8
    assert "takes effect with the next start only" in process.log()


def test_users_that_are_added_can_log_in_after_a_reload(process: HeliosProcess) -> None:
    target = process.target(user="late", password="late secret")
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(target.dsn(), connect_timeout=10)
    users = process.config_file.parent / "users.txt"
    users.write_text(users.read_text() + '"late" "late secret"\n')
    owner = {"name": "*", "user": "app", "password": "app secret"}
    changed(process, databases=[owner])

    assert process.post("/config/reload")[0] == 200

    with psycopg.connect(target.dsn(), connect_timeout=10) as connection:
        assert connection.execute("select current_user").fetchone() == ("app",)


def test_the_monitor_follows_a_changed_password_and_changed_nodes(process: HeliosProcess) -> None:
    changed(process, monitor={"password": "wrong"})
    assert process.post("/config/reload")[0] == 200
    until(lambda: process.json("/topology")["currentPrimary"] is None, "the wrong password is noticed")

    cluster = process.settings["clusters"][0]
    changed(process, monitor={"password": "monitor secret"}, clusters=[{**cluster, "nodes": cluster["nodes"][:1]}])
    assert process.post("/config/reload")[0] == 200

    until(lambda: process.get("/readyz")[0] == 200, "the right password is taken")
    assert [node["name"] for node in process.json("/nodes")] == ["primary"]


def test_the_admin_token_and_the_log_level_follow(process: HeliosProcess) -> None:
    changed(process, admin={"token": "s3cret"}, log={"level": "error"})

    assert process.post("/config/reload")[0] == 200

    assert process.get("/config")[0] == 401
    assert process.post("/config/reload")[0] == 401
    assert process.get("/livez")[0] == 200
