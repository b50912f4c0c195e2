"""The programs of a cluster: built by Go once, kept by the modules' digest, caches dropped; what `make e2e` counts."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from helios_make import e2e, kubernetes
from helios_make.errors import TargetError
from helios_make.kubernetes import Module, ensure_programs, find_program, programs_folder
from helios_make.places import Places
from helios_make.results import Result
from repo.tree import ROOT

needs_go = pytest.mark.skipif(shutil.which("go") is None, reason="Go is not installed; `make e2e` needs it once")


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    """A clone whose only program is a small one, and a cache of the test's own."""
    module = tmp_path / "clone" / "e2e" / "cluster" / "tools" / "small"
    module.mkdir(parents=True)
    (module / "go.mod").write_text("module helios.test/small\n\ngo 1.21\n", encoding="utf-8")
    (module / "main.go").write_text('package main\n\nfunc main() { println("hello") }\n', encoding="utf-8")
    monkeypatch.setattr(kubernetes, "MODULES", (Module("small", {"etcd": "."}, seconds=5, megabytes=1),))
    monkeypatch.setattr(kubernetes, "PROGRAMS", {"apiserver": ("etcd",)})
    monkeypatch.delenv("HELIOS_KEEP_CACHE", raising=False)
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    made = Places(root=tmp_path / "clone", cache=tmp_path / "cache")
    made.prepare()
    return made


@needs_go
def test_program_is_built_once_and_go_s_caches_are_dropped(clone: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    ensure_programs(clone, ["apiserver"])

    program = find_program(clone, "apiserver", "etcd")
    assert program == programs_folder(clone) / "etcd"
    assert subprocess.run([program], capture_output=True, text=True, check=True).stderr == "hello\n"
    assert not (clone.cache / "go").exists()

    monkeypatch.setenv("PATH", "/nowhere")
    ensure_programs(clone, ["apiserver"])


@needs_go
def test_go_s_caches_are_kept_when_asked_and_lie_in_ours(clone: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELIOS_KEEP_CACHE", "1")

    ensure_programs(clone, ["apiserver"])

    assert (clone.cache / "go" / "build").is_dir()


@needs_go
def test_changed_module_is_built_anew_and_the_older_program_stays(clone: Places) -> None:
    ensure_programs(clone, ["apiserver"])
    before = programs_folder(clone)

    source = clone.root / "e2e" / "cluster" / "tools" / "small" / "main.go"
    source.write_text(source.read_text(encoding="utf-8").replace("hello", "again"), encoding="utf-8")

    assert find_program(clone, "apiserver", "etcd") is None
    ensure_programs(clone, ["apiserver"])
    assert programs_folder(clone) != before
    assert (before / "etcd").is_file()


@needs_go
def test_module_that_does_not_compile_ends_with_the_compiler_s_words(clone: Places) -> None:
    (clone.root / "e2e" / "cluster" / "tools" / "small" / "main.go").write_text("package main\n", encoding="utf-8")

    with pytest.raises(TargetError, match="function main is undeclared in the main package"):
        ensure_programs(clone, ["apiserver"])

    assert find_program(clone, "apiserver", "etcd") is None


def test_programs_say_the_pinned_version_of_kubernetes() -> None:
    go_mod = (ROOT / "e2e" / "cluster" / "tools" / "kubernetes" / "go.mod").read_text(encoding="utf-8")

    flags = kubernetes._version_flags(go_mod)

    assert "-X k8s.io/component-base/version.gitMinor=34" in flags
    assert any(flag.startswith("-X k8s.io/component-base/version.gitVersion=v1.34.") for flag in flags)


def test_every_module_is_locked() -> None:
    tools = ROOT / "e2e" / "cluster" / "tools"

    assert sorted(file.parent.name for file in tools.glob("*/go.mod")) == ["coredns", "etcd", "kubernetes"]
    assert all((file.parent / "go.sum").stat().st_size > 0 for file in tools.glob("*/go.mod"))


@pytest.mark.parametrize(
    ("variables", "levels"),
    [
        ({}, ["apiserver", "node"]),
        ({"HELIOS_LEVEL": "node"}, ["node"]),
        ({"HELIOS_KUBECONFIG": "/x"}, ["kubeconfig"]),
        ({"HELIOS_KUBECONFIG": "/x", "HELIOS_LEVEL": "apiserver"}, ["apiserver"]),
    ],
)
def test_levels_are_chosen(variables: dict[str, str], levels: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("HELIOS_")]:
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert e2e.chosen_levels() == levels


def test_fewer_tests_than_expected_fail_only_where_the_level_can_run(
    clone: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, elsewhere, enough = Result("node", passed=2), Result("node", passed=2), Result("node", passed=3)

    monkeypatch.setattr(e2e, "why_not", lambda places, level: None)
    e2e._compare(clone, here, 3)
    e2e._compare(clone, enough, 3)
    monkeypatch.setattr(e2e, "why_not", lambda places, level: "level node cannot run here: …")
    e2e._compare(clone, elsewhere, 3)

    assert (here.failed, here.failures) == (1, ["2 tests ran, 3 are expected (expected.toml)"])
    assert elsewhere.failed == enough.failed == 0
