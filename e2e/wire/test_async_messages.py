"""What a server says without being asked: parameter changes, notices, notifications; and whose settings they are."""

from __future__ import annotations

import pytest

from harness.client import Client, brief, rows
from harness.frontend import bind, execute, parse, query, sync
from harness.postgres import PostgresCluster
from harness.routes import Parity, Route, Script
from harness.wait import until


@pytest.mark.checklist(41)
def reported_settings(c: Client) -> None:
    c.query("set timezone = 'utc'")
    c.query("set datestyle = 'german'")
    c.query("set application_name = 'named'")
    c.query("set intervalstyle = 'iso_8601'")
    c.query("set timezone = 'utc'")
    c.query("show datestyle")
    c.query("reset datestyle")
    c.query("reset all")


@pytest.mark.checklist(41)
def settings_by_extended_protocol(c: Client) -> None:
    c.extended("set timezone = 'Asia/Tokyo'")
    c.extended("select set_config('application_name', $1, false)", "by function")
    c.extended("show timezone")
    c.query("reset all")


def settings_in_transactions(c: Client) -> None:
    c.query("begin")
    c.query("set timezone = 'Asia/Tokyo'")
    c.query("rollback")
    c.query("show timezone")
    c.query("begin; set local timezone = 'Europe/Berlin'; show timezone; commit; show timezone")
    c.query("begin")
    c.query("set timezone = 'Asia/Kolkata'")
    c.query("commit")
    c.query("show timezone")
    c.query("reset timezone")


def several_settings_in_one_query(c: Client) -> None:
    c.query(
        "set timezone = 'Asia/Tokyo'; set datestyle = 'sql'; select now() is not null; reset timezone; reset datestyle"
    )


def client_encoding(c: Client) -> None:
    c.query("set client_encoding = 'latin1'")
    c.query(b"select '\xe4', length('\xe4')")
    c.query("show client_encoding")
    c.query("reset client_encoding")
    c.query("select 'ä'")


def refused_settings(c: Client) -> None:
    c.query("set timezone = 'Nowhere/Land'")
    c.query("set no_such_setting = 1")
    c.query("show timezone")


def own_settings(c: Client) -> None:
    c.query("begin")
    c.query("set local app.tenant = 'blue'")
    c.query("select current_setting('app.tenant')")
    c.query("commit")


@pytest.mark.checklist(42)
def notices_in_a_pipeline(c: Client) -> None:
    shout = "do $$ begin raise notice 'hello'; end $$"
    c.batch(query(shout), parse(shout), bind(), execute(), sync(), query(shout), ready=3)


def notify_to_oneself(c: Client) -> None:
    c.query("listen channel_a")
    c.query("notify channel_a, 'payload'")
    c.query("begin; notify channel_a, 'in transaction'; select 1; commit")
    c.query("unlisten *")
    c.query("notify channel_a, 'unheard'")


EVERY_MODE = [several_settings_in_one_query, refused_settings, notices_in_a_pipeline]
TRANSACTION_MODE = [
    reported_settings,
    settings_by_extended_protocol,
    settings_in_transactions,
    client_encoding,
    own_settings,
]


@pytest.mark.routes("session", "transaction", "statement")
@pytest.mark.parametrize("script", EVERY_MODE, ids=lambda script: script.__name__)
def test_messages_of_every_mode(parity: Parity, script: Script) -> None:
    parity(script)


@pytest.mark.parametrize("script", TRANSACTION_MODE, ids=lambda script: script.__name__)
def test_parameter_status(parity: Parity, script: Script) -> None:
    parity(script)


@pytest.mark.routes("session")
def test_notifications_to_oneself(route: Route) -> None:
    client = route.connect()

    notify_to_oneself(client)

    heard = [event.brief for event in client.transcript if event.kind == "NotificationResponse"]
    assert heard == ["NotificationResponse channel_a payload", "NotificationResponse channel_a in transaction"]


@pytest.mark.checklist(43)
@pytest.mark.routes("session")
def test_idle_session_hears_a_notification_without_asking(route: Route, postgres: PostgresCluster) -> None:
    client = route.connect()
    client.query("listen channel_b")

    with Client(postgres.direct()) as other:
        other.query("notify channel_b, 'wake up'")
    event = client.receive()

    assert event.brief == "NotificationResponse channel_b wake up"
    assert client.value("select 1") == "1"


