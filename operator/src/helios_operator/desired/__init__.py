"""Pure builders: a HeliosProxy and its document → the objects that run it. Called by the reconciler."""

from helios_operator.desired.autoscaler import autoscaler
from helios_operator.desired.budget import disruption_budget
from helios_operator.desired.certificate import certificate
from helios_operator.desired.config_map import config_map
from helios_operator.desired.connection import connection_secret
from helios_operator.desired.deployment import deployment
from helios_operator.desired.metadata import Owner
from helios_operator.desired.monitors import pod_monitor, prometheus_rule, service_monitor
from helios_operator.desired.network_policy import network_policy
from helios_operator.desired.promotion import lease, role, role_binding, service_account
from helios_operator.desired.secret import admin_secret
from helios_operator.desired.services import services

__all__ = [
    "Owner",
    "admin_secret",
    "autoscaler",
    "certificate",
    "config_map",
    "connection_secret",
    "deployment",
    "disruption_budget",
    "lease",
    "network_policy",
    "pod_monitor",
    "prometheus_rule",
    "role",
    "role_binding",
    "service_account",
    "service_monitor",
    "services",
]
