"""The constructs: what they synthesize, and what they refuse. Needs Node, which both toolkits run in."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

if shutil.which("node") is None:
    pytest.skip("node is not found; cdktf and cdktn run in it", allow_module_level=True)

from helios_cdktf import HeliosproxyProvider, HighlyAvailableProxy, Instance, PoolProfile, TenantedProxy
from helios_cdktf.toolkit import toolkit

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "cdktf" / "main.py"


@pytest.fixture
def stack() -> Any:
    return toolkit.TerraformStack(toolkit.Testing.app(), "stack")


def synthesized(stack: Any) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(toolkit.Testing.synth(stack))
    return made


def test_resources_and_references_are_synthesized(stack: Any) -> None:
    HeliosproxyProvider(stack, "provider", namespace="shop")
    profile = PoolProfile(stack, "fast", name="fast", max_pool_size=20)
    Instance(stack, "web", name="web", nodes=[{"host": "db-0"}], pool_profile_ref=profile.output("name"))

    made = synthesized(stack)

    assert made["terraform"]["required_providers"]["heliosproxy"]["source"] == "heliosdatabase/heliosproxy"
    assert made["provider"]["heliosproxy"] == [{"namespace": "shop"}]
    [web] = made["resource"]["heliosproxy_instance"].values()
    assert web["nodes"] == [{"host": "db-0"}]
    assert web["pool_profile_ref"] == "${heliosproxy_pool_profile.fast.name}"


def test_a_bad_value_fails_at_synthesis_with_its_attribute(stack: Any) -> None:
    with pytest.raises(ValueError, match=r"web: nodes\[0\]\.port is 70000"):
        Instance(stack, "web", name="web", nodes=[{"host": "db-0", "port": 70000}])


def test_patterns_are_made_of_resources(stack: Any) -> None:
    HighlyAvailableProxy(stack, "ha", name="web", primary="db-0", standbys=["db-1"], max_connections=50)
    TenantedProxy(stack, "tenants", name="shared", tenants={"acme": {"max_queries_per_minute": 600}})

    made = synthesized(stack)["resource"]

    web = next(each for each in made["heliosproxy_instance"].values() if each["name"] == "web")
    assert [node["role"] for node in web["nodes"]] == ["primary", "standby"]
    [profile] = made["heliosproxy_pool_profile"]
    assert web["pool_profile_ref"] == f"${{heliosproxy_pool_profile.{profile}.name}}"
    assert [each["name"] for each in made["heliosproxy_tenant_quota"].values()] == ["acme"]
    with pytest.raises(ValueError, match="1 replicas are not highly available"):
        HighlyAvailableProxy(stack, "one", name="one", primary="db-0", standbys=[], replicas=1)


def test_both_libraries_make_the_same_of_a_program(tmp_path: Path) -> None:
    made = {}
    for library, hidden in {"cdktn": "", "cdktf": "sys.modules['cdktn'] = None; "}.items():
        # A library that is None in sys.modules is one that is not installed.
        program = f"import runpy, sys; {hidden}runpy.run_path({str(EXAMPLE)!r}); assert {library!r} in sys.modules"
        environment = {**os.environ, "CDKTF_OUTDIR": str(tmp_path / library), "NAMESPACE": "shop"}
        subprocess.run([sys.executable, "-P", "-c", program], env=environment, cwd=tmp_path, check=True)
        stack = json.loads((tmp_path / library / "stacks" / "shop" / "cdk.tf.json").read_text())
        # The comment names the library's version.
        made[library] = {key: value for key, value in stack.items() if key != "//"}

    assert made["cdktn"] == made["cdktf"]
    assert sorted(made["cdktn"]["resource"]) == ["heliosproxy_instance", "heliosproxy_pool_profile"]
    assert made["cdktn"]["provider"]["heliosproxy"] == [{"namespace": "shop"}]
