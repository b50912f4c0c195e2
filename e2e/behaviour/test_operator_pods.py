"""The operator's side of a pod's admin API against real proxies: TLS, tokens, documents, and who is primary."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest
import pytest_asyncio

from harness.postgres import APP, DATABASE, PASSWORDS, PostgresCluster
from harness.proxy import HeliosProcess, StartProxy
from harness.sockets import ports_of
from helios.config.loader import loads
from helios.config.writer import dumps
from helios.tasks import cancel
from helios_crds.shares import first_share
from helios_operator.credentials import Credentials, host_of, make_credentials
from helios_operator.document import ConfigDocument, config_hash
from helios_operator.errors import PodError, PodRefused
from helios_operator.names import ProxyKey
from helios_operator.pod_api import PodApi, trust
from helios_operator.poller import Poller
from helios_operator.records import Pod
from helios_operator.settings import OperatorSettings
from helios_operator.shares import divide
from helios_operator.status import Observed, status_of
from helios_operator.world import World

KEY = ProxyKey("shop", "web")
SECONDS = 15


def port_of(process: HeliosProcess) -> int:
    return int(process.admin.rpartition(":")[2])


def served(
    start: StartProxy, folder: Path, credentials: Credentials, address: str = "127.0.0.1:0", **sections: Any
) -> HeliosProcess:
    """A proxy that has `credentials` as its admin Secret."""
    folder.mkdir(exist_ok=True)
    for name, content in credentials.files().items():
        (folder / name).write_bytes(content)
    admin = {
        "address": address,
        "token_file": str(folder / "token"),
        "tls_cert_file": str(folder / "tls.crt"),
        "tls_key_file": str(folder / "tls.key"),
    }
    return start(admin=admin, **sections)


@pytest_asyncio.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


def api(session: aiohttp.ClientSession, process: HeliosProcess, credentials: Credentials) -> PodApi:
    tokens = credentials.tokens
    return PodApi(session, "127.0.0.1", port_of(process), host_of(KEY), tokens, trust(credentials), 5)


def numbered(process: HeliosProcess, generation: int, **changes: Any) -> str:
    """The process's own configuration as a document of another generation."""
    config = loads(process.config_file.read_text())
    pool = config.pool.model_copy(update=changes)
    return dumps(config.model_copy(update={"generation": generation, "pool": pool}))


