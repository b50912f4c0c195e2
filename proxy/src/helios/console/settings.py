"""The configuration as SHOW CONFIG has it, and what SET changes. Called by `show` and `table`.

A setting goes by PgBouncer's name where it was carried over from there (the tables of `helios.config.foreign` say which
are), and by our own, dotted one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, get_args

from pydantic import BaseModel, SecretStr

from helios.config import LogLevel, PreparedStatements, ProxyConfig
from helios.config.base import split_address
from helios.config.environment import EnvText
from helios.config.foreign.pgbouncer_settings import PGBOUNCER
from helios.config.foreign.settings import Fate
from helios.config.reload import RESTART_FIELDS
from helios.config.tree import Path, parse_path
from helios.console.answer import ConsoleError

__all__ = ["assignment", "setting_rows"]

_CARRIED: Final = (Fate.CARRIED, Fate.CHANGED)

_READ_ONLY: Final[dict[str, Callable[[ProxyConfig], str]]] = {
    "listen_addr": lambda config: split_address(config.listen_address)[0],
    "listen_port": lambda config: str(split_address(config.listen_address)[1]),
    "auth_ident_file": lambda _config: "",
    "server_reset_query_always": lambda config: str(int(config.pool.reset_query is not None)),
    "server_tls_sslmode": lambda config: config.clusters[0].tls.mode.value if config.clusters else "",
    "server_tls_ca_file": lambda config: (config.clusters[0].tls.ca_file or "") if config.clusters else "",
}
"""Settings that are no field of their own here, or are one of each cluster: shown (of the first), and not set."""

_WORDED: Final[dict[str, Callable[[ProxyConfig], str]]] = {
    "max_prepared_statements": lambda config: (
        str(config.limits.max_prepared_statements)
        if config.pool.prepared_statements is PreparedStatements.TRACK
        else "0"
    ),
    "verbose": lambda config: str(int(config.log.level is LogLevel.DEBUG)),
}
"""Settings whose values are others here."""


def setting_rows(config: ProxyConfig) -> Iterator[tuple[str, str, str, str]]:
    """Key, value, default, and whether SET can change it: PgBouncer's names first, then ours.

    Of PgBouncer's settings that we lack, those are shown whose default says what Helios does.
    """
    usual = ProxyConfig()
    for name, setting in PGBOUNCER.items():
        if setting.fate in _CARRIED:
            changeable = _is_changeable(name)
            yield name, _value(config, name), _value(usual, name), "yes" if changeable else "no"
        elif setting.inert and setting.inert[0] is not None:
            yield name, str(setting.inert[0]), str(setting.inert[0]), "no"
    for path, value in _leaves(config):
        name = ".".join(path)
        yield name, _shown(value), _shown(_leaf(usual, path)), "no" if name in RESTART_FIELDS else "yes"


def assignment(key: str, text: str) -> tuple[Path, Any]:
    """The field that SET names and its value. `ConsoleError` for what cannot be set while running."""
    name = key.lower()
    if name in PGBOUNCER:
        if not _is_changeable(name):
            raise ConsoleError("55P02", f"{name} cannot be changed while Helios runs", _why_not(name))
        setting = PGBOUNCER[name]
        try:
            ours, _ = setting.convert(setting.read(text))
        except ValueError as error:
            raise ConsoleError("22023", f'invalid value for {name}: "{text}"', str(error)) from error
        return parse_path(setting.becomes), ours
    path = parse_path(key)
    if not any(path == known for known, _ in _leaves(ProxyConfig())):
        raise ConsoleError("42704", f'unrecognized setting "{key}"', "SHOW CONFIG lists them.")
    if key in RESTART_FIELDS:
        raise ConsoleError("55P02", f"{key} cannot be changed while Helios runs", f"{RESTART_FIELDS[key]}.")
    return path, EnvText(text)


def _is_changeable(name: str) -> bool:
    setting = PGBOUNCER[name]
    return setting.fate in _CARRIED and name not in _READ_ONLY and setting.becomes not in RESTART_FIELDS


def _why_not(name: str) -> str:
    setting = PGBOUNCER[name]
    if setting.fate in _CARRIED:
        return f"Change {setting.becomes} in the file; some fields need a restart."
    return f"Helios does not have it: {setting.note}."


def _value(config: ProxyConfig, name: str) -> str:
    """The value of a setting that was carried over, as PgBouncer writes it."""
    special = _READ_ONLY.get(name) or _WORDED.get(name)
    if special is not None:
        return special(config)
    return _shown(_leaf(config, parse_path(PGBOUNCER[name].becomes)))


def _leaf(config: ProxyConfig, path: Path) -> Any:
    value: Any = config
    for part in path:
        value = getattr(value, str(part))
    return value


def _leaves(model: BaseModel, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Fields that hold one value; the lists of clusters, databases and the like are not among them."""
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            yield from _leaves(value, (*path, name))
        elif not _is_list_of_models(type(model), name):
            yield (*path, name), value


def _is_list_of_models(model: type[BaseModel], name: str) -> bool:
    kinds = get_args(model.model_fields[name].annotation)
    return bool(kinds) and isinstance(kinds[0], type) and issubclass(kinds[0], BaseModel)


def _shown(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return str(int(value))
        case SecretStr():
            return str(value)
        case tuple():
            return ",".join(value)
        case _:
            return str(value)
