"""The Tiltfile, run by a Starlark interpreter: it names what Tilt has, what the tree has, and what fits together."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from helios_make.images import copied
from repo.test_docs_paths import targets
from repo.tilt import Tiltfile, TiltfileError, run
from repo.tree import ROOT

TEXT = (ROOT / "Tiltfile").read_text()
WORKLOADS = ("Deployment", "StatefulSet")
BUILDS = ("docker_build", "docker_build_with_restart")


@pytest.fixture
def whole() -> Tiltfile:
    """`tilt up`."""
    return run(TEXT, ROOT)


def documents(made: Tiltfile) -> list[dict[str, Any]]:
    """Everything that is applied."""
    return [each for call in made.asked("k8s_yaml") for each in yaml.safe_load_all(call["yaml"])]


def images(value: object) -> set[str]:
    """What is named as an image, without its tag."""
    if isinstance(value, dict):
        own = {value["image"].rpartition(":")[0] or value["image"]} if isinstance(value.get("image"), str) else set()
        return own.union(*map(images, value.values()))
    return set().union(*map(images, value)) if isinstance(value, list) else set()


@pytest.mark.parametrize("local", [False, True])
def test_commands_are_targets_of_make(local: bool) -> None:
    made = run(TEXT, ROOT, local=local)

    commands = [call.get("serve_cmd") or call["cmd"] for call in made.asked("local_resource")]

    assert len(commands) == 3 + local
    assert {re.findall(r"\bmake ([a-z0-9-]+)", command)[0] for command in commands} <= targets()
    assert bool(made.asked("k8s_yaml")) is not local, "without a cluster nothing is applied"


def test_resources_are_workloads_of_what_is_applied(whole: Tiltfile) -> None:
    kinds = {*WORKLOADS, *(call["kind"] for call in whole.asked("k8s_kind"))}
    workloads = {each["metadata"]["name"] for each in documents(whole) if each["kind"] in kinds}
    resources = {call["workload"]: call for call in whole.asked("k8s_resource")}

    assert resources.keys() == workloads == {"helios-operator", "database", "minimal"}
    assert {name for call in resources.values() for name in call.get("resource_deps", ())} <= workloads
    ports = {forward["local_port"] for call in resources.values() for forward in call.get("port_forwards", ())}
    assert ports == {6432, 8081}


def test_each_image_that_is_applied_is_built_of_what_its_dockerfile_copies(whole: Tiltfile) -> None:
    builds = {call["ref"]: call for call in whole.asked(*BUILDS)}

    applied = [each for each in documents(whole) if each["kind"] != "CustomResourceDefinition"]
    assert builds.keys() == images(applied)
    for name in ("helios-operator", "helios-proxy"):
        build = builds[name]
        dockerfile = ROOT / build["dockerfile"]
        for source in copied(dockerfile):
            assert any(Path(source).is_relative_to(only) for only in build["only"]), (name, source)
        target = build.get("target")
        assert target is None or f" AS {target}\n" in dockerfile.read_text()


def test_what_is_put_into_a_container_is_watched_and_found_there(whole: Tiltfile) -> None:
    (build,) = whole.asked("docker_build_with_restart")

    steps = [step for step in build["live_update"] if step["function"] == "sync"]

    assert {Path(step["local_path"]).name for step in steps} == {"helios", "helios_crds", "helios_operator"}
    for step in steps:
        local, remote = Path(step["local_path"]), Path(step["remote_path"])
        assert (ROOT / local / "__init__.py").is_file()
        assert any(local.is_relative_to(only) for only in build["only"])
        # Debian 12 has Python 3.11; the environment is made by the Dockerfile.
        assert remote == Path("/opt/helios/lib/python3.11/site-packages", local.name)
    (deployment,) = (each for each in documents(whole) if each["kind"] == "Deployment")
    assert "readOnlyRootFilesystem" not in yaml.safe_dump(deployment)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("docker_build('x', '.', dockerfiel='proxy/Dockerfile')", "has no argument dockerfiel"),
        ("docker_build('x')", "wants context"),
        ("docker_build('x', '.', dockerfile='proxy/Containerfile')", "does not exist"),
        ("docker_build('x', 'proxy', only=['proxy'])", "does not exist"),
        ("sync('proxy/src/helios_proxy', '/x')", "does not exist"),
        ("local_resource('x', 'make', deps=['nowhere'])", "does not exist"),
        ("read_yaml('nowhere.yaml')", "does not exist"),
        ("k8s_resources('x')", "not found"),
        ("config.define_boolean('x')", "define_boolean"),
        ("load('ext://restarts', 'x')", "restarts"),
    ],
)
def test_what_tilt_or_the_tree_does_not_have_is_found(line: str, told: str) -> None:
    with pytest.raises(TiltfileError, match=told):
        run(line, ROOT)
