"""What we show to others works: every example, the module, and the pages made of them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from harness.operator import OperatorProcess
from harness.resources import Shop
from harness.terraform import Project
from helios_make.iac_programs import find_cli
from helios_make.places import find_places

TERRAFORM = Path(__file__).resolve().parents[3] / "terraform"
SNIPPETS = ("provider", "resources", "data-sources", "functions")
"""Folders of examples that are one configuration together; the others are one each."""


def example(project: Project, name: str, tmp_path: Path) -> Project:
    """A copy of one example, with the modules where it looks for them."""
    for part in ("examples", "modules"):
        shutil.copytree(TERRAFORM / part, tmp_path / "terraform" / part)
    return replace(project, folder=tmp_path / "terraform" / "examples" / name)


def test_every_example_is_valid_and_formatted(project: Project, tmp_path: Path) -> None:
    files = [file for part in SNIPPETS for file in sorted((TERRAFORM / "examples" / part).rglob("*.tf"))]
    project.folder.mkdir()
    for number, file in enumerate(files):
        shutil.copy(file, project.folder / f"{number}-{file.name}")

    project.run("init", "-no-color")

    assert len(files) == 13
    assert "The configuration is valid" in project.run("validate", "-no-color")
    everything = replace(project, folder=TERRAFORM)
    assert everything.run("fmt", "-check", "-recursive").strip() == ""


@pytest.mark.usefixtures("operator")
def test_the_original_s_stack_is_applied_as_the_example_says(project: Project, shop: Shop, tmp_path: Path) -> None:
    analytics = example(project, "analytics", tmp_path)
    settings = ("-var", f"namespace={shop.namespace}", "-var", "wait_for_ready=false")
    analytics.run("init", "-no-color")

    said = analytics.apply(*settings)

    assert "3 added" in said
    assert analytics.outputs()["endpoint"] == f"analytics.{shop.namespace}.svc:6432"
    spec = shop.get("HeliosProxy", "analytics")["spec"]
    assert spec["poolProfileRef"] == {"name": "default"}
    assert "No changes" in analytics.run("plan", "-no-color", *settings)
    analytics.run("destroy", "-no-color", "-auto-approve", *settings)
    assert shop.names("HeliosProxy") == set()


def test_the_module_makes_a_proxy_and_what_belongs_to_it(
    project: Project, shop: Shop, operator: OperatorProcess, tmp_path: Path
) -> None:
    module = example(project, "module", tmp_path)
    module.environment = {"TF_VAR_password": "gehe1m-und-lang"}
    settings = ("-var", f"namespace={shop.namespace}", "-var", "wait_for_ready=false")
    module.run("init", "-no-color")

    said = module.apply(*settings)

    assert "3 added" in said
    spec = shop.get("HeliosProxy", "shop")["spec"]
    assert spec["poolProfileRef"] == {"name": "shop"}
    assert spec["routingRuleRefs"] == [{"name": "reports"}]
    assert shop.get("PoolProfile", "shop")["spec"] == {"mode": "transaction", "maxPoolSize": 40}
    users = json.loads(shop.kubectl("get", "secret", "shop-users", "-o", "json"))
    assert users["data"].keys() == {"users.txt"}
    assert "No changes" in module.run("plan", "-no-color", *settings)
    assert "gehe1m" not in (module.folder / "terraform.tfstate").read_text() + "".join(module.logs)
    assert operator.exit_status is None

    main = module.folder / "main.tf"
    main.write_text(main.read_text().replace('role = "primary" }', 'role = "primar" }'))
    assert 'nodes[0].role is "primar"' in module.refuse("plan", "-no-color", *settings)


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not found; cdktf and cdktn run in it")
def test_what_the_constructs_synthesize_is_applied(project: Project, shop: Shop, tmp_path: Path) -> None:
    environment = {**os.environ, "NAMESPACE": shop.namespace, "CDKTF_OUTDIR": str(tmp_path / "out")}
    program = TERRAFORM / "examples" / "cdktf" / "main.py"
    subprocess.run([sys.executable, "-P", str(program)], env=environment, cwd=tmp_path, check=True)
    synthesized = replace(project, folder=tmp_path / "out" / "stacks" / "shop")
    synthesized.run("init", "-no-color")

    synthesized.apply()

    assert synthesized.outputs() == {"endpoint": f"web.{shop.namespace}.svc:6432"}
    assert shop.names("PoolProfile") == {"fast", "shop-pool"}
    assert shop.get("HeliosProxy", "web")["spec"]["poolProfileRef"] == {"name": "fast"}
    assert shop.get("HeliosProxy", "shop")["spec"]["routing"] == {"readWriteSplit": True}
    assert synthesized.changes() == {}


def test_the_pages_are_what_the_registry_takes(project: Project) -> None:
    program = find_cli(find_places(), "tfplugindocs")
    if program is None:
        pytest.skip("tfplugindocs is not there; make test-terraform builds it")
    project.write("")
    shown = json.loads(project.run("providers", "schema", "-json"))
    [provider] = shown["provider_schemas"].values()
    schemas = project.folder / "schemas.json"
    schemas.write_text(json.dumps({**shown, "provider_schemas": {"heliosproxy": provider}}))
    checker = replace(project, cli=replace(project.cli, name="tfplugindocs", program=program), folder=TERRAFORM)

    said = checker.run(
        "validate", "--provider-name=heliosproxy", f"--providers-schema={schemas}", f"--provider-dir={TERRAFORM}"
    )

    assert "error" not in said.lower()
