"""A plain tree to a `ProxyConfig`, or everything that is wrong with it. Last step of the loader.

Fields that are wrong one by one are taken out and the rest is built without them, so that the rules over several
fields are checked in the same run.
"""

from __future__ import annotations

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from helios.config.checks import check
from helios.config.environment import EnvText
from helios.config.messages import finding
from helios.config.proxy import ProxyConfig
from helios.config.tree import Finding, Tree, put, remove

__all__ = ["build"]

_MAX_REPAIRS = 4  # taking a list out, giving the items left what they need, and one more of each for safety
_PATH_TO_NODE = 4  # clusters[i].nodes[j]; what is wrong below it leaves the node and its cluster where they are
_MAX_DIGITS = 19  # of a 64-bit integer


def build(tree: Tree, damaged: frozenset[str] = frozenset()) -> tuple[ProxyConfig | None, list[Finding]]:
    """The configuration in `tree`, or None and what is wrong with it.

    `tree` is changed on the way. `damaged`: top-level keys of which something was taken out before.
    """
    config, errors = _validate(tree)
    converted = [error for error in errors if _convert(tree, error)]
    if converted:
        config, errors = _validate(tree)
    findings = [finding(error) for error in errors]
    damaged |= {str(error["loc"][0]) for error in errors if len(error["loc"]) <= _PATH_TO_NODE}
    for _ in range(_MAX_REPAIRS):
        if config is not None:
            break
        _repair(tree, errors)
        config, errors = _validate(tree)
    if config is not None:
        findings += check(config, damaged)
    return (None if findings else config), findings


def _validate(tree: Tree) -> tuple[ProxyConfig | None, list[ErrorDetails]]:
    try:
        return ProxyConfig.model_validate(tree), []
    except ValidationError as error:
        errors = error.errors(include_url=False)
        return None, [error for error in errors if error["type"] != "default_factory_not_called"]


def _repair(tree: Tree, errors: list[ErrorDetails]) -> None:
    """Make a faulty tree buildable: what is wrong goes, what is missing gets a name that nobody else has."""
    for number, error in enumerate(errors):
        if error["type"] == "missing":
            put(tree, error["loc"], f"missing-{number}")
    wrong = [error["loc"] for error in errors if error["type"] != "missing"]
    for path in sorted(wrong, key=lambda path: [f"{part:>9}" for part in path], reverse=True):  # last item first
        remove(tree, path)


def _convert(tree: Tree, error: ErrorDetails) -> bool:
    """Whether a value that one environment variable gave could be made the number or flag that the field wants."""
    text = error["input"]
    if not isinstance(text, EnvText):
        return False
    digits = text.removeprefix("-")
    if error["type"] == "int_type" and digits.isascii() and digits.isdigit() and len(digits) <= _MAX_DIGITS:
        return put(tree, error["loc"], int(text))
    if error["type"] == "bool_type" and text.lower() in ("true", "false"):
        return put(tree, error["loc"], text.lower() == "true")
    return False
