"""Constructs for cdktf and for cdktn, its continuation: the five resources, and two patterns made of them.

`resources` and `attributes` are generated from the table of attributes; `toolkit` is the only module that names either
library; what a program says is checked by the models while it is synthesized.
"""

from helios_cdktf.patterns import HighlyAvailableProxy, TenantedProxy
from helios_cdktf.resources import AuditPolicy, Instance, PoolProfile, RoutingRule, TenantQuota
from helios_cdktf.toolkit import HeliosproxyProvider

__all__ = [
    "AuditPolicy",
    "HeliosproxyProvider",
    "HighlyAvailableProxy",
    "Instance",
    "PoolProfile",
    "RoutingRule",
    "TenantQuota",
    "TenantedProxy",
]
