"""What was observed about a HeliosProxy → its status. Pure; called by the reconciler, which writes the result.

Conditions are Kubernetes' standard form. `Reconciling` and `Stalled` are there only while they are true, as kstatus
wants it. The phase is derived from the conditions and never decides anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from helios.config import MaintenanceMode
from helios_crds.problems import Problem, Reason, Severity
from helios_crds.render import RenderResult
from helios_crds.v1alpha1.status import Phase
from helios_operator.conditions import Finding, conditions_of, time_text, told
from helios_operator.document import ConfigDocument
from helios_operator.hold import hold_finding
from helios_operator.names import ProxyKey, selector_text
from helios_operator.poller import PodView
from helios_operator.records import Child, Pod
from helios_operator.switchovers import HoldOrder

__all__ = ["Certifier", "Observed", "Trouble", "status_of"]

MAX_PODS: Final = 1_000
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why children could not be written."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Certifier:
    """cert-manager, where it is asked for a certificate."""

    is_served: bool
    """Whether the cluster knows Certificates."""
    said: str
    """What is said of ours; empty where nothing is."""


@dataclass(frozen=True)
class Observed:
    """Everything a status is made of."""

    key: ProxyKey
    generation: int
    replicas: int
    problems: tuple[Problem, ...]
    """Of reading the resource and of rendering it."""
    result: RenderResult | None
    """None where the resource could not even be read."""
    document: ConfigDocument | None
    """What the pods shall run; the last good one while a new configuration is refused."""
    trouble: Trouble | None
    deployment: Child | None
    pods: tuple[Pod, ...]
    views: Mapping[str, PodView]
    shares: Mapping[str, int] = field(default_factory=dict)
    """Name of a pod → server connections it may have."""
    held_back: int = 0
    """Pods that are wanted and not asked for yet, since the others hold the server connections they need."""
    not_served: tuple[str, ...] = ()
    """Kinds of other projects that are asked for and not there."""
    orders: Mapping[str, HoldOrder] = field(default_factory=dict)
    """Clusters that somebody else switches over, so that no transaction begins there."""
    hold: str | None = None
    """The annotation by which somebody has the clients wait."""
    sidecars: tuple[Pod, ...] = ()
    """Pods of applications with the proxy in them; what they say is in `views`, too."""
    maintenance: MaintenanceMode = MaintenanceMode.NONE
    """What the spec says of them."""
    certifier: Certifier | None = None
    """None where it is asked for nothing."""
    webhooks: Finding | None = None
    """What is wrong with the operator's webhooks, which the pods of applications depend on."""

    @property
    def is_rendered(self) -> bool:
        """Whether the resource as it is now made a configuration."""
        return self.result is not None and self.result.config is not None

    @property
    def of_pods(self) -> Mapping[str, PodView]:
        """What the proxy's own pods said."""
        others = {pod.name for pod in self.sidecars}
        return {name: view for name, view in self.views.items() if name not in others}

    @property
    def lookouts(self) -> Mapping[str, PodView]:
        """Who is asked about the servers: the pods, or the sidecars where there are no others."""
        return self.of_pods or self.views

    @property
    def ready(self) -> int:
        """Pods that are ready, as the Deployment counts them."""
        return int(self.deployment.status.get("readyReplicas", 0)) if self.deployment else 0


def status_of(seen: Observed, before: Mapping[str, Any], now: datetime) -> Json:
    """The whole status; times of conditions that did not turn are taken from `before`, the present status."""
    findings = [
        _references(seen),
        _backends(seen),
        _config_valid(seen),
        _available(seen),
        _in_force(seen),
        _topology(seen),
    ]
    stalled = _stalled(seen)
    ready = _ready(seen, findings, stalled)
    findings = [ready, *findings]
    if (holding := hold_finding(seen.hold, now, seen.maintenance)) is not None:
        findings.append(holding)
    if seen.orders:
        message = "; ".join(f"{cluster}: {order.reason}" for cluster, order in sorted(seen.orders.items()))
        findings.append(Finding("SwitchingOver", "True", "HeldForProvider", f"no transaction begins in {message}"))
    if seen.sidecars:
        findings.append(_sidecars(seen))
    if (encryption := _tls(seen)) is not None:
        findings.append(encryption)
    if (quota := _quota(seen)) is not None:
        findings.append(quota)
    if seen.webhooks is not None:
        findings.append(seen.webhooks)
    if seen.not_served:
        message = f"the cluster has no {' and no '.join(seen.not_served)} yet; it is looked for again and again"
        findings.append(Finding("Monitored", "False", "KindNotServed", message))
    if stalled is not None:
        findings.append(stalled)
    elif (going := _reconciling(seen, findings)) is not None:
        findings.append(going)
    status: Json = {
        "observedGeneration": seen.generation,
        "phase": _phase(seen, ready, stalled).value,
        "readyReplicas": seen.ready,
        "replicas": int(seen.deployment.status.get("replicas", 0)) if seen.deployment else 0,
        "selector": selector_text(seen.key),
        **_nodes(seen, before),
        "conditions": conditions_of(findings, seen.generation, before, now),
    }
    if seen.result is not None:
        status["effective"] = [each.as_status() for each in seen.result.effective]
    if seen.document is not None:
        status["configHash"] = seen.document.hash
    if seen.sidecars:
        status["sidecars"] = len(seen.sidecars)
    if seen.pods:
        status["pods"] = [_pod(pod, seen.views.get(pod.name), seen.shares.get(pod.name)) for pod in _sorted(seen.pods)]
    return status


