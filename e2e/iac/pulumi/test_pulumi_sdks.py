"""The SDKs that Pulumi's generators make, and the examples that are written with them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from harness.operator import OperatorProcess
from harness.pulumi_stack import Stack, automated, python_example
from harness.resources import Shop
from helios_make.go import go_environment
from helios_make.iac_programs import find_cli
from helios_make.places import find_places
from helios_make.sdks import AUTOMATE, COMMITTED, SDKS, example_folder, generate_sdk

ROOT = Path(__file__).resolve().parents[3]
NODE = shutil.which("node")


@pytest.fixture(scope="module", autouse=True)
def generators() -> None:
    if find_cli(find_places(), "sdkgen") is None:
        pytest.skip("sdkgen is not there; make test-pulumi builds it")


def texts(folder: Path) -> dict[str, str]:
    """Path → text of every file that is not a compiler's."""
    found = [file.relative_to(folder) for file in folder.rglob("*") if file.is_file()]
    built = {"bin", "node_modules", "__pycache__"}
    return {str(path): (folder / path).read_text() for path in found if not built & set(path.parts)}


@pytest.mark.parametrize("language", COMMITTED)
def test_the_committed_sdk_is_what_the_schema_makes(language: str, tmp_path: Path) -> None:
    generate_sdk(find_places(), language, tmp_path)

    stale = "pulumi/sdk is stale: run `make sdks`"
    assert texts(ROOT / SDKS / language) == texts(tmp_path), stale


@pytest.mark.skipif(shutil.which("go") is None, reason="go is not found")
def test_the_sdk_of_go_compiles(tmp_path: Path) -> None:
    places = find_places()
    generate_sdk(places, "go", tmp_path / "go")
    # The generator's own module pins all that the SDK needs.
    pins = (ROOT / "pulumi" / "sdkgen" / "go.mod").read_text()
    module = re.sub(r"^module .*$", "module github.com/heliosdatabase/pulumi-heliosproxy/sdk", pins, flags=re.M)
    (tmp_path / "go.mod").write_text(module)
    shutil.copy(ROOT / "pulumi" / "sdkgen" / "go.sum", tmp_path)
    environment = {**os.environ, **go_environment(places.cache / "go")}

    done = subprocess.run(
        ["go", "build", "./go/..."], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert (tmp_path / "go" / "heliosproxy" / "instance.go").is_file()


def test_the_sdk_of_dotnet_is_generated(tmp_path: Path) -> None:
    generate_sdk(find_places(), "dotnet", tmp_path)

    resources = {file.stem for file in tmp_path.glob("*.cs")}
    assert resources >= {"Instance", "PoolProfile", "RoutingRule", "AuditPolicy", "TenantQuota", "Provider"}
    assert "public Input<string>? PoolProfileRef" in (tmp_path / "Instance.cs").read_text()


def example(language: str) -> list[str]:
    """How the program of an example is started."""
    if language == "python":
        return python_example()
    program = example_folder(find_places()) / AUTOMATE
    if NODE is None or not program.is_file():
        pytest.skip("node or the compiled example is not there; make test-pulumi makes it")
    return [NODE, str(program)]


@pytest.mark.parametrize("language", ["python", "typescript"])
def test_the_original_s_stack_is_made_by_the_example(
    language: str, stack: Stack, shop: Shop, operator: OperatorProcess
) -> None:
    command = example(language)

    def run(verb: str) -> dict[str, Any]:
        return automated(stack, command, verb)

    assert run("preview")["changes"] == {"create": 4}
    made = run("up")

    # The stack itself is one of the four.
    assert made["changes"] == {"create": 4}
    assert made["outputs"]["endpoint"] == f"analytics.{shop.namespace}.svc:6432"
    # No pod runs here that could know it.
    assert made["outputs"].get("currentPrimary") is None
    spec = shop.get("HeliosProxy", "analytics")["spec"]
    assert (spec["poolProfileRef"], spec["auditPolicyRef"]) == ({"name": "default"}, {"name": "pci"})
    assert shop.get("PoolProfile", "default")["spec"]["idleTimeoutSeconds"] == 60
    assert run("preview")["changes"] == {"same": 4}
    assert run("destroy")["changes"] == {"delete": 4}
    assert shop.names("HeliosProxy") == set()
    assert operator.exit_status is None
