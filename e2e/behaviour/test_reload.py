"""Reload on SIGHUP and by API: what is new counts from now on, what is wrong changes nothing, and no client is lost."""

from __future__ import annotations

import copy
import json
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness.client import Client, LoginRefusedError, close_all, sqlstates
from harness.frontend import query
from harness.postgres import APP, PASSWORDS, PostgresCluster
from harness.proxy import HeliosProcess, Settings, base_settings, write_users_file
from harness.wait import until
from harness.workload import Background


@pytest.fixture(scope="module")
def process(postgres: PostgresCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HeliosProcess]:
    """One proxy for all reloads, with a pool of one."""
    folder = tmp_path_factory.mktemp("reload")
    with HeliosProcess(folder, base_settings(postgres, folder, pool={"max_size": 1})) as started:
        yield started


@pytest.fixture
def proxy(process: HeliosProcess) -> Iterator[HeliosProcess]:
    """The proxy; afterwards it runs on its first configuration again, which is a reload of its own."""
    settings = copy.deepcopy(process.settings)
    users_file = Path(settings["auth"]["users_file"])
    users = users_file.read_text()
    yield process
    close_all()
    users_file.write_text(users)
    process.write({**settings, "generation": process.json("/config")["generation"]})
    assert process.post("/config/reload")[0] == 200


def changed(proxy: HeliosProcess, **sections: object) -> Settings:
    """The proxy's settings with sections merged in."""
    settings = copy.deepcopy(proxy.settings)
    for name, section in sections.items():
        settings[name] = {**settings.get(name, {}), **section} if isinstance(section, dict) else section
    return settings


def reload(proxy: HeliosProcess, by: str) -> None:
    """Reload by signal or API and wait until the outcome is known."""
    if by == "api":
        proxy.post("/config/reload")
        return
    before = proxy.json("/config")["last_reload"]["at"]
    proxy.signal(signal.SIGHUP)
    until(lambda: proxy.json("/config")["last_reload"]["at"] != before, "the reload to end")


def logs_in(proxy: HeliosProcess, database: str = "app", password: str | None = None) -> bool:
    """Whether a login succeeds and a query runs."""
    try:
        with Client(proxy.target(database, password=password)) as client:
            return client.value("select 1") == "1"
    except LoginRefusedError:
        return False


@pytest.mark.parametrize("by", ["signal", "api"])
def test_larger_pool_counts_at_once(proxy: HeliosProcess, by: str) -> None:
    holder, waiter = Client(proxy.target()), Client(proxy.target())
    holder.query("begin")
    waiter.send(query("select 'served'"))
    waiter.expect_silence(0.1)

    proxy.write(changed(proxy, pool={"max_size": 3}))
    reload(proxy, by)

    assert proxy.json("/config")["config"]["pool"]["max_size"] == 3
    newcomer = Client(proxy.target())
    assert newcomer.value("select 'served'") == "served"
    holder.query("commit")
    assert [event.brief for event in waiter.until_ready()][1] == "DataRow served"
    for client in (holder, waiter, newcomer):
        client.terminate()


@pytest.mark.parametrize("by", ["signal", "api"])
@pytest.mark.parametrize("fault", ["syntax", "unknown field", "wrong type", "missing users file", "invalid UTF-8"])
def test_bad_file_keeps_the_old_configuration_and_says_why(proxy: HeliosProcess, by: str, fault: str) -> None:
    with Client(proxy.target()) as client:
        client.query("begin")
        good = proxy.config_file.read_bytes()
        if fault == "syntax":
            proxy.config_file.write_text("this is not TOML [")
        elif fault == "unknown field":
            proxy.write(changed(proxy, pool={"max_sise": 5}))
        elif fault == "wrong type":
            proxy.write(changed(proxy, pool={"max_size": "many"}))
        elif fault == "missing users file":
            proxy.write(changed(proxy, auth={"users_file": "/nowhere/users.txt"}))
        else:
            proxy.config_file.write_bytes(good + b"\n# \xff\xfe\n")

        reload(proxy, by)

        outcome = proxy.json("/config")["last_reload"]
        expected = {"syntax": "helios.toml", "unknown field": "max_size", "wrong type": "max_size"}
        assert outcome["succeeded"] is False
        assert expected.get(fault, "users" if "users" in fault else "UTF-8") in json.dumps(outcome["problems"])
        assert "reload refused" in proxy.log()
        assert client.value("select 'undisturbed'") == "undisturbed"
        client.query("commit")
    assert logs_in(proxy)
    proxy.config_file.write_bytes(good)
    reload(proxy, by)
    assert proxy.json("/config")["last_reload"]["succeeded"] is True


def test_api_answers_a_refused_reload_with_400_and_the_problems(proxy: HeliosProcess) -> None:
    proxy.write(changed(proxy, pool={"max_size": 0}))

    status, body = proxy.post("/config/reload")

    assert status == 400
    assert "pool.max_size" in body


def test_reload_under_load_loses_nobody(proxy: HeliosProcess) -> None:
    with Background(proxy.target(), clients=10, sql="select 'steady'") as load:
        for size in (1, 6, 2, 8, 3):
            proxy.write(changed(proxy, pool={"max_size": size}))
            reload(proxy, "signal")
            load.wait_for_queries(20)

    assert load.errors == []


