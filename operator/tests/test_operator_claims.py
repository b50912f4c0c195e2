"""Two HeliosProxies that want one Service: the older one has it."""

from __future__ import annotations

from typing import Any

from helios_crds import HeliosProxy
from helios_crds.parse import parse_as
from helios_crds.problems import Reason
from helios_operator.claims import claim_problems, rivals
from helios_operator.names import ProxyKey
from helios_operator.records import Stored, stored_of

OLD, YOUNG = "2030-01-31T12:00:00Z", "2030-01-31T12:00:01Z"


def resource(name: str, **spec: Any) -> HeliosProxy:
    value = {"apiVersion": "helios.heliosproxy.dev/v1alpha1", "kind": "HeliosProxy", "metadata": {"name": name}}
    return parse_as(HeliosProxy, {**value, "spec": {"nodes": [{"host": "db"}], **spec}})


def other(created: str = OLD, **metadata: str) -> Stored:
    return stored_of({"metadata": {"uid": "u", "resourceVersion": "1", "creationTimestamp": created, **metadata}})


def test_only_names_that_share_a_service_are_rivals() -> None:
    def names(name: str) -> list[str]:
        return [each.name for each in rivals(ProxyKey("shop", name))]

    assert names("web") == ["web-admin", "web-peers"]
    assert names("web-admin") == ["web-admin-admin", "web-admin-peers", "web"]
    assert names("-admin") == ["-admin-admin", "-admin-peers"]


def test_the_older_one_keeps_what_both_claim() -> None:
    web, admin = ProxyKey("shop", "web"), ProxyKey("shop", "web-admin")

    (problem,) = claim_problems(admin, resource("web-admin"), YOUNG, {web: other()})
    assert problem.message == "Service/web-admin belongs to HeliosProxy/web, which is older"
    assert problem.reason is Reason.NAME_CLAIMED
    assert claim_problems(web, resource("web"), OLD, {admin: other(YOUNG)}) == []
    # Of two of one second exactly one has it; one that is about to be made never does.
    assert claim_problems(web, resource("web"), OLD, {admin: other()}) == []
    assert claim_problems(admin, resource("web-admin"), OLD, {web: other()}) != []
    assert claim_problems(web, resource("web"), "", {admin: other(YOUNG)}) != []
    assert claim_problems(admin, resource("web-admin"), YOUNG, {web: other(deletionTimestamp=YOUNG)}) == []


def test_a_proxy_is_never_its_own_server() -> None:
    loop = resource("web", nodes=[], clusters=[{"name": "main", "discovery": {"serviceName": "web-peers"}}])

    (problem,) = claim_problems(ProxyKey("shop", "web"), loop, OLD, {})

    assert "would be the pods of this proxy itself" in problem.message
    assert claim_problems(ProxyKey("shop", "web"), resource("web", nodes=[]), OLD, {}) == []