def _sorted(pods: Iterable[Pod]) -> list[Pod]:
    return sorted(pods, key=lambda pod: pod.name)[:MAX_PODS]


def _pod(pod: Pod, view: PodView | None, share: int | None) -> Json:
    made: Json = {"name": pod.name, "ready": pod.ready}
    if share is not None:
        made["maxServerConnections"] = share
    if view is not None and view.config is not None:
        made |= {"configHash": view.config.hash, "configGeneration": view.config.generation}
    message = pod.trouble[1] or pod.trouble[0] if pod.trouble else view and (view.refusal or view.error)
    return {**made, "message": message[:1_000]} if message else made


def _named(problems: Iterable[Problem], *reasons: Reason) -> list[Problem]:
    return [problem for problem in problems if problem.reason in reasons]


def _references(seen: Observed) -> Finding:
    missing = _named(seen.problems, Reason.REF_MISSING)
    if missing:
        return Finding("ReferencesResolved", "False", Reason.REF_MISSING.value, told(missing))
    if seen.result is None:
        return Finding("ReferencesResolved", "Unknown", "Invalid", "the resource cannot be read")
    return Finding("ReferencesResolved", "True", "Resolved", "everything that is referred to exists")


def _backends(seen: Observed) -> Finding:
    missing = _named(seen.problems, Reason.BACKENDS_MISSING)
    if missing:
        return Finding("BackendsFound", "False", Reason.BACKENDS_MISSING.value, told(missing))
    if seen.result is None:
        return Finding("BackendsFound", "Unknown", "Invalid", "the resource cannot be read")
    if seen.result.discoveries:
        sources = ", ".join(each.source for each in seen.result.discoveries)
        return Finding("BackendsFound", "True", "EndpointsFound", f"nodes are those of {sources}")
    return Finding("BackendsFound", "True", "NodesListed", "nodes are listed in the resource")


def _config_valid(seen: Observed) -> Finding:
    outside = (Reason.REF_MISSING, Reason.BACKENDS_MISSING)
    wrong = [each for each in seen.problems if each.severity is Severity.ERROR and each.reason not in outside]
    if wrong:
        return Finding("ConfigValid", "False", wrong[0].reason.value, told(wrong))
    refusals = [f"{name}: {view.refusal}" for name, view in sorted(seen.of_pods.items()) if view.refusal]
    if refusals:
        return Finding("ConfigValid", "False", "RefusedByPod", "; ".join(refusals))
    ignored = _named(seen.problems, Reason.AUTOSCALERS_CLASH, Reason.NOT_ACTED_ON, Reason.NOT_IN_IMAGE)
    if ignored:
        return Finding("ConfigValid", "True", ignored[0].reason.value, told(ignored))
    return Finding("ConfigValid", "True", "Valid", "the configuration is valid")


def _tls(seen: Observed) -> Finding | None:
    if seen.certifier is None:
        return None
    if not seen.certifier.is_served:
        message = "the cluster has no Certificate of cert-manager's yet; it is looked for again and again"
        return Finding("TLSReady", "False", "KindNotServed", message)
    name = seen.key.certificate
    missing = _named(seen.problems, Reason.REF_MISSING)
    if any(problem.field == "spec.tls.certificate" for problem in missing):
        message = f"cert-manager has not made the certificate in Secret/{name} yet"
        said = f"{message}: {seen.certifier.said}" if seen.certifier.said else message
        return Finding("TLSReady", "False", "CertificatePending", said)
    return Finding("TLSReady", "True", "Issued", f"the certificate of Secret/{name} is shown")