@pytest.mark.checklist(64)
def test_smaller_pool_closes_what_is_too_much(proxy: HeliosProcess) -> None:
    proxy.write(changed(proxy, pool={"max_size": 4}))
    reload(proxy, "api")
    clients = [Client(proxy.target()) for _ in range(4)]
    for client in clients:
        client.send(query("select pg_sleep(0.1)"))
    for client in clients:
        client.until_ready()

    proxy.write(changed(proxy, pool={"max_size": 1}))
    reload(proxy, "signal")

    def open_connections() -> int:
        [pool] = [pool for pool in proxy.json("/pools") if pool["node_name"] == "primary"]
        return int(pool["active_connections"]) + int(pool["idle_connections"])

    until(lambda: open_connections() <= 1, "the idle connections beyond the new size to be closed")
    assert [client.value("select 'served'") for client in clients] == ["served"] * 4


@pytest.mark.checklist(64)
def test_new_users_file_counts_for_new_logins(proxy: HeliosProcess) -> None:
    proxy.write(changed(proxy, databases=[{"name": "app", "user": APP, "password": PASSWORDS[APP]}]))
    reload(proxy, "api")
    with Client(proxy.target()) as client:
        users = Path(proxy.settings["auth"]["users_file"])
        write_users_file(users, {APP: "a new secret"})

        reload(proxy, "signal")

        assert not logs_in(proxy)
        assert logs_in(proxy, password="a new secret")
        assert client.value("select 'still in'") == "still in"


@pytest.mark.checklist(64)
def test_database_can_be_added_and_removed(proxy: HeliosProcess) -> None:
    proxy.write(changed(proxy, databases=[{"name": "one", "database": "app"}]))
    reload(proxy, "api")
    assert not logs_in(proxy, "two")

    proxy.write(changed(proxy, databases=[{"name": "two", "database": "app"}]))
    reload(proxy, "signal")

    assert logs_in(proxy, "two")
    assert not logs_in(proxy, "one")


def test_lower_generation_is_never_loaded(proxy: HeliosProcess) -> None:
    proxy.write(changed(proxy, generation=7))
    reload(proxy, "api")
    proxy.write(changed(proxy, generation=6, pool={"max_size": 9}))

    reload(proxy, "signal")

    assert proxy.json("/config")["generation"] == 7
    assert proxy.json("/config")["last_reload"]["succeeded"] is False


def test_listen_address_needs_a_restart_and_says_so(proxy: HeliosProcess) -> None:
    proxy.write(changed(proxy, listen_address="127.0.0.1:1"))

    reload(proxy, "signal")

    outcome = proxy.json("/config")["last_reload"]
    assert "listen_address" in json.dumps(outcome)
    assert logs_in(proxy)


@pytest.mark.parametrize("protocol", ["simple", "extended"])
def test_paused_lets_transactions_end_and_clients_wait(proxy: HeliosProcess, protocol: str) -> None:
    def waiting() -> int:
        return sum(int(pool["pending_requests"]) for pool in proxy.json("/pools"))

    def servers() -> int:
        return sum(each["idle_connections"] + each["active_connections"] for each in proxy.json("/pools"))

    def ask(client: Client) -> list[str]:
        events = client.query("select 1") if protocol == "simple" else client.extended("select 1")
        return [event.kind for event in events if event.kind in ("DataRow", "ErrorResponse")]

    busy, other = Client(proxy.target()), Client(proxy.target())
    busy.query("begin")
    proxy.write(changed(proxy, paused=True, pool={"acquire_timeout_seconds": 120}))
    reload(proxy, "api")
    assert ask(busy) == ["DataRow"], "its transaction goes on"

    with ThreadPoolExecutor(max_workers=1) as pool:
        answer = pool.submit(ask, other)
        until(lambda: waiting() == 1, "the other client waits")
        busy.query("commit")
        until(lambda: servers() == 0, "its server is closed")
        assert not answer.done()
        proxy.write(changed(proxy, paused=False))
        reload(proxy, "api")
        assert answer.result(timeout=60) == ["DataRow"]


@pytest.mark.parametrize("protocol", ["simple", "extended"])
def test_maintenance_refuses_new_clients_and_drain_has_the_others_leave(proxy: HeliosProcess, protocol: str) -> None:
    def is_answered(client: Client) -> bool:
        events = client.query("select 1") if protocol == "simple" else client.extended("select 1")
        return [event.kind for event in events if event.kind in ("DataRow", "ErrorResponse")] == ["DataRow"]

    def turn(mode: str) -> None:
        proxy.write(changed(proxy, maintenance={"mode": mode}, pool={"max_size": 3}))
        reload(proxy, "api")

    turn("none")
    busy, resting = Client(proxy.target()), Client(proxy.target())
    busy.query("begin")
    assert is_answered(resting)

    turn("reject")
    with pytest.raises(LoginRefusedError, match="in maintenance") as refused:
        Client(proxy.target())
    assert refused.value.sqlstate == "57P03"
    assert is_answered(busy)
    assert is_answered(resting)
    assert "(reject)" in proxy.json("/readyz")["message"], "it is ready, for nobody else would tell clients"

    turn("drain")
    assert sqlstates(resting.until_closed()) == ["57P01"]
    assert is_answered(busy), "its transaction goes on"
    turn("none")
    assert is_answered(busy), "it stays, since the maintenance is over"
    assert logs_in(proxy)
    turn("drain")
    assert is_answered(busy)
    busy.send(query("commit"))
    assert sqlstates(busy.until_closed()) == ["57P01"]
    with pytest.raises(LoginRefusedError, match="in maintenance"):
        Client(proxy.target())
