"""`${VAR}` and `${VAR:-default}` in string values. First step of the loader after parsing.

`$${` stands for a literal `${`. A default also replaces a variable that is set but empty, as in a shell. Values that
are nothing but one variable are marked (`EnvText`), so that a number or a flag may come from the environment.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from helios.config.tree import Finding, Tree, leaves, put

__all__ = ["EnvText", "escape", "quote_bare_variables", "substitute"]

_TOKEN = re.compile(r"\$\$\{|\$\{(?:(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\})?")
_WHOLE = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*(?::-[^}]*)?\}")
_BARE = re.compile(rf"^(\s*[\w.\-\"' ]+=\s*)({_WHOLE.pattern})(\s*(?:#.*)?)$", re.MULTILINE)


class EnvText(str):
    """Text that a single variable gave; a field of numbers or flags may convert it."""

    __slots__ = ()


def escape(text: str) -> str:
    """`text` written so that `substitute` gives it back."""
    return text.replace("${", "$${")


def quote_bare_variables(text: str) -> str:
    """`port = ${PORT}` as `port = "${PORT}"`. The original substituted before parsing, so its files may hold that."""
    return _BARE.sub(lambda match: match[1] + json.dumps(match[2], ensure_ascii=False) + match[3], text)


def substitute(tree: Tree, environment: Mapping[str, str]) -> list[Finding]:
    """Replace the variables in every string of `tree`, in place. Returns what could not be replaced."""
    findings: list[Finding] = []
    for path, value in list(leaves(tree)):
        if not isinstance(value, str) or "${" not in value:
            continue
        try:
            text = _TOKEN.sub(lambda match: _value(match, environment), value)
        except _UnusableVariable as error:
            findings.append(Finding(path, error.message, error.hint))
            continue
        put(tree, path, EnvText(text) if _WHOLE.fullmatch(value) else text)
    return findings


class _UnusableVariable(Exception):
    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def _value(match: re.Match[str], environment: Mapping[str, str]) -> str:
    if match[0] == "$${":
        return "${"
    name, default = match["name"], match["default"]
    if name is None:
        raise _UnusableVariable(
            'holds a "${" that starts no variable', "write ${NAME}, ${NAME:-default}, or $${ for the two characters"
        )
    value = environment.get(name)
    if default is not None:
        return value or default
    if value is None:
        raise _UnusableVariable(f"the environment variable {name} is not set", f"set it, or write ${{{name}:-default}}")
    return value
