"""Values of the chart `helios-operator`: source of its values.yaml and values.schema.json, which `chart` writes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

__all__ = ["OperatorValues"]

Labels = dict[str, str]
Name = Annotated[str, Field(max_length=63, pattern=r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?)?$")]


class _Values(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, use_attribute_docstrings=True
    )


class ImageValues(_Values):
    """The operator's image."""

    repository: str = "helios-operator"
    """Image without tag."""
    tag: str = ""
    """Empty: the chart's appVersion."""
    digest: Annotated[str, Field(pattern=r"^(sha256:[0-9a-f]{64})?$")] = ""
    """`sha256:…`; goes before the tag."""
    pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    """When a node pulls it."""
    pull_secrets: list[str] = []
    """Names of Secrets of the namespace for the registry."""


class CrdValues(_Values):
    """The CustomResourceDefinitions."""

    enabled: bool = True
    """Whether the chart brings them. Off where `kubectl apply --server-side -f crds/` does, or another release."""
    keep: bool = True
    """Whether they stay when the release is uninstalled; with them every HeliosProxy of the cluster would go."""
    check_rollback: bool = True
    """Whether `helm rollback` to this release is refused while a stored resource has a field that its definitions do
    not know: the API server would drop it. A Job of the operator's image looks."""


class RbacValues(_Values):
    """Rights."""

    create: bool = True
    """Whether the chart makes the operator's roles."""
    aggregate: bool = True
    """Whether Kubernetes' own roles view, edit and admin get rights on the Helios resources."""


class ServiceAccountValues(_Values):
    """The operator's identity."""

    create: bool = True
    """Whether the chart makes it."""
    name: Name = ""
    """Empty: the name of the release's objects."""
    annotations: Labels = {}
    """Annotations of it."""


class BudgetValues(_Values):
    """PodDisruptionBudget of the operator."""

    enabled: bool = True
    """Whether there is one. It is made with at least two replicas only."""


class PodMonitorValues(_Values):
    """PodMonitor of the Prometheus operator."""

    enabled: bool = False
    """Whether there is one. Its CustomResourceDefinition must be there."""
    labels: Labels = {}
    """Labels that your Prometheus selects by."""
    interval_seconds: Annotated[int, Field(ge=1, le=3600)] = 30
    """Seconds between two scrapes."""


class PrometheusRuleValues(_Values):
    """PrometheusRule of the Prometheus operator, with the alerts about the operator itself."""

    enabled: bool = False
    """Whether there is one. Its CustomResourceDefinition must be there."""
    labels: Labels = {}
    """Labels that your Prometheus selects by."""


class IssuerValues(_Values):
    """Issuer of cert-manager."""

    name: str = ""
    """Its name. Best one of type CA: the authority stays when certificates are renewed."""
    kind: Literal["Issuer", "ClusterIssuer"] = "Issuer"
    """What it is."""


class WebhookValues(_Values):
    """Webhooks by which the API server asks the operator."""

    enabled: bool = True
    """Whether there are any. Without them what is wrong is told by conditions only."""
    failure_policy: Literal["Ignore", "Fail"] = "Ignore"
    """What becomes of a HeliosProxy while no operator answers: `Ignore` takes it, `Fail` refuses it."""
    certificate: Literal["own", "certManager", "secret"] = "own"
    """Who keeps the certificate: `own`, the operator; `certManager`, a Certificate that the chart makes; `secret`,
    whoever writes `tls.crt`, `tls.key` and `ca.crt` into the Secret `<name>-webhook`."""
    issuer_ref: IssuerValues = IssuerValues()
    """Who issues it for cert-manager."""


class OperatorValues(_Values):
    """Everything that can be set."""

    name_override: Name = ""
    """Name of the chart's objects in the place of `helios-operator`."""
    replica_count: Annotated[int, Field(ge=1, le=9)] = 2
    """Pods of the operator; one leads, the others take over within seconds."""
    image: ImageValues = ImageValues()
    """The operator's image."""
    proxy_image: str = ""
    """Image of a HeliosProxy that names none. Empty: the one this operator was released with."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe lines that are logged."""
    extra_args: list[Annotated[str, Field(pattern=r"^--[a-z]")]] = []
    """More options of `python -m helios_operator`, e.g. `--poll-interval=10`."""
    crds: CrdValues = CrdValues()
    """The CustomResourceDefinitions."""
    rbac: RbacValues = RbacValues()
    """Rights."""
    service_account: ServiceAccountValues = ServiceAccountValues()
    """The operator's identity."""
    webhook: WebhookValues = WebhookValues()
    """Webhooks by which the API server asks the operator."""
    pod_disruption_budget: BudgetValues = BudgetValues()
    """PodDisruptionBudget of the operator."""
    pod_monitor: PodMonitorValues = PodMonitorValues()
    """PodMonitor of the Prometheus operator."""
    prometheus_rule: PrometheusRuleValues = PrometheusRuleValues()
    """PrometheusRule of the Prometheus operator."""
    resources: dict[Literal["requests", "limits"], dict[str, str]] = {
        "requests": {"cpu": "100m", "memory": "128Mi"},
        "limits": {"cpu": "1", "memory": "512Mi"},
    }
    """CPU and memory of each pod. A thousand HeliosProxies take some 100 MiB."""
    pod_annotations: Labels = {}
    """Annotations of the pods."""
    node_selector: Labels = {}
    """Nodes that the pods may run on, by label."""
    tolerations: list[dict[str, Any]] = []
    """Taints that the pods bear, as Kubernetes writes them."""
    affinity: dict[str, Any] = {}
    """Affinity of the pods, as Kubernetes writes it."""
    priority_class_name: str = ""
    """PriorityClass of the pods."""
