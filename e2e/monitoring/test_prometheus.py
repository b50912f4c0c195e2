"""A real Prometheus over a running proxy, told what a PodMonitor tells it: scrapes, every panel, every alert."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from harness.client import Client
from harness.postgres import PostgresCluster
from harness.prometheus import Prometheus, promtool
from harness.proxy import HeliosProcess, base_settings
from harness.wait import until
from helios_crds import HeliosProxy
from helios_crds.parse import parse_as
from helios_crds.workload import workload
from helios_operator.alerts import ALERTS, OPERATOR_ALERTS
from helios_operator.credentials import Credentials, make_credentials
from helios_operator.dashboard import OPERATOR_ROW, ROWS
from helios_operator.desired import Owner, pod_monitor
from helios_operator.health import AdmissionFigures, Figures, Health
from helios_operator.names import ProxyKey

ROOT = Path(__file__).resolve().parents[2]
ALERTS_FILE = ROOT / "docs" / "monitoring" / "alerts.yaml"
NAMES = re.compile(r"helios_operator_\w+")
KEY = ProxyKey("shop", "web")
LABELS = {"namespace": KEY.namespace, "proxy": KEY.name, "pod": "web-0"}
EMPTY = {
    *("heliosproxy_clients_refused_total", "heliosproxy_failover_lease", "heliosproxy_promotions_total"),
    *("heliosproxy_promotion_refused", "heliosproxy_failover_lost_bytes", "heliosproxy_catalog_age_seconds"),
}
"""What has no value before somebody was refused, without failover, and before a catalog was read."""


@pytest.fixture
def credentials() -> Credentials:
    return make_credentials(KEY)


@pytest.fixture
def proxy(postgres: PostgresCluster, credentials: Credentials, tmp_path: Path) -> Iterator[HeliosProcess]:
    """A proxy whose admin API is as in a pod: token and certificate of the Secret, which a scraper has in files too."""
    secret = tmp_path / "secret"
    secret.mkdir()
    for name, content in credentials.files().items():
        (secret / name).write_bytes(content)
    admin = {
        "token_file": str(secret / "token"),
        "tls_cert_file": str(secret / "tls.crt"),
        "tls_key_file": str(secret / "tls.key"),
    }
    with HeliosProcess(tmp_path, base_settings(postgres, tmp_path, admin=admin)) as process:
        yield process


@pytest.fixture
def prometheus(proxy: HeliosProcess, tmp_path: Path) -> Iterator[Prometheus]:
    folder = tmp_path / "prometheus"
    folder.mkdir()
    config = {
        "global": {"scrape_interval": "1s"},
        "scrape_configs": [scrape_config(tmp_path / "secret", proxy.admin)],
        "rule_files": [str(ALERTS_FILE)],
    }
    with Prometheus(folder, config) as process:
        yield process


def scrape_config(secret: Path, url: str) -> dict[str, Any]:
    """The endpoint of our PodMonitor as the Prometheus operator hands it on; Secrets are files here."""
    spec: dict[str, Any] = {"nodes": [{"host": "db"}], "auth": {"method": "trust"}, "monitoring": {"podMonitor": True}}
    value = {"apiVersion": "helios.heliosproxy.dev/v1alpha1", "kind": "HeliosProxy", "metadata": {"name": KEY.name}}
    monitor = pod_monitor(Owner(KEY, "uid"), workload(parse_as(HeliosProxy, {**value, "spec": spec})))
    assert monitor is not None
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    return {
        "job_name": "shop/web",
        "metrics_path": endpoint["path"],
        "scheme": endpoint["scheme"],
        "authorization": {"credentials_file": str(secret / endpoint["authorization"]["credentials"]["key"])},
        "tls_config": {
            "ca_file": str(secret / endpoint["tlsConfig"]["ca"]["secret"]["key"]),
            "server_name": endpoint["tlsConfig"]["serverName"],
        },
        "static_configs": [{"targets": [url.partition("://")[2]], "labels": LABELS}],
    }


def test_every_panel_and_alert_reads_what_is_scraped(prometheus: Prometheus, proxy: HeliosProcess) -> None:
    with Client(proxy.target()) as client:
        for _ in range(20):
            client.query("select 1")
        until(lambda: values_of(prometheus, "up") == [1.0], f"a scrape: {prometheus.get('targets')}", 60)
        until(lambda: values_of(prometheus, "heliosproxy_queries_total"), "statements are counted", 60)
        # Rates need a change between two scrapes that Prometheus has seen.
        until(lambda: asked(client) and rates(prometheus), "a rate of statements", 60)

        shown = [expression for _, panels in ROWS for panel in panels for expression in panel.expressions]
        for expression in [*shown, *(alert.expression.replace("{of}", "") for alert in ALERTS)]:
            plain = expression.replace("$namespace", ".*").replace("$proxy", "web").replace("$__rate_interval", "1m")
            found = prometheus.query(plain.partition(" == ")[0].partition(" > ")[0])
            assert found or any(name in plain for name in EMPTY), plain
        names = {name for name in prometheus.get("label/__name__/values") if name.startswith("heliosproxy_")}

    drawn = " ".join(shown)
    created = {name for name in names if name.endswith("_created") and name.removesuffix("_created") in str(names)}
    assert {name for name in names - created if f"{name}{{" not in drawn} == set(), "every figure has a panel"
    groups = prometheus.get("rules")["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert {rule["name"] for rule in rules} == {alert.name for alert in (*ALERTS, *OPERATOR_ALERTS)}
    assert {rule["health"] for rule in rules} <= {"ok", "unknown"}, groups


def values_of(prometheus: Prometheus, expression: str) -> list[float]:
    return [float(each["value"][1]) for each in prometheus.query(expression)]


def asked(client: Client) -> bool:
    client.query("select 1")
    return True


def rates(prometheus: Prometheus) -> bool:
    return sum(values_of(prometheus, "rate(heliosproxy_queries_total[1m])")) > 0


def test_what_is_asked_of_the_operator_is_what_it_tells() -> None:
    """Its own listener in this process: a running one needs a cluster, and tells the same."""

    async def scraped() -> str:
        ends = datetime.now(UTC) + timedelta(days=3)
        admission = AdmissionFigures(is_ready=True, answered=5, refused=1, certificate_ends=ends)
        health = Health("127.0.0.1:0", lambda: Figures(True, 0, 0.0, 1, 0, 1, 1, admission))
        await health.start()
        try:
            async with aiohttp.ClientSession() as session, session.get(f"{health.url}/metrics") as answer:
                return await answer.text()
        finally:
            await health.stop()

    told = set(re.findall(r"^(helios_operator_\w+) ", asyncio.run(scraped()), re.M))
    expressions = [expression for panel in OPERATOR_ROW[1] for expression in panel.expressions]
    expressions += [alert.expression for alert in OPERATOR_ALERTS]
    asked = {name for text in expressions for name in NAMES.findall(text)}
    assert asked
    assert asked <= told


def test_alerts_fire_when_they_should(tmp_path: Path) -> None:
    promtool("check", "rules", ALERTS_FILE)
    case = yaml.safe_load((Path(__file__).parent / "alerts_test.yaml").read_text())
    tested = {name for test in case["tests"] for name in (rule["alertname"] for rule in test["alert_rule_test"])}
    assert tested == {alert.name for alert in (*ALERTS, *OPERATOR_ALERTS)}, (
        "every alert has a series that makes it fire"
    )
    file = tmp_path / "test.yaml"
    file.write_text(json.dumps({**case, "rule_files": [str(ALERTS_FILE)]}))
    promtool("test", "rules", file)
