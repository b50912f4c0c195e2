"""`make lint`, `make generate`, `make generate-check` and `make lock`: tools that read the whole tree."""

import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from helios_make import checklist, control_table
from helios_make.places import Places
from helios_make.python_env import ensure_uv
from helios_make.rust_workspace import open_workspace
from helios_make.steps import Step, run_step, say, summary

__all__ = ["generate", "generate_check", "lint", "lock"]

STUBTEST = ["--ignore-disjoint-bases", "--allowlist", "proxy/crates/helios-core/stubtest-allowlist.txt"]
"""Every compiled class is a disjoint base, which says nothing to a user of a final one."""

GENERATORS = (
    *("helios_crds.generate", "helios_operator.install"),
    *("helios_pulumi.generate", "helios_terraform.generate"),
)
"""Modules that write generated files, or with --check compare them."""

PAGES = ((control_table.write, control_table.check), (checklist.write, checklist.check))
"""Generators that import nothing of the project: how each writes, how it compares."""


def lint(places: Places) -> int:
    """Run every linter to its end, also after one failed; 1 when any did."""
    python = str(places.python)
    rustfmt = ["cargo", "fmt", "--manifest-path", "proxy/Cargo.toml", "--all", "--check"]
    commands: list[tuple[str, Sequence[str]]] = [
        ("ruff check", [python, "-m", "ruff", "check"]),
        ("ruff format", [python, "-m", "ruff", "format", "--check"]),
        ("mypy", [python, "-m", "mypy"]),
        (
            "mypy, tests of the parts",
            [python, "-m", "mypy", "proxy/tests", "crds/tests", "operator/tests", "terraform/tests", "pulumi/tests"],
        ),
        ("mypy, tests of the whole", [python, "-m", "mypy", "e2e", "bench"]),
        ("import-linter", [str(places.venv / "bin" / "lint-imports"), "--no-cache"]),
        ("stubtest", [python, "-m", "mypy.stubtest", "helios_core", *STUBTEST]),
        ("cargo fmt", rustfmt),
    ]
    failed = [name for name, command in commands if not _passes(name, command, places.root, places.environment())]
    with open_workspace(places) as workspace:
        environment = {**places.environment(), **workspace.environment()}
        clippy = ["cargo", "clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"]
        if not _passes("cargo clippy", clippy, workspace.folder, environment):
            failed.append("cargo clippy")
    say(f"helios: lint: {summary(len(commands) + 1, failed)}")
    return 1 if failed else 0


def generate(places: Places) -> int:
    """Write everything that is generated from the models, the planner's tables and the marks of tests."""
    statuses = [_run(places, [str(places.python), "-m", module]) for module in GENERATORS]
    return max([*statuses, *(write(places.root) for write, _ in PAGES)])


def generate_check(places: Places) -> int:
    """Say whether what is generated is up to date; the generators print the difference."""
    statuses = [_run(places, [str(places.python), "-m", module, "--check"]) for module in GENERATORS]
    return max([*statuses, *(check(places.root) for _, check in PAGES)])


def lock(places: Places) -> int:
    """Write requirements/*.txt anew from pyproject.toml: newest versions that fit, hashes, no host."""
    places.prepare()
    compile_command = [str(ensure_uv(places)), "pip", "compile", "--quiet", "--universal", "--python-version", "3.11"]
    compile_command += ["--generate-hashes", "--no-emit-package", "helios-core", "--upgrade"]
    compile_command += ["--custom-compile-command", "make lock"]
    locks = {
        "uv.txt": ["requirements/uv.in"],
        "proxy.txt": ["pyproject.toml", "--extra", "proxy"],
        "operator.txt": ["pyproject.toml", "--extra", "operator"],
        "build.txt": ["--group", "build"],
        "dev.txt": ["pyproject.toml", "--all-extras", "--group", "dev"],
    }
    for name, sources in locks.items():
        output = ["--output-file", str(Path("requirements") / name)]
        run_step(places, Step(f"Lock {name}", [*compile_command, *sources, *output], seconds=5))
    return 0


def _passes(name: str, command: Sequence[str], folder: Path, environment: dict[str, str]) -> bool:
    say(f"helios: {name}")
    status = subprocess.run(command, cwd=folder, env=environment, check=False).returncode
    if status != 0:
        say(f"helios: {name}: failed with status {status}; repeat: cd {folder} && {shlex.join(command)}")
    return status == 0


def _run(places: Places, command: Sequence[str]) -> int:
    return subprocess.run(command, cwd=places.root, env=places.environment(), check=False).returncode