async def test_document_is_taken_and_reported(
    start_proxy: StartProxy, tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    credentials = make_credentials(KEY)
    process = served(start_proxy, tmp_path / "admin", credentials)
    pod = api(session, process, credentials)
    text = numbered(process, 7, max_size=9)

    taken = await pod.post_config(text)

    assert (taken.generation, taken.hash) == (7, config_hash(text))
    assert await pod.config() == taken
    assert (await pod.post_config(text)).generation == 7, "right also where it is already in force"
    topology = await pod.topology()
    assert topology.primary is not None
    assert topology.healthy + topology.unhealthy == 2


async def test_outdated_and_broken_documents_are_refused(
    start_proxy: StartProxy, tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    credentials = make_credentials(KEY)
    process = served(start_proxy, tmp_path / "admin", credentials)
    pod = api(session, process, credentials)
    text = numbered(process, 7)
    await pod.post_config(text)

    with pytest.raises(PodRefused) as lower:
        await pod.post_config(numbered(process, 6))
    with pytest.raises(PodRefused) as same:
        await pod.post_config(numbered(process, 7, max_size=9))
    with pytest.raises(PodRefused, match="min_idle") as broken:
        await pod.post_config(numbered(process, 8, min_idle=100))

    assert [(error.value.status, error.value.generation) for error in (lower, same)] == [(409, 7), (409, 7)]
    assert broken.value.status == 422
    assert (await pod.config()).hash == config_hash(text)


async def test_only_the_proxy_s_own_certificate_is_trusted(
    start_proxy: StartProxy, tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    process = served(start_proxy, tmp_path / "admin", make_credentials(KEY))

    with pytest.raises(PodError, match="certificate"):
        await api(session, process, make_credentials(KEY)).config()


async def test_old_and_new_token_and_certificate_work_during_a_rotation(
    start_proxy: StartProxy, tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    old = make_credentials(KEY)
    both = old.replaced(KEY, datetime.now(UTC))
    before = served(start_proxy, tmp_path / "old", old)
    after = served(start_proxy, tmp_path / "new", both)

    assert (await api(session, before, both).config()).hash, "a pod that has not read the new Secret yet"
    assert (await api(session, after, both).config()).hash
    only_old = Credentials(old.tokens, old.certificate, old.key, both.trust)
    assert (await api(session, after, only_old).config()).hash, "somebody who still has the old token"


async def test_poller_brings_every_pod_to_the_document(start_proxy: StartProxy, tmp_path: Path) -> None:
    credentials = make_credentials(KEY)
    process = served(start_proxy, tmp_path / "admin", credentials)
    text = numbered(process, 3, max_size=9)
    document = ConfigDocument(text, 3, "", 6432, port_of(process), ())
    world = World()
    world.seen_pods[(KEY.namespace, KEY.name)] = {"0": pod("web-0", "127.0.0.1"), "1": pod("web-1", "127.0.0.2")}
    told: list[ProxyKey] = []
    poller = Poller(world, OperatorSettings(poll_interval=0.1, poll_timeout=1), told.append)

    running = asyncio.create_task(poller.run())
    poller.want(KEY, document, document.admin_port, credentials)
    await until(lambda: config_of(poller, "web-0") == document.hash)
    await until(lambda: "web-1" in poller.views(KEY))

    views = poller.views(KEY)
    assert views["web-0"].topology is not None
    assert views["web-1"].error is not None, "nobody listens there"
    assert told[0] == KEY

    newer = ConfigDocument(numbered(process, 4), 4, "", 6432, document.admin_port, ())
    poller.want(KEY, newer, newer.admin_port, credentials)
    await until(lambda: config_of(poller, "web-0") == newer.hash)

    # An operator that lost its count would write an older document; the pod says what it takes to be heard.
    poller.want(KEY, document, document.admin_port, credentials)
    await until(lambda: poller.views(KEY)["web-0"].refusal is not None)
    assert poller.least_generation(KEY) == 5
    await cancel([running])


@pytest.mark.parametrize(
    ("head", "named"),
    [("config_version = 1\nlater_setting = true\n", "later_setting"), ("config_version = 2\n", "config_version")],
)
async def test_pod_of_an_older_release_refuses_what_it_does_not_know_and_serves_on(
    start_proxy: StartProxy, tmp_path: Path, head: str, named: str
) -> None:
    """A newer operator wrote a document that this release of the proxy cannot read."""
    credentials = make_credentials(KEY)
    process = served(start_proxy, tmp_path / "admin", credentials)
    port = port_of(process)
    known = ConfigDocument(numbered(process, 3), 3, "", 6432, port, ())
    text = numbered(process, 4).replace("config_version = 1\n", head, 1)
    newer = ConfigDocument(text, 4, "", 6432, port, ())
    world = World()
    pods = {"0": pod("web-0", "127.0.0.1")}
    world.seen_pods[(KEY.namespace, KEY.name)] = pods
    poller = Poller(world, OperatorSettings(poll_interval=0.1), lambda _: None)

    running = asyncio.create_task(poller.run())
    poller.want(KEY, known, port, credentials)
    await until(lambda: config_of(poller, "web-0") == known.hash)
    poller.want(KEY, newer, port, credentials)
    await until(lambda: poller.views(KEY)["web-0"].refusal is not None)

    view = poller.views(KEY)["web-0"]
    assert named in str(view.refusal)
    assert view.config is not None
    assert (view.config.hash, view.config.generation) == (known.hash, 3), "the old document stays in force"
    assert view.topology is not None
    assert view.topology.primary is not None, "it serves on"
    seen = Observed(KEY, 1, 1, (), None, newer, None, None, tuple(pods.values()), poller.views(KEY))
    conditions = {each["type"]: each for each in status_of(seen, {}, datetime.now(UTC))["conditions"]}
    assert (conditions["ConfigValid"]["status"], conditions["ConfigValid"]["reason"]) == ("False", "RefusedByPod")
    assert named in conditions["ConfigValid"]["message"]
    assert conditions["ConfigInForce"]["status"] == "False"

    back = ConfigDocument(numbered(process, 5), 5, "", 6432, port, ())
    poller.want(KEY, back, port, credentials)
    await until(lambda: config_of(poller, "web-0") == back.hash)
    await cancel([running])


async def test_total_of_server_connections_is_divided_and_never_exceeded(
    start_proxy: StartProxy, tmp_path: Path, postgres: PostgresCluster
) -> None:
    total, first = 8, first_share(8, 2)
    credentials = make_credentials(KEY)
    sections: dict[str, Any] = {
        "pool": {"max_size": 20, "acquire_timeout_seconds": 60},
        "limits": {"max_server_connections": first},
        "drain": {"endpoint_delay_seconds": 2, "timeout_seconds": 60},
    }
    one = served(start_proxy, tmp_path / "one", credentials, **sections)
    port = port_of(one)
    two = served(start_proxy, tmp_path / "two", credentials, f"127.0.0.2:{port}", **sections)
    document = ConfigDocument(one.config_file.read_text(), 0, "", 6432, port, (), first_share=first)
    document = replace(document, text=numbered(one, 1, **sections["pool"]), generation=1)
    world = World()
    pods = world.seen_pods[(KEY.namespace, KEY.name)] = {"0": pod("web-0", "127.0.0.1")}
    settings = OperatorSettings(poll_interval=0.1, poll_timeout=5)
    poller = Poller(world, settings, lambda key: poller.grant(key, divided(poller)))

    def divided(poller: Poller) -> dict[str, int]:
        return divide(total, first, len(pods), poller.holders(KEY)).grants

    def limits() -> dict[str, tuple[int, int]]:
        holders = poller.holders(KEY)
        return {each.name: (each.share.limit, each.share.excess) for each in holders if each.share is not None}

    async def until_open(count: int) -> None:
        backends = f"from pg_stat_activity where usename = '{APP}' and state is not null"
        sql = f"select string_agg(client_port::text, ' ') {backends}"

        def is_open() -> bool:
            # Other tests' proxies have connections as well.
            known = {int(port) for port in (postgres.value(sql) or "").split()}
            return len(known & (ports_of(one.pid) | ports_of(two.pid))) == count

        await until(is_open)

    running = asyncio.create_task(poller.run())
    poller.want(KEY, document, port, credentials)
    await until(lambda: limits() == {"web-0": (7, 0)})
    async with asyncio.TaskGroup() as clients:
        first_over, second_over = asyncio.Event(), asyncio.Event()
        for _ in range(12):
            clients.create_task(hold(one, first_over))
        await until_open(7)

        pods["1"] = pod("web-1", "127.0.0.2")
        for _ in range(12):
            clients.create_task(hold(two, second_over))
        await until(lambda: limits() == {"web-0": (3, 4), "web-1": (1, 0)})
        await until_open(total)

        first_over.set()
        await until(lambda: limits() == {"web-0": (3, 0), "web-1": (3, 0)})
        second_over.set()

    one.signal(signal.SIGTERM)
    pods["0"] = replace(pods["0"], deleting=True)
    await until(lambda: limits() == {"web-0": (1, 0), "web-1": (5, 0)})
    del pods["0"]
    poller.grant(KEY, divided(poller))
    await until(lambda: limits() == {"web-1": (7, 0)})
    await cancel([running])
    one.wait()


async def hold(process: HeliosProcess, over: asyncio.Event) -> None:
    """One client in a transaction."""
    client = await asyncpg.connect(
        host="127.0.0.1", port=process.port, user=APP, password=PASSWORDS[APP], database=DATABASE, timeout=60
    )
    async with client.transaction():
        assert await client.fetchval("select 1") == 1
        await over.wait()
    await client.close()


def pod(name: str, ip: str) -> Pod:
    return Pod(name, "", ip, ready=True, running=True, deleting=False, trouble=None)


def config_of(poller: Poller, name: str) -> str | None:
    view = poller.views(KEY).get(name)
    return view.config.hash if view and view.config else None


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110 - what pods answer has no event
            await asyncio.sleep(0.02)
