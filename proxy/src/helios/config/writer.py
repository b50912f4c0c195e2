"""A `ProxyConfig` as TOML. Called by `helios convert`, `helios play` and the operator; `loader` reads it back equal.

Only fields that differ from their defaults are written, besides `config_version` and `generation`. Secrets that stand
in the configuration itself are written as they are: such a file belongs into a Secret, never into a ConfigMap.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from helios.config.environment import escape
from helios.config.proxy import ProxyConfig
from helios.config.tree import Path

__all__ = ["dumps", "stated"]

_QUOTED = json.JSONEncoder(ensure_ascii=False)
_ALWAYS = ("config_version", "generation")


def dumps(config: ProxyConfig, variables: Mapping[Path, str] | None = None) -> str:
    """The configuration as the text of a helios.toml.

    `variables` (path → text with `${VAR}`, as `Loaded.variables`) are written instead of what they stood for.
    """
    tree = {name: getattr(config, name) for name in _ALWAYS} | _plain(config, (), variables or {})
    return "\n".join(_table(tree, "")) + "\n"


def stated(model: BaseModel, also: Container[str | int] = ()) -> Iterator[tuple[str, Any]]:
    """(name, value) of the fields that a file states: those that are required or differ from their defaults."""
    values = vars(model)
    for name, default in _defaults(type(model)).items():
        value = values[name]
        wanted = default.of(values) if isinstance(default, _Dependent) else default
        # Most settings are the very object that is the default; comparing models field by field takes longer.
        if name in also or (value is not wanted and value != wanted):
            yield name, value


def _plain(model: BaseModel, path: Path, variables: Mapping[Path, str]) -> dict[str, Any]:
    """Fields that differ from their defaults, as tables, lists and values of TOML."""
    depth = len(path)
    also = {variable[depth] for variable in variables if variable[:depth] == path and len(variable) > depth}
    return {name: _plain_value(value, (*path, name), variables) for name, value in stated(model, also)}


@dataclass(frozen=True, slots=True)
class _Dependent:
    """A default that depends on other fields."""

    of: Callable[[dict[str, Any]], Any]


@cache
def _defaults(model: type[BaseModel]) -> dict[str, Any]:
    """The default of each field, looked up once: an operator writes thousands of documents.

    A required field has one that no value equals.
    """
    return {name: _default(field) for name, field in model.model_fields.items()}


def _default(field: FieldInfo) -> Any:
    if field.default_factory is None:
        return field.default
    if field.default_factory_takes_validated_data:
        return _Dependent(cast("Callable[[dict[str, Any]], Any]", field.default_factory))
    return cast("Callable[[], Any]", field.default_factory)()


def _plain_value(value: Any, path: Path, variables: Mapping[Path, str]) -> Any:
    if path in variables:
        return _Variable(variables[path])
    if isinstance(value, BaseModel):
        return _plain(value, path, variables)
    if isinstance(value, tuple):
        return [_plain_value(item, (*path, index), variables) for index, item in enumerate(value)]
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return str(value) if isinstance(value, str) else value


class _Variable(str):
    """Text whose `${VAR}` is meant."""

    __slots__ = ()


def _table(tree: dict[str, Any], prefix: str) -> Iterator[str]:
    """Lines of a table: first its own values, then the tables in it, then its lists of tables."""
    for key, value in tree.items():
        if _is_value(value):
            yield f"{key} = {_value(value)}"
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from ("", f"[{prefix}{key}]", *_table(value, f"{prefix}{key}."))
        elif isinstance(value, list) and not _is_value(value):
            for item in value:
                yield from ("", f"[[{prefix}{key}]]", *_table(item, f"{prefix}{key}."))


def _is_value(value: Any) -> bool:
    """Whether it stands on the line of its key; of lists, those that hold no tables."""
    if isinstance(value, list):
        return not any(isinstance(item, dict) for item in value)
    return not isinstance(value, dict)


def _value(value: Any) -> str:
    return f"[{', '.join(map(_scalar, value))}]" if isinstance(value, list) else _scalar(value)


def _scalar(value: str | int | bool) -> str:
    if isinstance(value, str):
        text = value if isinstance(value, _Variable) else escape(value)
        return _QUOTED.encode(text).replace("\x7f", "\\u007f")
    return str(value).lower()
