"""Level node: an apply of the Terraform module ends when the pods serve, and its outputs are what clients reach."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from harness.installed import Installed
from harness.terraform import Cli, Project
from harness.wait import until

pytestmark = pytest.mark.level("node")

MODULE = Path(__file__).resolve().parents[2] / "terraform" / "modules" / "heliosproxy"
STACK = f"""
module "minimal" {{
  source = "{MODULE}"

  name         = "minimal"
  pool_profile = {{ max_pool_size = POOL }}
  pod_template = jsonencode({{
    spec = {{ containers = [{{ name = "proxy", env = [{{ name = "TZ", value = "UTC" }}] }}] }}
  }})
}}
output "endpoint" {{ value = module.minimal.endpoint }}
output "current_primary" {{ value = module.minimal.current_primary }}
"""
TEMPLATED = [{"name": "TZ", "value": "UTC"}]


def test_an_apply_ends_when_the_pods_serve(in_cluster: Installed, tmp_path: Path) -> None:
    program = shutil.which("terraform")
    if program is None:
        pytest.skip("terraform is not found")
    cli = Cli.prepare("terraform", Path(program), tmp_path)
    project = Project(cli, tmp_path / "project", in_cluster.cluster, in_cluster.namespace)
    project.write(STACK.replace("POOL", "20"))

    said = project.apply()

    # The module's wait is strict: an instance that were not Ready would be an error.
    assert "2 added" in said
    assert in_cluster.conditions("minimal")["Ready"][0] == "True"
    database = in_cluster.get("pod", "database-0")["status"]["podIP"]
    assert project.outputs() == {
        "endpoint": f"minimal.{in_cluster.namespace}.svc:6432",
        "current_primary": f"{database}:5432",
    }
    assert until(lambda: in_cluster.psql("select 7"), "the Service answers psql", deadline=20) == "7"
    assert [each["env"] for pod in in_cluster.pods() for each in pod["spec"]["containers"]] == [TEMPLATED] * 2
    project.write(STACK.replace("POOL", "30"))
    project.apply()
    assert in_cluster.get("poolprofile", "minimal")["spec"]["maxPoolSize"] == 30
    assert project.changes() == {}
    project.run("destroy", "-no-color", "-auto-approve")
    assert in_cluster.names("HeliosProxy") == set()
