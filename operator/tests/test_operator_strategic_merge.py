"""A podTemplate over the operator's own: what is merged how, what must stay, and how the API server's words are told.

e2e/kubernetes/test_operator_pod_template.py compares the merge with the API server's, and the table of keys with what
that publishes.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from operator_objects import OWNER, document_of, proxy

from helios.kube import ApiError
from helios_crds import Reason, ResourceError
from helios_crds.workload import workload
from helios_operator.desired import deployment
from helios_operator.desired.pod_template import pod_template
from helios_operator.pod_templates import refusals
from helios_operator.strategic_merge import MergeError, merged


def template(**wanted: Any) -> dict[str, Any]:
    made: dict[str, Any] = deployment(
        OWNER, workload(proxy(podTemplate=wanted) if wanted else proxy()), document_of(), "helios-proxy:1"
    )["spec"]["template"]
    return made


OWN = template()


def test_what_is_not_named_stays_and_what_is_named_is_merged() -> None:
    plain = template()

    made = template(
        metadata={"labels": {"team": "shop"}, "annotations": {"a": "b"}},
        spec={
            "priorityClassName": "high",
            "tolerations": [{"key": "dedicated", "operator": "Exists"}],
            "containers": [
                {"name": "proxy", "env": [{"name": "TZ", "value": "UTC"}], "livenessProbe": None},
                {"name": "watcher", "image": "watcher:1"},
            ],
            "volumes": [{"name": "extra", "emptyDir": {}}],
        },
    )

    expected = copy.deepcopy(plain)
    expected["metadata"]["labels"]["team"] = "shop"
    expected["metadata"]["annotations"]["a"] = "b"
    container = {**expected["spec"]["containers"][0], "env": [{"name": "TZ", "value": "UTC"}]}
    del container["livenessProbe"]
    expected["spec"] |= {
        "priorityClassName": "high",
        "tolerations": [{"key": "dedicated", "operator": "Exists"}],
        "containers": [container, {"name": "watcher", "image": "watcher:1"}],
        # As the API server has it: what is new goes before those that the patch does not name.
        "volumes": [{"name": "extra", "emptyDir": {}}, *expected["spec"]["volumes"]],
    }
    assert made == expected
    assert template() == plain, "nothing was changed in place"


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (
            {"metadata": {"labels": {"app.kubernetes.io/name": "x"}}},
            r"metadata.labels\['app.kubernetes.io/name'\]: is the",
        ),
        ({"spec": {"$patch": "replace", "containers": []}}, "spec.containers: has no container proxy any more"),
        (
            {"spec": {"containers": [{"name": "proxy", "image": "x:1"}]}},
            r"containers\[0\].image: must stay.*spec.image",
        ),
        (
            {"spec": {"containers": [{"name": "a"}, {"name": "proxy", "args": ["x"]}]}},
            r"spec.podTemplate.spec.containers\[1\].args: must stay",
        ),
        (
            {"spec": {"containers": [{"name": "proxy", "ports": [{"containerPort": 6432, "name": "other"}]}]}},
            r"\[0\].ports: takes away or changes 6432; those of the operator must stay; write spec.listenPort",
        ),
        ({"spec": {"volumes": [{"name": "config", "$patch": "delete"}]}}, "spec.volumes: takes away or changes config"),
        ({"spec": ["x"]}, "spec.podTemplate.spec: must be a mapping"),
        ({"spec": {"volumes": {}}}, "spec.podTemplate.spec.volumes: must be a list"),
        ({"spec": {"containers": [{"image": "x"}]}}, r"containers\[0\]: has no name, which tells the items"),
        ({"spec": {"containers": [{"name": "x", "$patch": "drop"}]}}, r"containers\[0\].\$patch: is 'drop'; known are"),
        ({"spec": {"$setElementOrder/volumes": []}}, "write the items in the order that is wanted"),
        ({"spec": {"volumes": [{"name": "tmp", "$retainKeys": ["name"], "emptyDir": {}}]}}, "must list every field"),
    ],
)
def test_what_the_operator_needs_stays_and_a_refusal_names_the_place(wanted: dict[str, Any], said: str) -> None:
    with pytest.raises(ResourceError, match=said):
        template(**wanted)


KEYS = st.sampled_from(
    ["metadata", "labels", "annotations", "finalizers", "spec", "containers", "volumes", "name", "env", "ports", "args",
     "volumeMounts", "mountPath", "securityContext", "$patch", "$retainKeys", "$deleteFromPrimitiveList/finalizers",
     "app.kubernetes.io/name"]
)  # fmt: skip
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(0, 9) | st.sampled_from(["proxy", "config", "delete", "replace"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["metadata", "spec"]), ANYTHING | st.dictionaries(KEYS, ANYTHING), min_size=1))
@settings(deadline=None, max_examples=50, database=None)
def test_whatever_is_written_is_merged_or_refused_by_name(wanted: dict[str, Any]) -> None:
    try:
        pod_template(OWN, wanted)
    except ResourceError as refused:
        assert all(problem.field.startswith("spec.podTemplate") for problem in refused.problems)


def test_a_list_takes_the_order_of_the_patch_among_its_own() -> None:
    def names(*listed: str, original: str = "abcd") -> str:
        env = [{"name": name, "value": name} for name in original]
        before = {"spec": {"containers": [{"name": "proxy", "env": env}]}}
        patch = {"spec": {"containers": [{"name": "proxy", "env": [{"name": name} for name in listed]}]}}
        [container] = merged(before, patch)["spec"]["containers"]
        return "".join(item["name"] for item in container["env"])

    assert names("c", "a") == "bcad"
    assert names("x", "b") == "xabcd"
    assert names("d", "x") == "abcdx"
    with pytest.raises(MergeError, match="is no mapping"):
        merged({"spec": {"volumes": []}}, {"spec": {"volumes": ["x"]}})


WANTED = {
    "spec": {
        "containers": [{"name": "watcher", "imagee": "x"}, {"name": "proxy", "env": [{"name": "A", "valu": "1"}]}],
        "hostnam": "x",
    }
}
STRICT = (
    'Deployment in version "v1" cannot be handled as a Deployment: strict decoding error: unknown field '
    '"spec.template.spec.containers[0].env[0].valu", unknown field "spec.template.spec.containers[1].imagee", unknown '
    'field "spec.template.spec.hostnam"'
)


def test_unknown_fields_are_told_by_the_places_in_the_spec() -> None:
    own = {"spec": {"containers": [{"name": "proxy", "env": [{"name": "A"}]}, {"name": "watcher"}]}}

    found = list(refusals(ApiError(400, "BadRequest", STRICT), own, WANTED))

    assert [each.field for each in found] == [
        "spec.podTemplate.spec.containers[1].env[0].valu",
        "spec.podTemplate.spec.containers[0].imagee",
        "spec.podTemplate.spec.hostnam",
    ]
    assert {each.reason for each in found} == {Reason.UNKNOWN_FIELD}


def test_bad_values_and_other_words_are_told_too() -> None:
    causes = [
        ("spec.template.spec.containers[0].env[0].name", 'Invalid value: "1 2": must be a name'),
        ("metadata", "x"),
    ]
    own = {"spec": {"containers": [{"name": "proxy", "env": [{"name": "1 2"}]}]}}
    place = "EnvVar.spec.template.spec.containers.env.value"
    wrong_type = f"json: cannot unmarshal number into Go struct field {place} of type string"

    [invalid] = refusals(ApiError(422, "Invalid", "is invalid", causes), own, own)
    [mistyped] = refusals(ApiError(400, "BadRequest", wrong_type), own, own)
    [other] = refusals(ApiError(400, "BadRequest", "quantities must match"), own, own)

    assert str(invalid) == 'spec.podTemplate.spec.containers[0].env[0].name: Invalid value: "1 2": must be a name'
    assert str(mistyped) == "spec.podTemplate.spec.containers.env.value: is of type number; write a string"
    assert str(other) == "spec.podTemplate: quantities must match"
