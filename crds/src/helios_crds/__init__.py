"""The resources of Helios: what `kubectl apply`, `helios play`, Terraform and Pulumi take.

`load_documents` reads YAML as kubectl does, `parse` makes a resource of a document, `render` makes the configuration
of a proxy of a HeliosProxy and what it refers to, `workload` says what must run. All of them are pure.
"""

from helios_crds.base import GROUP, VERSION, Condition, Resource
from helios_crds.parse import API_VERSION, is_helios, parse, parse_as
from helios_crds.problems import Problem, Reason, ResourceError, Severity
from helios_crds.v1alpha1 import KINDS, AuditPolicy, HeliosProxy, PoolProfile, RoutingRule, TenantQuota
from helios_crds.yaml import Document, load_documents, load_paths

__all__ = [
    "API_VERSION",
    "GROUP",
    "KINDS",
    "VERSION",
    "AuditPolicy",
    "Condition",
    "Document",
    "HeliosProxy",
    "PoolProfile",
    "Problem",
    "Reason",
    "Resource",
    "ResourceError",
    "RoutingRule",
    "Severity",
    "TenantQuota",
    "is_helios",
    "load_documents",
    "load_paths",
    "parse",
    "parse_as",
]
