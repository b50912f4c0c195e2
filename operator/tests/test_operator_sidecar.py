"""The proxy inside an application's pod: what is added, what stays the application's, and what cannot be."""

from __future__ import annotations

from typing import Any

import pytest
from operator_objects import KEY, document_of, proxy

from helios_crds.workload import workload
from helios_operator.desired.sidecar import SidecarError, with_sidecar
from helios_operator.names import SIDECAR_CONTAINER
from helios_operator.records import sidecar_of

IMAGE = "helios-proxy:1"
SECRETS = {"auth": {"usersSecretRef": {"name": "people"}}}


def pod(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "app"}, "spec": {"containers": [{"name": "app", "image": "app"}], **spec}}


def injected(asked: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return with_sidecar(asked, KEY, workload(proxy(**spec)), document_of(**spec), IMAGE)


def test_sidecar_comes_first_and_the_application_is_as_it_was() -> None:
    asked = pod(
        initContainers=[{"name": "migrate", "image": "app"}],
        volumes=[{"name": "config", "emptyDir": {}}],
        terminationGracePeriodSeconds=60,
    )

    made = injected(asked, drain={"endpointDelaySeconds": 5, "timeoutSeconds": 25}, **SECRETS)

    sidecar, migrate = made["initContainers"]
    assert (sidecar["name"], migrate) == (SIDECAR_CONTAINER, asked["spec"]["initContainers"][0])
    assert made["containers"] == asked["spec"]["containers"]
    assert made["volumes"][0] == asked["spec"]["volumes"][0]
    assert (sidecar["restartPolicy"], sidecar["args"][-1]) == ("Always", "--sidecar")
    assert "lifecycle" not in sidecar
    assert "readinessProbe" not in sidecar
    assert sidecar["startupProbe"]["httpGet"]["path"] == "/startupz"
    assert made["terminationGracePeriodSeconds"] == 60 + 5 + 25 + 5
    volumes = {volume["name"] for volume in made["volumes"]}
    assert {mount["name"] for mount in sidecar["volumeMounts"]} == volumes - {"config"}
    assert {"people"} == {each["secret"]["secretName"] for each in made["volumes"] if "secret" in each} - {KEY.admin}


def test_done_twice_it_is_as_done_once() -> None:
    once = injected(pod())

    assert injected({"metadata": {}, "spec": once}) == once
    assert once["terminationGracePeriodSeconds"] > 30


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"hostNetwork": True}, "hostNetwork"),
        ({"containers": [{"name": "app", "ports": [{"containerPort": 6432}]}]}, "container app listens on port 6432"),
        ({"containers": [{"name": SIDECAR_CONTAINER}]}, "give it another one"),
    ],
)
def test_what_cannot_be_is_told(spec: dict[str, Any], told: str) -> None:
    with pytest.raises(SidecarError, match=told):
        injected(pod(**spec))


def test_port_of_another_protocol_is_the_application_s() -> None:
    injected(pod(containers=[{"name": "app", "ports": [{"containerPort": 6432, "protocol": "UDP"}]}]))


def test_pod_tells_of_its_sidecar() -> None:
    spec = injected(pod())
    state = {"name": SIDECAR_CONTAINER, "state": {"running": {}}, "ready": True, "started": False}
    status = {"initContainerStatuses": [state], "podIP": "198.18.0.9"}
    value = {"metadata": {"name": "app"}, "spec": spec, "status": status}

    seen = sidecar_of(value)

    assert seen is not None
    assert (seen.image, seen.running, seen.started, seen.ended) == (IMAGE, True, False, False)
    ended = sidecar_of({**value, "status": {"phase": "Succeeded"}})
    assert ended is not None
    assert ended.ended
    assert sidecar_of(pod()) is None, "labelled later, or by mistake"
