"""The status says what was observed, turns times only with truths, and never pretends."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from operator_objects import KEY, proxy, rendered

from helios.config import NodeConfig
from helios_crds import HeliosProxy
from helios_crds.problems import Problem, Reason, Severity
from helios_crds.references import References
from helios_crds.v1alpha1.status import HeliosProxyStatus
from helios_operator.document import next_document
from helios_operator.pod_api import PodConfig, PodTopology
from helios_operator.poller import PodView
from helios_operator.records import Child, Pod, child_of
from helios_operator.status import Observed, Trouble, status_of

NOW = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)


def pods_of(count: int = 2, **changes: Any) -> tuple[Pod, ...]:
    pod = Pod("", "helios-proxy:0.1.0", "198.18.0.1", ready=True, running=True, deleting=False, trouble=None)
    return tuple(replace(pod, name=f"web-{number}", **changes) for number in range(count))


def deployed(ready: int = 2, **conditions: tuple[str, str, str]) -> Child:
    metadata = {"name": "web", "namespace": "shop", "uid": "u", "resourceVersion": "5"}
    listed = [{"type": n, "status": s, "reason": r, "message": m} for n, (s, r, m) in conditions.items()]
    counts = {"replicas": 2, "updatedReplicas": 2, "readyReplicas": ready}
    return child_of({"metadata": metadata, "spec": {}, "status": {**counts, "conditions": listed}})


def seen(resource: HeliosProxy, references: References | None = None, **changes: Any) -> Observed:
    """A proxy that is well: two ready pods, both with the document, both seeing the same primary."""
    result = rendered(resource, references)
    document = next_document(result.config, None, ()) if result.config else None
    config = PodConfig(1, document.hash) if document else None
    topology = PodTopology("db-0:5432", 2, 0, None, (("main", "db-0:5432"),))
    well = Observed(
        key=KEY,
        generation=3,
        replicas=2,
        problems=result.problems,
        result=result,
        document=document,
        trouble=None,
        deployment=deployed(Available=("True", "MinimumReplicasAvailable", "")),
        pods=pods_of(),
        views={f"web-{number}": PodView(config, topology) for number in range(2)},
    )
    return replace(well, **changes)


def conditions(status: dict[str, Any]) -> dict[str, tuple[str, str]]:
    HeliosProxyStatus.model_validate(status)
    return {each["type"]: (each["status"], each["reason"]) for each in status["conditions"]}


def test_well_proxy_is_ready() -> None:
    observed = seen(proxy())
    status = status_of(observed, {}, NOW)

    found = conditions(status)
    assert found["Ready"] == ("True", "Ready")
    assert {name for name, (truth, _) in found.items() if truth != "True"} == set()
    assert "Reconciling" not in found
    assert "Stalled" not in found
    assert status["phase"] == "Ready"
    assert status["currentPrimary"] == "db-0:5432"
    assert (status["healthyNodes"], status["unhealthyNodes"], status["readyReplicas"]) == (2, 0, 2)
    assert observed.document is not None
    assert status["configHash"] == observed.document.hash
    assert status["observedGeneration"] == 3


def test_same_observation_gives_the_same_status() -> None:
    first = status_of(seen(proxy()), {}, NOW)

    assert status_of(seen(proxy()), first, NOW + timedelta(hours=1)) == first


def test_time_of_a_condition_changes_with_its_truth_only() -> None:
    first = status_of(seen(proxy()), {}, NOW)
    second = status_of(seen(proxy(), deployment=deployed(ready=1)), first, NOW + timedelta(hours=1))

    times = {each["type"]: each["lastTransitionTime"] for each in second["conditions"]}
    assert times["Ready"] == "2030-01-02T04:04:05Z"
    assert times["ConfigValid"] == "2030-01-02T03:04:05Z"
    assert second["phase"] == "Degraded"


def test_missing_pool_profile_is_told_but_does_not_stop() -> None:
    found = conditions(status_of(seen(proxy(poolProfileRef={"name": "fast"})), {}, NOW))

    assert found["ReferencesResolved"] == ("False", "RefMissing")
    assert found["Ready"] == ("True", "Ready")


def test_policy_that_went_stalls_and_the_last_document_stays() -> None:
    observed = seen(proxy(routingRuleRefs=[{"name": "reads"}]))
    kept = seen(proxy()).document

    status = status_of(replace(observed, document=kept), {}, NOW)

    found = conditions(status)
    assert found["Stalled"] == ("True", "RefMissing")
    assert found["Ready"] == ("False", "RefMissing")
    assert kept is not None
    assert status["configHash"] == kept.hash


def test_new_proxy_without_its_policy_waits() -> None:
    observed = seen(proxy(routingRuleRefs=[{"name": "reads"}]), deployment=None, pods=(), views={})

    found = conditions(status_of(observed, {}, NOW))

    assert "Stalled" not in found
    assert found["Reconciling"] == ("True", "RefMissing")
    assert found["Available"] == ("False", "NoDeployment")


def test_no_backend_is_told() -> None:
    found = conditions(status_of(seen(proxy(nodes=[]), deployment=None, pods=(), views={}), {}, NOW))
    nodes = {"main": (NodeConfig(host="198.18.0.9"),)}
    after = conditions(status_of(seen(proxy(nodes=[]), References(discovered=nodes)), {}, NOW))

    assert found["BackendsFound"] == ("False", "BackendsMissing")
    assert after["BackendsFound"] == ("True", "EndpointsFound")


def test_foreign_object_stalls() -> None:
    found = conditions(status_of(seen(proxy(), trouble=Trouble("InvalidOwnership", "Service/web …")), {}, NOW))

    assert found["Stalled"] == ("True", "InvalidOwnership")
    assert found["Ready"] == ("False", "InvalidOwnership")


def test_quota_that_refuses_pods_is_told_in_the_server_s_words() -> None:
    refused = deployed(ready=0, ReplicaFailure=("True", "FailedCreate", "exceeded quota: none"))
    status = status_of(seen(proxy(), deployment=refused, pods=(), views={}), {}, NOW)

    assert conditions(status)["Available"] == ("False", "FailedCreate")
    assert "exceeded quota" in next(each["message"] for each in status["conditions"] if each["type"] == "Ready")
    assert status["phase"] == "Pending"


def test_image_that_cannot_be_had_is_told() -> None:
    pods = pods_of(1, ready=False, running=False, trouble=("ErrImagePull", "no such image"))
    found = conditions(status_of(seen(proxy(), deployment=deployed(ready=0), pods=pods, views={}), {}, NOW))

    assert found["Available"] == ("False", "ErrImagePull")


def test_pods_that_disagree_are_told() -> None:
    observed = seen(proxy())
    other = PodTopology("db-1:5432", 2, 0, None, (("main", "db-1:5432"),))
    views = {**observed.views, "web-1": replace(observed.views["web-1"], topology=other)}

    found = conditions(status_of(replace(observed, views=views), {}, NOW))

    assert found["TopologyAgreed"] == ("False", "PodsDisagree")


def test_pods_that_run_another_document_are_named() -> None:
    observed = seen(proxy())
    views = {**observed.views, "web-1": replace(observed.views["web-1"], config=PodConfig(0, "old"))}

    status = status_of(replace(observed, views=views), {}, NOW)

    assert conditions(status)["Reconciling"] == ("True", "RollingOut")
    message = next(each["message"] for each in status["conditions"] if each["type"] == "ConfigInForce")
    assert message == "1 of 2 pods run generation 1; not yet: web-1 (generation 0)"


def test_last_failover_is_never_forgotten() -> None:
    before = {"lastFailover": "2029-01-01T00:00:00Z"}

    assert status_of(seen(proxy()), before, NOW)["lastFailover"] == "2029-01-01T00:00:00Z"


def test_new_image_that_cannot_be_had_is_told_while_the_old_pods_serve() -> None:
    observed = seen(proxy())
    counts = {"replicas": 3, "updatedReplicas": 1, "readyReplicas": 2}
    conditions_of = [{"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable", "message": ""}]
    metadata = {"name": "web", "namespace": "shop", "uid": "u", "resourceVersion": "6"}
    rolling = child_of({"metadata": metadata, "spec": {}, "status": {**counts, "conditions": conditions_of}})
    stuck = replace(pods_of(1, ready=False, running=False, trouble=("ImagePullBackOff", "no such image"))[0], name="x")

    found = conditions(status_of(replace(observed, deployment=rolling, pods=(*observed.pods, stuck)), {}, NOW))

    assert found["Available"][0] == "True"
    assert found["Ready"] == ("False", "ImagePullBackOff")
    assert found["Reconciling"] == ("True", "ImagePullBackOff")


def test_key_that_an_older_image_lacks_is_told_and_stalls_nothing() -> None:
    lacks = Problem("does not know it", "spec.io", reason=Reason.NOT_IN_IMAGE, severity=Severity.WARNING)
    well = seen(proxy())

    told = status_of(replace(well, problems=(lacks,)), {}, NOW)
    assert conditions(told)["ConfigValid"] == ("True", "NotInImage")
    assert conditions(told)["Ready"] == ("True", "Ready")

    assert well.result is not None
    guard = replace(lacks, severity=Severity.ERROR)
    waiting = status_of(replace(well, problems=(guard,), result=replace(well.result, config=None)), {}, NOW)
    assert conditions(waiting)["ConfigValid"] == ("False", "NotInImage")
    assert conditions(waiting)["Ready"] == ("False", "NotInImage")
    assert "Stalled" not in conditions(waiting)
