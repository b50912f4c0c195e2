"""The tree keeps its shape: what may lie at the top, where no `__init__.py` may be, what no file may say."""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
from collections import Counter
from pathlib import Path

from repo.tree import ROOT, files, text

TOP_LEVEL = {
    *("operator", "proxy", "crds", "helm", "terraform", "pulumi", "e2e", "pyproject.toml", "Tiltfile"),
    *("bench", "docs", "examples", "requirements", "Makefile", ".make", ".ci", ".github"),
    *("README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "LICENSE"),
    *(".dockerignore", ".editorconfig", ".gitattributes", ".gitignore", ".npmrc", ".pre-commit-config.yaml"),
}

REGISTRY = re.compile(r"https?://[a-z0-9.-]*(pypi|pythonhosted|npmjs|golang|crates|maven|debian)\.")
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:work|root)/|[.]pyenv\b")
PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----\n")

MAX_BYTES = 1_000_000
MAX_LINES = 600
SOURCE = {".py", ".pyi", ".rs", ".go", ".ts"}
GENERATED = Path("pulumi", "sdk")
"""Pulumi's own generators decide how long its files are, and which pages of golang.org they name."""


def sources() -> list[Path]:
    """What people wrote, or generators of our own."""
    return [file for file in files() if not file.is_relative_to(GENERATED)]


def test_top_level_is_fixed() -> None:
    assert {file.parts[0] for file in files()} <= TOP_LEVEL


def test_operator_is_the_standard_library_s() -> None:
    # As a script run from the root sees it: the root is on the path before the standard library.
    program = "import operator, dataclasses; print(operator.__file__)"
    seen = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert Path(seen.stdout.strip()).parent == Path(sysconfig.get_path("stdlib"))


def test_no_package_at_the_top_or_in_test_folders() -> None:
    packages = [file.parent for file in files() if file.name == "__init__.py"]

    assert [folder for folder in packages if len(folder.parts) <= 1] == []
    assert [folder for folder in packages if "tests" in folder.parts or folder.parts[-1] == "repo"] == []


def test_test_files_have_unique_names() -> None:
    names = Counter(file.name for file in files() if file.match("test_*.py"))

    assert [name for name, count in names.items() if count > 1] == []


def test_only_crds_lie_beside_the_generated_ones() -> None:
    wrong = [
        file for file in files() if file.match("crds/*.yaml") and "CustomResourceDefinition" not in (text(file) or "")
    ]

    assert wrong == []


def test_no_file_names_a_registry_or_a_path_of_a_machine() -> None:
    found = [
        f"{file}:{number}: {line.strip()[:100]}"
        for file in sources()
        for number, line in enumerate((text(file) or "").splitlines(), start=1)
        if REGISTRY.search(line) or MACHINE_PATH.search(line)
    ]

    assert found == []


def test_no_private_key_and_no_large_file() -> None:
    assert [file for file in files() if PRIVATE_KEY.search(text(file) or "")] == []
    assert [file for file in files() if (ROOT / file).stat().st_size > MAX_BYTES] == []


def test_text_files_end_with_one_newline() -> None:
    wrong = [file for file in files() if (content := text(file)) and not re.search(r"[^\n]\n\Z", content)]

    assert wrong == []


def test_source_files_are_not_too_long() -> None:
    lengths = {file: len((text(file) or "").splitlines()) for file in sources() if file.suffix in SOURCE}

    assert {file: lines for file, lines in lengths.items() if lines > MAX_LINES} == {}


def test_each_python_module_says_what_it_is() -> None:
    modules = [file for file in sources() if file.suffix == ".py" and file.name != "__init__.py"]

    assert [file for file in modules if not re.match(r'(#!.*\n)?r?"""\S', text(file) or "")] == []
