"""Settings of the operator, with their defaults. Made of the command line by `__main__`, read by everything."""

from __future__ import annotations

import argparse
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from helios_operator.names import WEBHOOKS

__all__ = ["OperatorSettings", "parse_arguments"]

Positive = Annotated[float, Field(gt=0, le=86_400)]


class OperatorSettings(BaseModel):
    """Every field is an option of `python -m helios_operator`, `--lease-duration` for `lease_duration`."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    kubeconfig: Path | None = None
    """Kubeconfig; left out: $KUBECONFIG, then the pod's own identity, then ~/.kube/config."""

    namespace: str = "helios-system"
    """Namespace of the Lease, the operator's own."""

    identity: str = f"{socket.gethostname()}-{os.getpid()}"
    """Name under which the Lease is held; unique among the operators of a cluster. In a pod its name is part of it."""

    image: str = "helios-proxy:0.1.0"
    """Image of a HeliosProxy that names none: the one this operator was released with."""

    workers: Annotated[int, Field(ge=1, le=256)] = 16
    """HeliosProxies reconciled at once. The API server is the limit, not we: more would only wait there."""

    lease_duration: Positive = 15.0
    """Seconds after which another operator takes over from one that is silent."""

    lease_renew: Positive = 5.0
    """Seconds between two renewals; a third of the duration, so that two may fail."""

    poll_interval: Positive = 5.0
    """Seconds between two looks at a pod, ± 20 %, so that thousands of pods do not answer in one moment."""

    poll_concurrency: Annotated[int, Field(ge=1, le=1024)] = 32
    """Pods asked at once."""

    poll_timeout: Positive = 3.0
    """Seconds until a pod that does not answer counts as unreachable."""

    discovery_interval: Positive = 60.0
    """Seconds between two looks for kinds of other projects, such as PodMonitor, that may be installed at any time."""

    retry: Positive = 5.0
    """Seconds until something that nobody announces is looked for again: a missing Secret, an Endpoints object."""

    resync: Positive = 300.0
    """Seconds after which a HeliosProxy is looked at although nothing happened; finds what nobody announces."""

    secret_refresh: Positive = 25.0
    """Seconds between two looks whether the Secrets that HeliosProxies read were changed or deleted: what follows from
    it does within half a minute. Only their metadata is asked for."""

    token_overlap: Positive = 600.0
    """Seconds during which the old admin token is accepted beside the new one."""

    health_address: str = "127.0.0.1:8081"
    """`host:port` of /healthz, /readyz and /metrics of the operator itself; port 0 takes any."""

    webhook_address: str = ""
    """`host:port` of the admission webhooks, over HTTPS; port 0 takes any. Empty: there are none."""

    webhook_name: str = WEBHOOKS
    """Name of the Service and of both webhook configurations, and of the Secret of the operator's namespace with the
    certificate."""

    webhook_host: str = ""
    """Name or address by which the API server reaches the webhooks. Empty: that of the Service."""

    webhook_certificate: Literal["own", "given"] = "own"
    """Who keeps the certificate: `own`, the operators; `given`, somebody else such as cert-manager."""

    webhook_valid: Annotated[float, Field(ge=60, le=315_360_000)] = 31_536_000.0
    """Seconds that a certificate of the operators' own is valid; a twelfth before its end it is replaced."""

    webhook_refresh: Positive = 5.0
    """Seconds between two looks at that Secret, by each operator; what is wrong with it is told within two of them."""

    webhook_overlap: Positive = 120.0
    """Seconds between the steps of a renewal, in which every operator and API server takes notice of the step."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe lines that are logged."""

    log_format: Literal["text", "json"] = "text"
    """Form of the log lines."""

    @property
    def webhook_hosts(self) -> list[str]:
        """Names that the webhooks' certificate must be for; the first one is its own."""
        return [self.webhook_host] if self.webhook_host else [f"{self.webhook_name}.{self.namespace}.svc"]


def parse_arguments(arguments: Sequence[str] | None = None) -> OperatorSettings:
    """The settings of a command line; exits with usage where it is wrong. pydantic's ValidationError names the rest."""
    parser = argparse.ArgumentParser(prog="python -m helios_operator", description="The Helios operator.")
    for name, field in OperatorSettings.model_fields.items():
        text = (field.description or "").replace("%", "%%")
        parser.add_argument(f"--{name.replace('_', '-')}", help=f"{text} Default: {field.default}.".replace("\n", " "))
    given = {name: value for name, value in vars(parser.parse_args(arguments)).items() if value is not None}
    return OperatorSettings.model_validate(given)
