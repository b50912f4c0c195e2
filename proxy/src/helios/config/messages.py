"""What is wrong with one field and what would be right, in our own words. Called by `validation`.

One entry for each kind of error that the models can make; a test makes every one of them.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from typing import Any, Final, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from helios.config.environment import EnvText
from helios.config.proxy import ProxyConfig
from helios.config.tree import Finding, Path, nearest, unknown_key

__all__ = ["WORDS", "finding"]

_SECRET_FIELDS = ("password", "token")
_MAX_SHOWN = 80

_Context = Mapping[str, Any]
_Words = Callable[[Any, str, _Context], tuple[str, str]]
"""(value, value as shown, pydantic's context) to (what is wrong, what would be right)."""


def finding(error: ErrorDetails) -> Finding:
    """One error of pydantic as a finding."""
    path, value = error["loc"], error["input"]
    if error["type"] == "extra_forbidden":
        return unknown_key(path, _fields_at(path[:-1]))
    words = WORDS.get(error["type"])
    message, hint = words(value, _shown(path, value), error.get("ctx", {})) if words else (error["msg"], "")
    return Finding(path, message, hint)


def _wrong_type(wanted: str) -> _Words:
    return lambda value, shown, _: (f"is {_kind_of(value)}{shown}", f"{wanted} is wanted")


def _not_in_list(value: Any, shown: str, context: _Context) -> tuple[str, str]:
    known = [word.strip("'") for word in str(context["expected"]).replace(" or ", ", ").split(", ")]
    guess = nearest(value, known) if isinstance(value, str) else None
    suggestion = f'did you mean "{guess}"? ' if guess else ""
    return f"is{shown or ' ' + _kind_of(value)}", f"{suggestion}one of {', '.join(known)}"


WORDS: Final[dict[str, _Words]] = {
    "missing": lambda _value, _shown, _context: ("is missing", "it has no default"),
    "int_type": _wrong_type("an integer, without quotes,"),
    "bool_type": _wrong_type("true or false, without quotes,"),
    "string_type": _wrong_type("a string in quotes"),
    "model_type": _wrong_type("a table"),
    "tuple_type": _wrong_type("a list of tables, each under its [[…]],"),
    "greater_than_equal": lambda value, _, context: (f"is {_number(value)}", f"at least {context['ge']} is allowed"),
    "less_than_equal": lambda value, _, context: (f"is {_number(value)}", f"at most {context['le']} is allowed"),
    "enum": _not_in_list,
    "literal_error": _not_in_list,
    "string_too_short": lambda value, _, context: (
        f"has {len(value)} characters" if value else "is empty",
        f"at least {context['min_length']} are wanted",
    ),
    "string_too_long": lambda value, _, context: (
        f"has {len(value)} characters",
        f"at most {context['max_length']} are allowed",
    ),
    "string_pattern_mismatch": lambda _, shown, context: (
        f"has a character that is not allowed here:{shown}",
        f"it must match {context['pattern']}",
    ),
    "value_error": lambda _, shown, context: (f"is{shown}", str(context["error"])),
}
"""Kind of pydantic's error → our words."""


def _number(value: Any) -> str:
    return str(value) if abs(value) < 10**_MAX_SHOWN else "a huge number"


def _kind_of(value: Any) -> str:
    if isinstance(value, EnvText):
        return "text from an environment variable"
    names = {bool: "a flag", int: "an integer", float: "a float", str: "a string", dict: "a table", list: "a list"}
    return names.get(type(value), "a date or time")


def _shown(path: Path, value: Any) -> str:
    """The value for a message; nothing where it may be a secret or is no single value."""
    if path[-1] in _SECRET_FIELDS or isinstance(value, dict | list):
        return ""
    text = f'"{value}"' if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)
    return " " + (text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "…")


def _fields_at(path: Path) -> set[str]:
    """Names of the fields that may stand in the table at `path`."""
    model: Any = ProxyConfig
    for part in path:
        if isinstance(part, str):
            model = _model_in(model.model_fields[part].annotation)
    return set(model.model_fields) | ({"nodes"} if path == () else set())


def _model_in(annotation: Any) -> type[BaseModel]:
    """The model inside `tuple[Model, ...]` or `Model | None`."""
    if get_origin(annotation) in (tuple, Union, types.UnionType):
        return next(_model_in(arg) for arg in get_args(annotation) if arg is not type(None))
    model: type[BaseModel] = annotation
    return model
