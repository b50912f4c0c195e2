"""Generated files are in step with the models, and the generator says so when they are not."""

import json
import subprocess
import sys
import types
from enum import EnumMeta
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

import jsonschema
import pytest

from helios_crds import API_VERSION, KINDS
from helios_crds.base import Resource
from helios_crds.generate import main, outputs
from helios_crds.markers import mirrors
from helios_crds.node import tree

ROOT = Path(__file__).resolve().parents[2]


def test_committed_files_are_what_the_generator_makes(capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["--check"])

    assert status == 0, capsys.readouterr().out


def test_check_prints_the_difference_and_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = ["--root", str(tmp_path)]
    target = tmp_path / "crds" / "heliosproxies.yaml"
    assert main(root) == 0
    assert "wrote crds/heliosproxies.yaml" in capsys.readouterr().out
    target.write_text(target.read_text().replace("- hp\n", "- hx\n"))
    (tmp_path / "crds" / "stranger.yaml").write_text("a: 1\n")

    command = [sys.executable, "-m", "helios_crds.generate", *root, "--check"]
    stale = subprocess.run(command, capture_output=True, text=True, check=False)

    assert stale.returncode == 1
    assert "- hx\n" in stale.stdout
    assert "crds/stranger.yaml: not generated" in stale.stdout
    assert "run `make generate`" in stale.stderr
    assert "- hx\n" in target.read_text()
    assert main(root) == 0
    assert capsys.readouterr().out.splitlines() == ["wrote crds/heliosproxies.yaml", "removed crds/stranger.yaml"]
    assert main([*root, "--check"]) == 0


def test_folder_of_crds_holds_only_crds() -> None:
    assert {path.name for path in (ROOT / "crds").glob("*.yaml")} == {
        "heliosproxies.yaml",
        "poolprofiles.yaml",
        "routingrules.yaml",
        "auditpolicies.yaml",
        "tenantquotas.yaml",
    }
    assert {path.name for path in (ROOT / "crds").iterdir()} >= {"src", "tests"}


def test_pages_tell_what_is_not_acted_on() -> None:
    made = outputs()

    assert "`spec.features.auditChain` | no record would be written | error" in made["docs/reference/heliosproxy.md"]
    assert "**Not acted on by this version.**" in made["docs/reference/auditpolicy.md"]
    quota = made["docs/reference/tenantquota.md"]
    assert "`spec.maxQueriesPerMinute` | no tenant would be limited | error" in quota
    assert "`spec.maxConcurrentConnections` | no tenant" not in quota
    assert "**Not acted on by this version.**" not in made["docs/reference/poolprofile.md"]


def validator(name: str) -> jsonschema.Draft7Validator:
    schema = json.loads(outputs()[f"docs/schemas/{name}.json"])
    jsonschema.Draft7Validator.check_schema(schema)
    return jsonschema.Draft7Validator(schema)


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ({"nodes": [{"host": "a"}], "resources": {"limits": {"cpu": 2}}}, None),
        ({"nodes": [{"hots": "a"}]}, "hots"),
        ({"replicas": "2"}, "is not of type 'integer'"),
        ({"pool": {"mode": "foo"}}, "is not one of"),
        ({"transactionReplay": {"mutables": "allow"}}, "is not one of"),
    ],
)
def test_editor_schema_marks_what_the_server_refuses(spec: dict[str, Any], complaint: str | None) -> None:
    found = list(
        validator("heliosproxy").iter_errors(
            {"apiVersion": API_VERSION, "kind": "HeliosProxy", "metadata": {"name": "web"}, "spec": spec}
        )
    )

    assert any(complaint in error.message for error in found) if complaint else not found


def test_index_schema_points_at_files_that_exist() -> None:
    branches = json.loads(outputs()["docs/schemas/helios.json"])["allOf"]

    assert {f"docs/schemas/{branch['then']['$ref']}" for branch in branches} < outputs().keys()
    assert [branch["if"]["properties"]["kind"]["const"] for branch in branches] == list(KINDS)


def mirroring_fields() -> list[Any]:
    """(owner, field name, marker, declared type) of every field that mirrors a configuration field."""
    found: dict[str, Any] = {}
    waiting: list[Any] = [*KINDS.values()]
    while waiting:
        owner = waiting.pop()
        if not (isinstance(owner, type) and hasattr(owner, "model_fields")):
            waiting += get_args(owner)
            continue
        for name, hint in get_type_hints(owner, include_extras=True).items():
            waiting.append(hint)
            marks = [mark for mark in getattr(hint, "__metadata__", ()) if isinstance(mark, mirrors)]
            if marks and name in owner.model_fields:
                key = f"{owner.__name__}.{name}"
                found[key] = pytest.param(marks[0], get_args(hint)[0], id=key)
    return list(found.values())


def plain(hint: Any) -> Any:
    """A type without None and without annotations; of a list only that it is one."""
    if get_origin(hint) in (Union, types.UnionType):
        (hint,) = (arm for arm in get_args(hint) if arm is not type(None))
    while hasattr(hint, "__metadata__"):
        hint = get_args(hint)[0]
    if get_origin(hint) is tuple:
        return tuple
    return plain(hint) if get_origin(hint) in (Union, types.UnionType) else hint


@pytest.mark.parametrize(("mark", "declared"), mirroring_fields())
def test_mirroring_field_declares_the_type_of_the_configuration(mark: mirrors, declared: Any) -> None:
    target = plain(mark.model.model_fields[mark.name].annotation)

    assert plain(declared) is target
    assert isinstance(target, (type, EnumMeta))


def test_mirrors_are_found() -> None:
    mirrored = {
        (node.mirror.model.__name__, node.mirror.name)
        for model in KINDS.values()
        for _, node in tree(model).walk()
        if node.mirror is not None
    }

    assert len(mirrored) > 30
    assert len(mirroring_fields()) > 40


@pytest.mark.parametrize("model", list(KINDS.values()), ids=list(KINDS))
def test_bounds_are_those_of_the_configuration(model: type[Resource]) -> None:
    for path, node in tree(model).walk():
        if node.mirror is not None:
            schema = node.mirror.model.model_json_schema()["properties"][node.mirror.name]
            arms = schema.get("anyOf", [schema])
            for key in ("minimum", "maximum", "maxLength", "pattern"):
                wanted = next((arm[key] for arm in arms if key in arm), None)
                assert node.bounds.get(key) == wanted, (path, key)