ZONES = ("Asia/Tokyo", "Europe/Berlin", "America/Lima", "UTC", "Africa/Cairo", "Asia/Kolkata")
STYLES = ("ISO, MDY", "German, DMY", "SQL, DMY", "Postgres, MDY", "ISO, DMY", "SQL, MDY")


@pytest.mark.checklist(41)
@pytest.mark.routes("transaction", "statement")
def test_settings_follow_each_client_over_the_servers(route: Route) -> None:
    clients = [route.connect() for _ in ZONES]
    stranger = route.connect()
    initial = [stranger.value(f"show {name}") for name in ("timezone", "datestyle", "application_name")]
    for number, client in enumerate(clients):
        client.query(f"set timezone = '{ZONES[number]}'; set datestyle = '{STYLES[number]}'")
        client.extended(f"set application_name = 'client {number}'")
        client.transcript.clear()

    for _ in range(4):
        for client in clients:
            client.send(query("show timezone"), query("show datestyle"), query("show application_name"))
        for number, client in enumerate(clients):
            events = client.until_ready(3)
            assert [row[0] for row in rows(events)] == [ZONES[number], STYLES[number], f"client {number}"]
            # Setting a server up for a client is the proxy's business: the client hears nothing of it.
            assert not [event for event in events if event.kind in ("ParameterStatus", "NoticeResponse")]
        assert [stranger.value(f"show {name}") for name in ("timezone", "datestyle", "application_name")] == initial


@pytest.mark.routes("transaction", "statement", chunks=("none", "7"))
def test_setting_that_is_not_reported_does_not_leak(route: Route) -> None:
    client, other = route.connect(), route.connect()
    default = other.value("show work_mem")

    for _ in range(4):
        client.query("set work_mem = '33MB'")
        assert other.value("show work_mem") == default
        client.query("set role app_trust")
        assert other.value("select current_user") == "app"
        assert other.value("select coalesce(current_setting('app.tenant', true), '')") == ""
        client.query("set app.tenant = 'green'")
        assert other.value("select coalesce(current_setting('app.tenant', true), '')") == ""
        client.query("reset role")


@pytest.mark.checklist(41)
@pytest.mark.routes("session", "transaction", chunks=("none", "7"))
def test_parameter_status_comes_before_ready(route: Route) -> None:
    client = route.connect()

    events = client.query("set timezone = 'Asia/Tokyo'")

    assert brief(events) == ["CommandComplete SET", "ParameterStatus TimeZone=Asia/Tokyo", "ReadyForQuery I"]


@pytest.mark.checklist(41)
@pytest.mark.routes("session", "transaction", chunks=("none",))
def test_changed_server_configuration_is_reported(route: Route, postgres: PostgresCluster) -> None:
    client = route.connect()
    assert client.value("show intervalstyle") == "postgres"
    try:
        postgres.execute("alter system set intervalstyle = 'sql_standard'")
        postgres.execute("select pg_reload_conf()")

        assert until(lambda: client.value("show intervalstyle") == "sql_standard", "the reload to reach the session")

        reports = [event.brief for event in client.transcript if event.kind == "ParameterStatus"]
        assert reports == ["ParameterStatus IntervalStyle=sql_standard"]
    finally:
        postgres.execute("alter system reset intervalstyle")
        postgres.execute("select pg_reload_conf()")
        until(lambda: postgres.value("show intervalstyle") == "postgres", "the old setting")


@pytest.mark.routes("session", "transaction", chunks=("none", "7"))
def test_settings_changed_in_a_transaction_that_is_rolled_back(route: Route) -> None:
    client, other = route.connect(), route.connect()
    client.query("set timezone = 'Asia/Tokyo'")
    client.query("begin")
    client.query("set timezone = 'Europe/Berlin'")
    client.query("savepoint s; set timezone = 'America/Lima'; rollback to s")
    inside = client.value("show timezone")
    client.query("rollback")

    assert inside == "Europe/Berlin"
    for _ in range(3):
        assert client.value("show timezone") == "Asia/Tokyo"
        assert other.value("show timezone") != "Asia/Tokyo"
