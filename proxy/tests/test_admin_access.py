"""Who may use the admin API, and what a request may look like: tokens, foreign pages, bounds, TLS."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from fakes.core import ScriptedControl, proxy_config

from helios.admin import errors, server
from helios.admin.server import AdminServer
from helios.config.secrets import metrics_token
from helios.errors import EngineError, SecretError, StartError

PROBES = ("/health", "/healthz", "/health/live", "/livez", "/health/ready", "/readyz", "/startupz")
GUARDED = (
    "/version",
    "/config",
    "/topology",
    "/nodes",
    "/nodes/db-0",
    "/api/circuit",
    "/api/temperature",
    "/sessions",
    "/pools",
    "/",
    "/nothing",
)

StartAdmin = Callable[[ScriptedControl], Awaitable[str]]


@pytest_asyncio.fixture
async def start_admin() -> AsyncIterator[StartAdmin]:
    started: list[AdminServer] = []

    async def start(control: ScriptedControl) -> str:
        admin = AdminServer(control, control.config.admin)
        started.append(admin)
        await admin.bind()
        await admin.serve()
        return admin.url.replace("0.0.0.0", "127.0.0.1")

    yield start
    for admin in started:
        await admin.stop()


@pytest_asyncio.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def status_of(http: aiohttp.ClientSession, url: str, token: str | None = None, **options: Any) -> int:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with http.request(options.pop("method", "GET"), url, headers=headers, **options) as answer:
        await answer.read()
        return answer.status


async def test_everything_is_open_on_loopback_without_a_token(
    start_admin: StartAdmin, http: aiohttp.ClientSession
) -> None:
    url = await start_admin(ScriptedControl())

    for path in (*PROBES, "/metrics", "/metrics/prometheus", "/config", "/topology", "/nodes", "/sessions", "/pools"):
        assert await status_of(http, url + path) == 200, path


async def test_scrapers_have_a_token_that_reads_the_metrics_and_nothing_else(
    start_admin: StartAdmin, http: aiohttp.ClientSession
) -> None:
    url = await start_admin(ScriptedControl(admin_tokens=("s3cret", "older")))

    for token in map(metrics_token, ("s3cret", "older")):
        for path in ("/metrics", "/metrics/prometheus"):
            assert await status_of(http, url + path, token) == 200, path
            assert await status_of(http, url + path, token, method="POST") == 401, path
        for path in GUARDED:
            assert await status_of(http, url + path, token) == 401, path
    assert await status_of(http, url + "/metrics", metrics_token("other")) == 401


async def test_off_loopback_without_a_token_only_probes_and_metrics_are_served(
    start_admin: StartAdmin, http: aiohttp.ClientSession
) -> None:
    url = await start_admin(ScriptedControl(config=proxy_config(address="0.0.0.0:0")))

    for path in (*PROBES, "/metrics", "/metrics/prometheus"):
        assert await status_of(http, url + path) == 200, path
    for path in GUARDED:
        assert await status_of(http, url + path) == 401, path
    assert await status_of(http, url + "/config/reload", method="POST") == 401
    assert await status_of(http, url + "/metrics", method="POST") == 401


@pytest.mark.parametrize("address", ["127.0.0.1:0", "0.0.0.0:0"])
async def test_a_token_guards_everything_but_the_probes(
    start_admin: StartAdmin, http: aiohttp.ClientSession, address: str
) -> None:
    url = await start_admin(ScriptedControl(config=proxy_config(address=address), admin_tokens=("s3cret",)))

    for path in PROBES:
        assert await status_of(http, url + path) == 200, path
    for path in (*GUARDED, "/metrics"):
        assert await status_of(http, url + path) == 401, path
        assert await status_of(http, url + path, token="s3cre") == 401, path
        assert await status_of(http, url + path, token="s3cret ünd") == 401, path
    for path in ("/metrics", "/config", "/nodes"):
        assert await status_of(http, url + path, token="s3cret") == 200, path


async def test_the_answer_to_a_missing_token_says_so(start_admin: StartAdmin, http: aiohttp.ClientSession) -> None:
    url = await start_admin(ScriptedControl(admin_tokens=("s3cret",)))

    async with http.get(url + "/config", headers={"Authorization": "Basic czNjcmV0"}) as answer:
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        assert await answer.json() == {"error": "missing or invalid admin bearer token"}


async def test_a_foreign_page_cannot_make_a_browser_reload(
    start_admin: StartAdmin, http: aiohttp.ClientSession
) -> None:
    control = ScriptedControl()
    url = await start_admin(control)

    async with http.post(url + "/config/reload", headers={"Origin": "https://example.com"}) as answer:
        assert answer.status == 403
    async with http.post(url + "/config/reload", headers={"Origin": url}) as answer:
        assert answer.status == 200

    assert control.reloads == 1


async def test_unknown_paths_and_methods_are_json_errors(start_admin: StartAdmin, http: aiohttp.ClientSession) -> None:
    url = await start_admin(ScriptedControl())

    async with http.get(url + "/nothing") as answer:
        assert (answer.status, await answer.json()) == (404, {"error": "there is nothing at /nothing"})
    async with http.delete(url + "/nodes") as answer:
        assert answer.status == 405
        assert set(answer.headers["Allow"].split(",")) == {"GET", "HEAD"}
        assert "DELETE is not possible on /nodes" in (await answer.json())["error"]
    async with http.get(url + "/nodes/db-9:5432") as answer:
        assert (answer.status, await answer.json()) == (404, {"error": "no node 'db-9:5432'; /nodes lists them"})


async def test_a_body_that_is_not_json_is_refused(start_admin: StartAdmin, http: aiohttp.ClientSession) -> None:
    control = ScriptedControl()
    url = await start_admin(control)

    async with http.post(url + "/config/reload", data=b"{", headers={"Content-Type": "application/json"}) as answer:
        assert answer.status == 400
        assert "not JSON" in (await answer.json())["error"]

    assert control.reloads == 0


async def test_a_body_over_the_limit_is_refused_before_it_is_read(start_admin: StartAdmin) -> None:
    url = await start_admin(ScriptedControl())
    announced = str(errors.MAX_BODY_BYTES + 1).encode()

    answer = await exchange(
        url, b"POST /config/reload HTTP/1.1\r\nHost: x\r\nContent-Length: " + announced + b"\r\n\r\n"
    )

    assert answer.startswith(b"HTTP/1.1 413")
    assert b'"error": "the request body is larger than 8388608 bytes"' in answer


async def test_a_chunked_body_over_the_limit_is_refused(start_admin: StartAdmin, http: aiohttp.ClientSession) -> None:
    url = await start_admin(ScriptedControl())

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(9):
            yield b"x" * (1 << 20)

    assert await status_of(http, url + "/config/reload", method="POST", data=chunks()) == 413


async def test_a_body_that_does_not_come_is_given_up(start_admin: StartAdmin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errors, "BODY_DEADLINE_SECONDS", 0.1)
    url = await start_admin(ScriptedControl())

    answer = await exchange(url, b"POST /config/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")

    assert answer.startswith(b"HTTP/1.1 408")


async def test_a_client_that_sends_no_request_is_cut_off(
    start_admin: StartAdmin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "READ_DEADLINE_SECONDS", 0.2)
    url = await start_admin(ScriptedControl())

    assert await exchange(url, b"GET /healthz HTTP/1.1\r\nHost:") == b""


@pytest.mark.parametrize(
    "headers", [b"X-Long: " + b"a" * 20_000 + b"\r\n", b"".join(b"X-%d: a\r\n" % n for n in range(200))]
)
async def test_too_many_header_bytes_are_refused(start_admin: StartAdmin, headers: bytes) -> None:
    url = await start_admin(ScriptedControl())

    answer = await exchange(url, b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + headers + b"\r\n")

    assert answer.startswith((b"HTTP/1.0 400", b"HTTP/1.1 400"))


async def test_one_connection_too_many_is_told(start_admin: StartAdmin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 1)
    url = await start_admin(ScriptedControl())
    host, port = address_of(url)
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"

    refused = await exchange(url, b"")

    writer.close()
    head, _, body = refused.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503")
    assert f"Content-Length: {len(body)}".encode() in head


async def test_a_fault_of_ours_is_logged_and_not_shown(
    start_admin: StartAdmin, http: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    url = await start_admin(ScriptedControl(state=RuntimeError("private detail")))

    async with http.get(url + "/pools") as answer:
        assert answer.status == 500
        assert await answer.json() == {"error": "internal error; the proxy's log has the details"}

    assert "private detail" in caplog.text


async def test_an_engine_error_is_named(start_admin: StartAdmin, http: aiohttp.ClientSession) -> None:
    url = await start_admin(ScriptedControl(state=EngineError("stopped")))

    async with http.get(url + "/pools") as answer:
        assert (answer.status, await answer.json()) == (503, {"error": "stopped"})


async def test_a_taken_port_is_named(start_admin: StartAdmin) -> None:
    host, port = address_of(await start_admin(ScriptedControl()))
    config = proxy_config(address=f"{host}:{port}")

    with pytest.raises(StartError, match=rf"admin.address: cannot listen on {host}:{port}: .*in use"):
        await start_admin(ScriptedControl(config=config))


async def test_tls_is_spoken_and_a_new_certificate_is_taken_up(start_admin: StartAdmin, tmp_path: Path) -> None:
    first, second = certificate(tmp_path, "first"), certificate(tmp_path, "second")
    live = (tmp_path / "live.crt", tmp_path / "live.key")
    copy(first, live)
    config = proxy_config(tls_cert_file=str(live[0]), tls_key_file=str(live[1]))
    control = ScriptedControl(config=config)
    admin = AdminServer(control, config.admin)
    await admin.bind()
    await admin.serve()

    try:
        assert admin.url.startswith("https://")
        assert await tls_status(admin.url, first[0]) == 200
        copy(second, live)
        admin.load_certificate()
        assert await tls_status(admin.url, second[0]) == 200
        live[0].write_text("no certificate")
        with pytest.raises(SecretError, match="cannot use"):
            admin.load_certificate()
        assert await tls_status(admin.url, second[0]) == 200
    finally:
        await admin.stop()


async def test_tls_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    good, other = certificate(tmp_path, "good"), certificate(tmp_path, "other")

    with pytest.raises(SecretError, match=r"admin\.tls_cert_file: cannot read .*absent"):
        server.check_tls(proxy_config(tls_cert_file=str(tmp_path / "absent"), tls_key_file=str(good[1])).admin)
    with pytest.raises(SecretError, match=r"admin\.tls_key_file: cannot read .*absent"):
        server.check_tls(proxy_config(tls_cert_file=str(good[0]), tls_key_file=str(tmp_path / "absent")).admin)
    with pytest.raises(SecretError, match="belong together"):
        server.check_tls(proxy_config(tls_cert_file=str(good[0]), tls_key_file=str(other[1])).admin)


def address_of(url: str) -> tuple[str, int]:
    host, _, port = url.partition("://")[2].rpartition(":")
    return host, int(port)


async def exchange(url: str, request: bytes) -> bytes:
    """Send bytes, read until the server closes, or until it has answered in full."""
    reader, writer = await asyncio.open_connection(*address_of(url))
    writer.write(request)
    answer = b""
    async with asyncio.timeout(10):
        while chunk := await reader.read(65_536):
            answer += chunk
            head, found, body = answer.partition(b"\r\n\r\n")
            if found and len(body) >= content_length(head):
                break
    writer.close()
    return answer


def content_length(head: bytes) -> int:
    lines = (line.split(b":") for line in head.lower().splitlines() if line.startswith(b"content-length"))
    return int(next(lines)[1])


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A fresh self-signed certificate for 127.0.0.1 and its key."""
    cert, key = folder / f"{name}.crt", folder / f"{name}.key"
    subject = ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject]
    subprocess.run([*command, "-keyout", key, "-out", cert], check=True, capture_output=True)
    return cert, key


def copy(source: tuple[Path, Path], target: tuple[Path, Path]) -> None:
    for old, new in zip(source, target, strict=True):
        new.write_bytes(old.read_bytes())


async def tls_status(url: str, trusted: Path) -> int:
    context = ssl.create_default_context(cafile=str(trusted))
    async with aiohttp.ClientSession() as session, session.get(url + "/healthz", ssl=context) as answer:
        return answer.status