def _quota(seen: Observed) -> Finding | None:
    if exceeded := _named(seen.problems, Reason.QUOTA_EXCEEDED):
        return Finding("QuotaSatisfied", "False", Reason.QUOTA_EXCEEDED.value, told(exceeded))
    if seen.result is None or seen.result.clients is None:
        return None
    return Finding("QuotaSatisfied", "True", "Divided", f"each pod takes up to {seen.result.clients} clients")


def _available(seen: Observed) -> Finding:
    if seen.deployment is None:
        return Finding("Available", "False", "NoDeployment", "no pods were asked for yet")
    conditions = {each["type"]: each for each in seen.deployment.status.get("conditions", ())}
    failure = conditions.get("ReplicaFailure")
    if failure and failure["status"] == "True":
        return Finding("Available", "False", failure["reason"] or "ReplicaFailure", failure["message"])
    trouble = _first_trouble(seen)
    enough = conditions.get("Available", {}).get("status") == "True"
    if trouble is not None and not (enough and seen.ready >= seen.replicas):
        return Finding("Available", "False", *trouble)
    if seen.replicas == 0:
        return Finding("Available", "True", "ScaledToZero", "no pods are wanted")
    if enough:
        return Finding("Available", "True", "PodsReady", f"{seen.ready} of {seen.replicas} pods are ready")
    return Finding("Available", "False", "PodsNotReady", f"{seen.ready} of {seen.replicas} pods are ready")


def _first_trouble(seen: Observed) -> tuple[str, str] | None:
    """(reason, sentence) of the first pod that cannot start, also while enough older ones serve on."""
    for pod in _sorted(seen.pods):
        if pod.trouble is not None:
            reason, message = pod.trouble
            return reason or "PodTrouble", f"pod {pod.name}: {message or reason}"
    return None


def _in_force(seen: Observed) -> Finding:
    running = [pod for pod in _sorted(seen.pods) if pod.running]
    if seen.document is None or not running:
        return Finding("ConfigInForce", "Unknown", "NoPods", "no pod runs yet")
    views = {pod.name: seen.views.get(pod.name, PodView()) for pod in running}
    current = [n for n, view in views.items() if view.config and view.config.hash == seen.document.hash]
    count = f"{len(current)} of {len(running)} pods run generation {seen.document.generation}"
    if len(current) == len(running):
        return Finding("ConfigInForce", "True", "InForce", f"{count}: {', '.join(current)}")
    rest = [f"{name} ({_why_not(view)})" for name, view in views.items() if name not in current]
    return Finding("ConfigInForce", "False", "RollingOut", f"{count}; not yet: {', '.join(rest)}")


def _sidecars(seen: Observed) -> Finding:
    """Told apart from the pods: a pod of an application is restarted by its owner, and only by him."""
    assert seen.sidecars, "asked for where there are some"
    digest = seen.document.hash if seen.document is not None else None
    behind: list[str] = []
    for pod in _sorted(seen.sidecars):
        view = seen.views.get(pod.name, PodView())
        if pod.trouble is not None:
            behind.append(f"{pod.name} ({pod.trouble[1] or pod.trouble[0]})")
        elif view.config is None or view.config.hash != digest or view.refusal or view.error:
            behind.append(f"{pod.name} ({_why_not(view)})")
        elif view.config.restart_needed:
            behind.append(f"{pod.name} (needs a new pod for {', '.join(view.config.restart_needed)})")
    count = f"{len(seen.sidecars) - len(behind)} of {len(seen.sidecars)} sidecars run the configuration"
    if not behind:
        return Finding("SidecarsInForce", "True", "InForce", count)
    return Finding("SidecarsInForce", "False", "RollingOut", f"{count}; not yet: {', '.join(behind)}")


def _why_not(view: PodView) -> str:
    if view.refusal or view.error:
        return str(view.refusal or view.error)
    return f"generation {view.config.generation}" if view.config else "not asked yet"


