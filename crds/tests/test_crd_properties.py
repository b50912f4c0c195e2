"""Whatever a user writes: YAML comes back as it was, and a resource is parsed or refused, never crashed on."""

from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from helios.config.loader import loads
from helios.config.writer import dumps
from helios_crds import API_VERSION, KINDS, Document, HeliosProxy, Resource, ResourceError, load_documents, parse
from helios_crds.node import Node, tree
from helios_crds.render import References, render
from helios_crds.workload import workload
from helios_crds.yaml import dump

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=12)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64)
    | st.floats(allow_nan=False, allow_infinity=False, width=32)
    | TEXT
    | st.sampled_from(
        ["y", "No", "on", "1_0", "0o7", "0x1F", "-0b1", "1e3", ".5", "~", "", "<<", "=", "12:30:45", "- a", "#"]
    )
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=8
)


@given(st.dictionaries(TEXT, VALUES, max_size=4))
@settings(deadline=None, max_examples=100, database=None)
def test_dump_and_load_are_inverse(value: dict[str, Any]) -> None:
    read = load_documents(dump(value))

    assert read[0].value == value


def sound(node: Node) -> st.SearchStrategy[Any]:
    """Values of the right type and within their bounds; rules between fields may still be broken."""
    bounds = node.bounds
    match node.kind:
        case "object":
            fields = {name: sound(child) for name, child in node.properties.items()}
            required = {name: fields.pop(name) for name in sorted(node.required)}
            return st.fixed_dictionaries(required, optional=fields)
        case "array" if node.items is not None:
            return st.lists(sound(node.items), max_size=2)
        case "map" if node.items is not None:
            return st.dictionaries(st.sampled_from(["cpu", "memory"]), sound(node.items), max_size=2)
        case "open":
            return st.dictionaries(TEXT, VALUES, max_size=2)
        case "boolean":
            return st.booleans()
        case "integer":
            return st.integers(bounds.get("minimum", 0), bounds.get("maximum", 9))
    return st.sampled_from(bounds.get("enum", ["alpha", "beta", "main"] if node.kind == "string" else ["250m", 2]))


SOUND = {kind: sound(tree(model).properties["spec"]) for kind, model in KINDS.items()}
PATIENT = settings(deadline=None, max_examples=100, database=None, suppress_health_check=[HealthCheck.too_slow])


def document(kind: str, spec: Any) -> Document:
    return Document({"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": "web"}, "spec": spec}, "any.yaml")


def parsed(wanted: Document) -> Resource | None:
    try:
        return parse(wanted)
    except ResourceError as refused:
        return None if all(problem.message for problem in refused.problems) else pytest.fail(str(refused))


@given(st.data())
@PATIENT
def test_a_field_of_any_other_type_is_refused_and_never_crashed_on(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(list(KINDS)))
    spec = data.draw(SOUND[kind])
    spec[data.draw(st.sampled_from([*tree(KINDS[kind]).properties["spec"].properties, "unknown"]))] = data.draw(VALUES)

    parsed(document(kind, spec))


@given(SOUND["HeliosProxy"], SOUND["PoolProfile"])
@PATIENT
def test_any_proxy_is_rendered_to_a_file_that_reads_back_or_says_why_not(proxy: Any, profile: Any) -> None:
    """What forbids a configuration in this version is left out, so that most objects reach the file."""
    for name in (
        "clusters",
        "databases",
        "auditPolicyRef",
        "tenantQuotaRefs",
        "routingRuleRefs",
        "plugins",
        "features",
    ):
        proxy.pop(name, None)
    nodes = [{"host": f"db-{index}", **node, "role": "standby"} for index, node in enumerate(proxy.get("nodes", []))]
    resource = parsed(document("HeliosProxy", {**proxy, "nodes": [*nodes, {"host": "primary"}]}))
    friend = parsed(document("PoolProfile", profile))
    event("refused by a rule" if resource is None else "parsed")
    if not isinstance(resource, HeliosProxy):
        return

    result = render(resource, References.among([friend] if friend is not None else []))

    event("rendered" if result.config is not None else "no configuration")
    assert (result.config is None) == bool(result.errors)
    assert result.config is None or loads(dumps(result.config)) == result.config
    assert workload(resource).replicas == resource.spec.replicas
