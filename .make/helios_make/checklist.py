"""e2e/wire/CHECKLIST.md: which tests show which line of the protocol checklist. Called by `make generate`, its check.

Tests carry the marker `checklist(number, …)`, with `protocol="simple"` or `"extended"` where they show only one of the
two. So do the scripts that a test is parametrized with. All is read from the sources: nothing is imported or run.
"""

import ast
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from helios_make import generated
from helios_make.errors import TargetError

__all__ = ["Line", "Mark", "check", "read_checklist", "read_marks", "write"]

SOURCE = Path("e2e/wire/checklist.toml")
PAGE = Path("e2e/wire/CHECKLIST.md")
FOLDERS = ("wire", "behaviour", "kubernetes", "drivers")
"""Folders of e2e/ whose tests may carry the marker."""
PROTOCOLS = ("simple", "extended")

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Mark:
    """One test, or one script that a test runs, shows one line."""

    test: str
    """The pytest id without what varies, relative to e2e/."""
    line: int
    protocols: Sequence[str] = PROTOCOLS


@dataclass
class Line:
    """One line of the checklist."""

    number: int
    group: str
    title: str
    protocols: Sequence[str]
    """Of which each needs a test; empty where any test will do."""
    missing: str | None
    """What the tests do not show, as the source says openly."""
    marks: list[Mark] = field(default_factory=list)

    @property
    def unproven(self) -> str | None:
        """What the tests do not show and nothing says so."""
        if self.missing:
            return None
        if not self.marks:
            return "no test"
        absent = [name for name in self.protocols if not any(name in mark.protocols for mark in self.marks)]
        return f"no test by the {absent[0]} protocol" if absent else None


def write(root: Path) -> int:
    """Write the page of the clone; the exit status."""
    return generated.write(root, PAGE, _page(read_checklist(root)))


def check(root: Path) -> int:
    """Print how the clone's page differs from what the tests say; 1 if it does."""
    return generated.check(root, PAGE, _page(read_checklist(root)))


def read_checklist(root: Path) -> list[Line]:
    """Every line with the tests that show it.

    Raises:
        TargetError: a marker cannot be read or names a line that is none.
    """
    lines = _read_lines(root)
    for folder in FOLDERS:
        for file in sorted((root / "e2e" / folder).glob("test_*.py")):
            for mark in read_marks(f"{folder}/{file.name}", file.read_text(encoding="utf-8")):
                if mark.line not in lines:
                    raise TargetError(f"{mark.test}: the checklist has no line {mark.line}")
                lines[mark.line].marks.append(mark)
    return list(lines.values())


def read_marks(file: str, source: str) -> Iterator[Mark]:
    """The marks of the tests and scripts in one file.

    Raises:
        TargetError: a marker cannot be read, or no test runs what it is on.
    """
    body = ast.parse(source).body
    functions = [node for node in body if isinstance(node, Function)]
    lists = {
        target.id: _names(node.value)
        for node in body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for function in functions:
        for call in _decorators(function, "checklist"):
            test = f"{file}::{function.name}"
            numbers, protocols = _arguments(call, test)
            ids = [test]
            if not function.name.startswith("test_"):
                runners = [each.name for each in functions if function.name in _parameters(each, lists)]
                ids = [f"{file}::{runner}[{function.name}]" for runner in runners]
            if not ids:
                raise TargetError(f"{test}: carries the marker checklist, but no test is parametrized with it")
            yield from (Mark(each, number, protocols) for each in ids for number in numbers)


def _read_lines(root: Path) -> dict[int, Line]:
    with (root / SOURCE).open("rb") as handle:
        document = tomllib.load(handle)
    missing = {int(number): why for number, why in document["open"].items()}
    return {
        int(number): Line(
            number=int(number),
            group=group["name"],
            title=title,
            protocols=PROTOCOLS if int(number) in document["both"] else (),
            missing=missing.get(int(number)),
        )
        for group in document["group"]
        for number, title in group["lines"].items()
    }


def _decorators(function: Function, marker: str) -> Iterator[ast.Call]:
    """Its decorators `@pytest.mark.<marker>(…)`."""
    for node in function.decorator_list:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == marker:
            yield node


def _arguments(call: ast.Call, test: str) -> tuple[list[int], Sequence[str]]:
    """The numbers and protocols of a marker."""
    try:
        numbers = [ast.literal_eval(argument) for argument in call.args]
        options = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords}
    except ValueError as error:
        raise TargetError(f"{test}: checklist takes literals only") from error
    if not numbers or not all(isinstance(number, int) for number in numbers):
        raise TargetError(f"{test}: checklist takes numbers of lines")
    protocol = options.pop("protocol", None)
    if options or protocol not in (None, *PROTOCOLS):
        raise TargetError(f"{test}: checklist takes protocol=, one of {' and '.join(PROTOCOLS)}, and nothing else")
    return numbers, PROTOCOLS if protocol is None else (protocol,)


def _parameters(test: Function, lists: dict[str, set[str]]) -> set[str]:
    """Names of the functions that a test is parametrized with, in a list of its own or in one of the module."""
    if not test.name.startswith("test_"):
        return set()
    names: set[str] = set()
    for call in _decorators(test, "parametrize"):
        for argument in call.args[1:]:
            names |= lists.get(argument.id, set()) if isinstance(argument, ast.Name) else _names(argument)
    return names


def _names(value: ast.expr) -> set[str]:
    elements = value.elts if isinstance(value, ast.List | ast.Tuple) else []
    return {element.id for element in elements if isinstance(element, ast.Name)}


def _page(lines: Sequence[Line]) -> str:
    missing = [line for line in lines if line.missing]
    text = [
        "# The protocol checklist",
        "",
        "What PostgreSQL's protocol asks of a proxy, and the tests of `e2e` that show it, against a real PostgreSQL.",
        "Generated by `make generate` from [checklist.toml](checklist.toml) and the tests' markers; do not edit.",
        "",
        f"{len(lines)} lines, {len(lines) - len(missing)} shown, {len(missing)} open.",
        "",
        "## Open",
        "",
        *[f"- {line.number}: {line.missing}" for line in missing],
        *([] if missing else ["Nothing."]),
    ]
    group = ""
    for line in lines:
        if line.group != group:
            group = line.group
            text += ["", f"## {group}"]
        text += ["", f"### {line.number}. {line.title}", "", *_tests(line)]
    return "\n".join([*text, ""])


def _tests(line: Line) -> list[str]:
    shown = [f"- Open: {line.missing}"] if line.missing else []
    for mark in sorted(line.marks, key=lambda mark: mark.test):
        only = f" ({mark.protocols[0]})" if line.protocols and len(mark.protocols) == 1 else ""
        shown.append(f"- `{mark.test}`{only}")
    return shown