def _topology(seen: Observed) -> Finding:
    told = {name: view.topology for name, view in sorted(seen.lookouts.items()) if view.topology is not None}
    if not told:
        return Finding("TopologyAgreed", "Unknown", "NotAsked", "no pod was asked yet")
    opinions = {topology.primaries or (("main", topology.primary),) for topology in told.values()}
    if len(opinions) > 1:
        by_pod = ", ".join(f"{name}: {topology.primary or 'none'}" for name, topology in told.items())
        return Finding("TopologyAgreed", "False", "PodsDisagree", f"pods see different primaries ({by_pod})")
    without = [cluster for cluster, primary in next(iter(opinions)) if primary is None]
    if without:
        return Finding("TopologyAgreed", "False", "NoPrimary", f"no pod sees a primary of {', '.join(without)}")
    return Finding("TopologyAgreed", "True", "Agreed", f"{len(told)} pods see the same primary")


def _stalled(seen: Observed) -> Finding | None:
    """What waits for a person.

    A missing object that may come any moment does not, unless the proxy once had it; nor does a key that older pods do
    not know, for these may be about to go.
    """
    if seen.trouble is not None:
        return Finding("Stalled", "True", seen.trouble.reason, seen.trouble.message)
    if seen.is_rendered:
        return None
    errors = [problem for problem in seen.problems if problem.severity is Severity.ERROR]
    may_come = (Reason.REF_MISSING, Reason.BACKENDS_MISSING, Reason.NOT_IN_IMAGE)
    final = [problem for problem in errors if problem.reason not in may_come]
    if final:
        return Finding("Stalled", "True", final[0].reason.value, told(final))
    if seen.document is not None and _named(errors, Reason.REF_MISSING):
        message = f"the last configuration stays in force, for {told(errors)}"
        return Finding("Stalled", "True", Reason.REF_MISSING.value, message)
    return None


def _ready(seen: Observed, findings: Iterable[Finding], stalled: Finding | None) -> Finding:
    if stalled is not None:
        return Finding("Ready", "False", stalled.reason, stalled.message)
    by_type = {finding.type: finding for finding in findings}
    decisive = ["ConfigValid", "BackendsFound", "Available"]
    if not seen.is_rendered:
        decisive.insert(1, "ReferencesResolved")
    for name in decisive:
        if by_type[name].status == "False":
            return Finding("Ready", "False", by_type[name].reason, by_type[name].message)
    pods = seen.deployment.status if seen.deployment else {}
    updated = int(pods.get("updatedReplicas", 0))
    if seen.ready < seen.replicas or updated < seen.replicas or int(pods.get("replicas", 0)) > seen.replicas:
        message = f"{seen.ready} of {seen.replicas} pods are ready, {updated} of the present template"
        reason, why = _first_trouble(seen) or _held_back(seen) or ("PodsNotReady", "")
        return Finding("Ready", "False", reason, f"{message}; {why}" if why else message)
    if by_type["TopologyAgreed"].status == "False":
        return Finding("Ready", "False", by_type["TopologyAgreed"].reason, by_type["TopologyAgreed"].message)
    return Finding("Ready", "True", "Ready", f"{seen.ready} pods are ready")


def _held_back(seen: Observed) -> tuple[str, str] | None:
    if not seen.held_back:
        return None
    why = f"{seen.held_back} more are made when the others have given up the server connections they need"
    return "WaitsForServerConnections", why


def _reconciling(seen: Observed, findings: list[Finding]) -> Finding | None:
    ready = findings[0]
    if ready.status != "True":
        return Finding("Reconciling", "True", ready.reason, ready.message)
    going = next((each for each in findings if each.type == "ConfigInForce" and each.status == "False"), None)
    return None if going is None else Finding("Reconciling", "True", going.reason, going.message)


def _phase(seen: Observed, ready: Finding, stalled: Finding | None) -> Phase:
    if ready.status == "True":
        return Phase.READY
    if seen.ready == 0:
        return Phase.FAILED if stalled is not None else Phase.PENDING
    return Phase.DEGRADED


def _nodes(seen: Observed, before: Mapping[str, Any]) -> Json:
    told = [view.topology for _, view in sorted(seen.lookouts.items()) if view.topology is not None]
    failovers = [each.last_failover for each in told if each.last_failover is not None]
    if previous := before.get("lastFailover"):
        failovers.append(datetime.fromisoformat(previous))
    found: Json = {}
    if failovers:
        found["lastFailover"] = time_text(max(failovers))
    if told:
        found |= {"healthyNodes": told[0].healthy, "unhealthyNodes": told[0].unhealthy}
        primary = next((each.primary for each in told if each.primary is not None), None)
        found |= {"currentPrimary": primary} if primary else {}
    return found
