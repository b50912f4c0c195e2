"""install.yaml and the rights in it."""

from __future__ import annotations

from pathlib import Path

from helios_crds.yaml import load_documents
from helios_operator import install
from helios_operator.rbac import CLUSTER_RULES, NAMESPACE_RULES


def test_file_is_what_the_generator_makes() -> None:
    file = Path(__file__).parents[1] / "install.yaml"

    assert file.read_text(encoding="utf-8") == install.manifest(), "run `make generate`"


def test_what_others_need_comes_first() -> None:
    kinds = [document.kind for document in load_documents(install.manifest())]

    assert kinds == [
        *["CustomResourceDefinition"] * 5,
        "Namespace",
        "ServiceAccount",
        *("ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"),
        *("Service", "ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"),
        "Deployment",
    ]


AROUND = {"poddisruptionbudgets", "horizontalpodautoscalers", "networkpolicies", "podmonitors"}
ON_DEMAND = {*AROUND, "serviceaccounts", "roles", "rolebindings", "services", "certificates"}


def test_secrets_are_never_listed_and_no_right_is_a_wildcard() -> None:
    rules = [*CLUSTER_RULES, *NAMESPACE_RULES]

    for rule in rules:
        assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
        # What the operator makes on demand it takes away again; the rest goes with its HeliosProxy.
        assert "delete" not in rule["verbs"] or rule["resources"][0] in ON_DEMAND
        if "secrets" in rule["resources"]:
            assert sorted(rule["verbs"]) == ["create", "get", "patch"]
