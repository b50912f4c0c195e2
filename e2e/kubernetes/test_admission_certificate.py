"""The webhooks' certificate on a real API server: made, renewed without a gap, replaced when it has expired."""

from __future__ import annotations

import base64
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from cryptography import x509

from cluster import Cluster, KubectlError
from harness.admission import AdmittingOperator, remove_webhooks
from harness.operator import NAMESPACE
from harness.resources import GROUP, NODES, Shop
from helios_operator.credentials import self_signed
from helios_operator.names import WEBHOOKS

EXPIRY = "webhook_certificate_expiry_timestamp_seconds"


@pytest.fixture
def shop(installed: Cluster, namespace: str) -> Iterator[Shop]:
    remove_webhooks(installed)
    yield Shop(installed, namespace)
    remove_webhooks(installed)


def certificates(text: str) -> list[bytes]:
    """What a field in base64 holds, one by one."""
    return re.findall(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n", base64.b64decode(text), re.S)


def put_certificate(shop: Shop, ends_in: timedelta, age: timedelta = timedelta()) -> str:
    """A certificate of ours that ends then, as the Secret holds it; in base64."""
    now = datetime.now(UTC)
    made = self_signed("127.0.0.1", ["127.0.0.1"], now - age, age + ends_in)
    files = dict(zip(("tls.crt", "tls.key", "ca.crt"), (*made, made[0]), strict=True))
    data = {name: base64.b64encode(text).decode() for name, text in files.items()}
    value = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": WEBHOOKS, "namespace": NAMESPACE}, "data": data}
    shop.cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input=json.dumps(value))
    return data["tls.crt"]


def asks(shop: Shop) -> bool:
    """Whether the API server gets an answer: what is wrong is refused by the webhook, and not for lack of one."""
    metadata = {"name": "same", "namespace": shop.namespace}
    spec = {"nodes": NODES, "auth": {"method": "trust"}, "listenPort": 9090}
    value = {"apiVersion": f"{GROUP}/v1alpha1", "kind": "HeliosProxy", "metadata": metadata, "spec": spec}
    try:
        shop.kubectl("create", "--dry-run=server", "-f", "-", input=json.dumps(value))
    except KubectlError as error:
        assert "denied the request" in str(error) or "failed calling webhook" in str(error), error
        return "denied the request" in str(error)
    return False


def test_renewal_leaves_no_moment_without_an_answer(shop: Shop, operator_kubeconfig: Path, tmp_path: Path) -> None:
    first = put_certificate(shop, timedelta(days=40))
    slowly = "--webhook-overlap=6"
    with AdmittingOperator(shop.cluster, operator_kubeconfig, tmp_path, slowly, name="first") as asked:
        asked.wait_leading()
        asked.configure(failurePolicy="Fail")
        shop.until(lambda: asks(shop), "the API server asks", 60)
        seen: list[tuple[int, bool]] = []

        def is_renewed() -> bool:
            secret = asked.secret()
            state = (len(certificates(secret["ca.crt"])), secret["tls.crt"] == first)
            seen.extend([] if seen and seen[-1] == state else [state])
            return state == (1, False) and set(asked.bundles()) == {secret["ca.crt"]}

        # One that stands by finds it due: in its eyes a month is too short.
        strict = (slowly, "--webhook-valid=315360000")
        with (
            asking(shop) as answers,
            AdmittingOperator(shop.cluster, operator_kubeconfig, tmp_path, *strict, name="second") as waiting,
        ):
            shop.until(is_renewed, "all steps were taken", 120)
            ends = x509.load_pem_x509_certificate(base64.b64decode(asked.secret()["tls.crt"])).not_valid_after_utc
            for each in (asked, waiting):
                shop.until(lambda: each.metric(EXPIRY) == ends.timestamp(), "every operator shows the new one", 60)  # noqa: B023
            print(waiting.log)
        print(asked.log, seen, f"{len(answers)} questions meanwhile")
        order = [state for state in seen if state[0] == 2 or not state[1]]
        assert order == [(2, True), (2, False), (1, False)], "trusted, then shown, then the old one goes"
        assert all(answers)
        assert asks(shop)


