"""Documents do not lie about the tree: links lead somewhere, paths and commands they name exist."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from repo.tree import ROOT, files, text

DOCUMENTS = [file for file in files() if file.suffix == ".md"]
TOP_FOLDERS = {file.parts[0] for file in files() if len(file.parts) > 1}

LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
FENCE = re.compile(r"^```.*?^```", re.M | re.S)
HEADING = re.compile(r"^#+ +(.*)$", re.M)
ANCHOR = re.compile(r'<a id="([^"]+)">')


def anchors(file: Path) -> set[str]:
    """The anchors of a document's headings, as forges make them, and those that it writes itself."""
    headings = HEADING.findall(FENCE.sub("", text(file) or ""))
    made = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return made | set(ANCHOR.findall(text(file) or ""))


def exists(path: str) -> bool:
    """Whether a path, or a pattern, names something in the tree."""
    found = list(ROOT.glob(path)) if "*" in path else [ROOT / path]
    return any(each.exists() for each in found)


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_links_lead_somewhere(document: Path) -> None:
    broken = []
    for link in LINK.findall(CODE.sub("", FENCE.sub("", text(document) or ""))):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / document.parent / path).resolve() if path else ROOT / document
        if not target.exists() or (anchor and anchor not in anchors(target.relative_to(ROOT))):
            broken.append(link)

    assert broken == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_paths_exist(document: Path) -> None:
    named = {code.rstrip("/") for code in CODE.findall(text(document) or "") if "/" in code}
    paths = {path for path in named if path.split("/")[0] in TOP_FOLDERS and re.fullmatch(r"[\w./*-]+", path)}

    assert sorted(path for path in paths if not exists(path)) == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_make_targets_exist(document: Path) -> None:
    words = re.findall(r"\bmake ([a-z0-9-]+)(?= [A-Z]+=|`|$)", text(document) or "", re.M)

    assert sorted(set(words) - targets()) == []


def test_readme_lists_every_target() -> None:
    readme = text(Path("README.md")) or ""

    assert sorted(target for target in targets() - {"lock"} if f"`make {target}`" not in readme) == []


def targets() -> set[str]:
    """What `make` alone lists."""
    listing = subprocess.run(
        ["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    return set(re.findall(r"^  ([a-z0-9-]+) ", listing, re.M))
