"""The admin token and certificate of a proxy: replaced on demand, both taken for a while, then the old ones go."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from cluster import Cluster
from harness.operator import OperatorProcess
from harness.resources import Shop

ROTATE = "helios.heliosproxy.dev/rotate-admin"


@pytest.fixture
def shop(installed: Cluster, namespace: str) -> Shop:
    return Shop(installed, namespace)


def secret(shop: Shop) -> dict[str, bytes]:
    return {name: base64.b64decode(value) for name, value in shop.get("secret", "web-admin")["data"].items()}


def tokens(shop: Shop) -> list[bytes]:
    return secret(shop)["token"].split()


def test_old_token_goes_after_the_overlap(shop: Shop, operator_kubeconfig: Path, tmp_path: Path) -> None:
    with OperatorProcess(operator_kubeconfig, tmp_path, "--token-overlap=3").wait_leading() as operator:
        shop.proxy()
        shop.await_deployed()
        first = secret(shop)
        template = shop.get("deployment", "web")["spec"]["template"]

        shop.kubectl("annotate", "heliosproxy", "web", f"{ROTATE}=monday")
        shop.until(lambda: len(tokens(shop)) == 2, "both tokens are taken")
        both = secret(shop)
        assert both["token"].split()[1] == first["token"].strip()
        assert both["ca.crt"] == both["tls.crt"] + first["tls.crt"]

        shop.until(lambda: len(tokens(shop)) == 1, "the old token went", 15)
        last = secret(shop)
        assert last["token"].strip() == both["token"].split()[0]
        assert last["ca.crt"] == last["tls.crt"] == both["tls.crt"]
        operator.wait_idle()
        assert shop.get("deployment", "web")["spec"]["template"] == template, "no pod was started anew"

    # The word of the last rotation is kept in the Secret: an operator that starts again does not rotate.
    with OperatorProcess(operator_kubeconfig, tmp_path, name="again").wait_leading() as again:
        again.wait_idle()
        assert secret(shop) == last


def test_secret_that_lost_its_content_is_made_whole(shop: Shop, operator_kubeconfig: Path, tmp_path: Path) -> None:
    with OperatorProcess(operator_kubeconfig, tmp_path, name="before").wait_leading():
        shop.proxy()
        shop.await_deployed()
    shop.kubectl("patch", "secret", "web-admin", "--type=json", '-p=[{"op":"remove","path":"/data/tls.key"}]')

    with OperatorProcess(operator_kubeconfig, tmp_path, name="after").wait_leading():
        shop.until(lambda: "tls.key" in secret(shop), "the key is there again")

    assert set(secret(shop)) == {"token", "metrics-token", "tls.crt", "tls.key", "ca.crt"}