@contextmanager
def asking(shop: Shop) -> Iterator[list[bool]]:
    """Ask all the time; whether each question was answered."""
    answers: list[bool] = []
    ended = threading.Event()

    def ask() -> None:
        while not ended.is_set():
            try:
                answers.append(asks(shop))
            except AssertionError as error:
                print(error)
                answers.append(False)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield answers
    finally:
        ended.set()
        thread.join()


def test_expired_certificate_is_replaced_and_ends_nobody(shop: Shop, operator_kubeconfig: Path, tmp_path: Path) -> None:
    expired = put_certificate(shop, timedelta(seconds=-1))
    with AdmittingOperator(shop.cluster, operator_kubeconfig, tmp_path) as operator:
        operator.wait_leading()
        operator.configure(failurePolicy="Fail")
        shop.until(lambda: asks(shop), "the API server asks", 60)
        assert operator.secret()["tls.crt"] != expired
        assert operator.metric(EXPIRY) > datetime.now(UTC).timestamp() + 86_400

        # It expires while the operator runs, as for one that could not write for a month.
        again = put_certificate(shop, timedelta(seconds=-1))
        shop.until(lambda: operator.secret()["tls.crt"] != again, "it is replaced again", 60)
        shop.until(lambda: operator.is_published() and asks(shop), "the API server asks again", 60)
        assert operator.exit_status is None
        assert "webhooks' certificate changed" in operator.log


def test_certificate_that_nobody_renews_is_told_before_and_after_its_end(
    shop: Shop, operator_kubeconfig: Path, tmp_path: Path
) -> None:
    put_certificate(shop, timedelta(days=90))
    with AdmittingOperator(shop.cluster, operator_kubeconfig, tmp_path, "--webhook-certificate=given") as operator:
        operator.wait_leading()
        shop.proxy()
        shop.await_deployed()
        operator.wait_idle()
        assert "WebhooksReady" not in shop.conditions()
        document = shop.document()

        put_certificate(shop, timedelta(days=6), age=timedelta(days=84))
        shop.await_condition("web", "WebhooksReady", "True", "CertificateExpires", 30)

        changed = time.monotonic()
        put_certificate(shop, timedelta(seconds=-1))
        message = shop.await_condition("web", "WebhooksReady", "False", "CertificateExpired", 30)
        print(f"told after {time.monotonic() - changed:.1f} s")
        assert f"Secret {NAMESPACE}/{WEBHOOKS}" in message

        shop.cluster.kubectl("-n", NAMESPACE, "delete", "secret", WEBHOOKS)
        shop.await_condition("web", "WebhooksReady", "False", "CertificateMissing", 30)
        put_certificate(shop, timedelta(days=90))
        shop.until(lambda: "WebhooksReady" not in shop.conditions(), "all is well again", 30)
        assert shop.document() == document, "nothing else was touched"
        assert operator.exit_status is None


def test_certificate_of_somebody_else_is_only_read(shop: Shop, operator_kubeconfig: Path, tmp_path: Path) -> None:
    with AdmittingOperator(shop.cluster, operator_kubeconfig, tmp_path, "--webhook-certificate=given") as operator:
        operator.wait_leading()
        shop.until(lambda: "no certificate for the webhooks yet" in operator.log, "it is missed", 30)
        assert operator.secret() == {}

        given = put_certificate(shop, timedelta(days=2))
        operator.configure(failurePolicy="Fail")
        shop.until(lambda: asks(shop), "the API server asks", 60)
        assert set(operator.bundles()) == {given}
        assert operator.secret()["tls.crt"] == given, "nobody renews it here"
        managers = yaml.safe_dump(
            json.loads(
                shop.cluster.kubectl(
                    "get", "validatingwebhookconfiguration", WEBHOOKS, "--show-managed-fields", "-o", "json"
                )
            )["metadata"]["managedFields"]
        )
        assert "helios-operator-webhook" in managers
