"""pgbouncer.ini, the files it includes and its userlist.txt as our configuration.

Called by `load` and `helios import`. The tables of `pgbouncer_settings` say what becomes of each setting; here is what
takes more than one of them. Where a setting is left out PgBouncer's default holds, as its clients expect.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from helios.config.base import join_address
from helios.config.foreign.draft import Draft, Imported, Origin
from helios.config.foreign.ini import Entry, pairs, read_ini
from helios.config.foreign.pgbouncer_settings import DATABASES, PEERS, PGBOUNCER, USERS
from helios.config.foreign.settings import Fate, Setting, Table
from helios.config.foreign.userlist import read_userlist
from helios.config.tree import unknown_key
from helios.config.users import SecretKind, User

__all__ = ["read_pgbouncer"]

SECTIONS: Final = ("databases", "users", "peers", "pgbouncer")
CONSOLE: Final = "pgbouncer"
"""Name of the database that is PgBouncer's console."""

NO_ADDRESS: Final = "127.0.0.1"
"""Where to listen for a PgBouncer that has no TCP address, and where the server is whose socket has no folder."""

DEFAULT_RESET: Final = "DISCARD ALL"

HBA: Final = "hba"
"""The auth_type that leaves it to auth_hba_file."""

IDENT_WORDS: Final = 3
_IDENT_WORD: Final = re.compile(r'"((?:[^"]|"")*)"|(\S+)')

METHODS: Final = {"any": "trust", "plain": "password"}
"""Authentication that has another name here."""

METHODS_ELSEWHERE: Final = {
    "ldap": "clients are not checked against LDAP",
    "pam": "clients are not checked by PAM",
}
"""Authentication that Helios lacks; the strictest that it has stands in."""

_SPECIAL: Final = (
    "auth_dbname",
    "auth_file",
    "auth_hba_file",
    "auth_ident_file",
    "auth_query",
    "auth_type",
    "auth_user",
    "client_tls_ca_file",
    "client_tls_sslmode",
    "listen_addr",
    "listen_port",
    "server_reset_query",
    "server_reset_query_always",
    "server_tls_ca_file",
    "server_tls_sslmode",
)
"""Settings that are not carried one by one."""

_TLS_FILES: Final = ("client_tls_cert_file", "client_tls_key_file")
_FILES: Final = (*_TLS_FILES, "unix_socket_dir")


@dataclass(frozen=True, slots=True)
class _Value:
    """What a setting says and where."""

    value: Any
    origin: Origin

    @property
    def is_written(self) -> bool:
        """Whether it stands in the file, rather than being PgBouncer's default."""
        return self.origin.line is not None


_Values = Mapping[str, _Value]
_Hosts = tuple[tuple[str, int], ...]


def read_pgbouncer(path: Path) -> Imported:
    """The configuration in a pgbouncer.ini. `ConfigError` with everything that is wrong."""
    return _Reading(path).imported()


class _Reading:
    def __init__(self, path: Path) -> None:
        self._folder = path.absolute().parent
        self._draft = Draft(str(path))
        self._entries = read_ini(path, self._draft)
        self._check_sections()
        self._settings = self._read_settings()
        self._users, self._users_need_file = self._read_users()

    def imported(self) -> Imported:
        self._carry_plain()
        self._cap_idle((), self._default_of("min_pool_size"))
        self._carry_listener()
        self._carry_auth()
        self._carry_client_tls()
        self._carry_databases()
        self._carry_users()
        for entry in self._of("peers"):
            self._read_pairs(entry, PEERS)
        return self._draft.finish(self._users, need_file=self._users_need_file)

    def _check_sections(self) -> None:
        for entry in self._entries:
            if entry.section not in SECTIONS:
                self._unknown(entry.section, SECTIONS, entry.origin)

    def _unknown(self, name: str, known: Sequence[str] | Table, origin: Origin) -> None:
        finding = unknown_key((name,), known)
        self._draft.wrong(origin, f'"{name}" is not known to PgBouncer', finding.hint)

    def _of(self, section: str) -> Iterator[Entry]:
        return (entry for entry in self._entries if entry.section == section)

    def _read_settings(self) -> dict[str, _Value]:
        """Every setting of `[pgbouncer]` that is written or has a default; of one that is written twice the last."""
        last: dict[str, Entry] = {}
        for entry in self._of("pgbouncer"):
            if entry.key not in PGBOUNCER:
                self._unknown(entry.key, PGBOUNCER, entry.origin)
                continue
            if entry.key in last:
                place = f"{entry.origin.source}:{entry.origin.line}"
                self._draft.note(Fate.CHANGED, last[entry.key].origin, f"is written again in {place}, which wins")
            last[entry.key] = entry
        values = {}
        for name, setting in PGBOUNCER.items():
            found = last.get(name)
            if found is None and not setting.default:
                continue
            origin = found.origin if found is not None else self._default_of(name)
            value = self._draft.read(setting, found.value if found is not None else setting.default, origin)
            if value is not None:
                values[name] = _Value(value, origin)
        return values

    def _default_of(self, name: str) -> Origin:
        """The place of a setting that does not stand in the file."""
        return Origin(f"pgbouncer.{name}", self._draft.source)

    def _value(self, name: str) -> Any:
        """What a setting says; "" for a text that is neither written nor has a default."""
        found = self._settings.get(name)
        return found.value if found else ""

    def _carry_plain(self) -> None:
        """What the tables say all about."""
        for name, found in self._settings.items():
            setting = PGBOUNCER[name]
            if found.is_written:
                self._draft.tell(setting, found.value, found.origin)
            if not setting.becomes or name in _SPECIAL:
                continue
            if name in _FILES:
                if found.value:
                    self._put_file(tuple(setting.becomes.split(".")), found)
                continue
            self._draft.carry(setting, found.value, found.origin)

    def _put_file(self, path: tuple[str | int, ...], found: _Value) -> None:
        """A file by its absolute path, since the configuration may be written elsewhere."""
        if not Path(found.value).is_absolute() and found.is_written:
            message = "is relative: it starts at the folder of this file here, at the current one in PgBouncer"
            self._draft.note(Fate.CHANGED, found.origin, message)
        self._draft.put(path, str(self._folder / found.value), found.origin)

    def _carry_listener(self) -> None:
        found = self._settings.get("listen_addr")
        hosts = [part.strip() for part in self._value("listen_addr").split(",") if part.strip()]
        origin = found.origin if found else self._default_of("listen_addr")
        if not hosts:
            message = f"names no address, PgBouncer listens on its Unix socket only; Helios on {NO_ADDRESS}"
            self._draft.note(Fate.CHANGED, origin, message)
        elif len(hosts) > 1:
            message = f"names several addresses, Helios listens on {hosts[0]} only"
            self._draft.note(Fate.LOST, origin, message, "write * for all addresses")
        host = hosts[0] if hosts else NO_ADDRESS
        port = self._settings.get("listen_port")
        if port is None:
            return
        address = join_address("0.0.0.0" if host == "*" else host, port.value)
        self._draft.put(("listen_address",), address, origin if host != "*" and hosts else port.origin)

    def _read_users(self) -> tuple[tuple[User, ...], bool]:
        """The users of auth_file, and whether Helios needs them in a file of its own."""
        found = self._settings.get("auth_file")
        if found is None or not found.value:
            return (), False
        return read_userlist(self._folder / found.value, found.origin, self._draft)

    def _carry_auth(self) -> None:
        found = self._settings.get("auth_type")
        if found is None:
            return
        self._carry_auth_query()
        self._carry_auth_file()
        if found.value == HBA and self._value("auth_hba_file"):
            self._put_file(("auth", "hba_file"), self._settings["auth_hba_file"])
            self._carry_ident()
            return
        if found.value == HBA:
            self._draft.wrong(found.origin, "needs auth_hba_file", "nobody could log in")
            return
        if found.value in METHODS_ELSEWHERE:
            hint = "SCRAM-SHA-256 against auth_file is asked for instead"
            message = f'"{found.value}": {METHODS_ELSEWHERE[found.value]}'
            self._draft.note(Fate.LOST, found.origin, message, hint, unsafe=True)
            method = "scram-sha-256"
        else:
            method = METHODS.get(found.value, found.value)
        if method == "trust":
            self._draft.note(Fate.CHANGED, found.origin, "lets in also who is not in auth_file")
        self._draft.put(("auth", "method"), method, found.origin)

    def _carry_auth_file(self) -> None:
        file = self._settings.get("auth_file")
        self._draft.places["auth", "users_file"] = file.origin if file else self._default_of("auth_file")
        if file is not None and file.value:
            self._put_file(("auth", "users_file"), file)

    def _carry_auth_query(self) -> None:
        """What looks up users in PostgreSQL, where somebody is named to ask; its password is in auth_file."""
        user = self._settings.get("auth_user")
        if user is None or not user.value:
            return
        self._draft.put(("auth", "query_user"), user.value, user.origin)
        query, database = self._settings.get("auth_query"), self._settings.get("auth_dbname")
        if query is not None and query.value:
            self._draft.put(("auth", "query"), query.value, query.origin)
        if database is not None and database.value:
            self._draft.put(("auth", "query_database"), database.value, database.origin)
            return
        asked = next((entry for entry in self._of("databases") if entry.key not in (CONSOLE, "*")), None)
        if asked is not None:
            strings = dict(pairs(asked.value)) if _is_pairs(asked.value) else {}
            name = strings.get("dbname", asked.key)
            message = f"asks in database {name}, whoever logs in; PgBouncer asks in the database of the client"
            self._draft.note(Fate.CHANGED, user.origin, message, "set auth_dbname")
            self._draft.put(("auth", "query_database"), name, user.origin)

    def _carry_ident(self) -> None:
        """The lines of the user maps, which have no file of their own here."""
        found = self._settings.get("auth_ident_file")
        if found is None or not found.value:
            return
        try:
            written = (self._folder / found.value).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            self._draft.wrong(found.origin, f"cannot be read: {error}")
            return
        lines = []
        for number, text in enumerate(written.splitlines(), 1):
            words = [quoted.replace('""', '"') or word for quoted, word in _IDENT_WORD.findall(text.partition("#")[0])]
            if len(words) not in (0, IDENT_WORDS):
                self._draft.wrong(found.origin, f"line {number} is none of a user map", "write MAP SYSTEM-USER ROLE")
            elif words:
                lines.append(dict(zip(("map", "system_user", "database_user"), words, strict=True)))
        self._draft.put(("auth", "ident"), lines, found.origin)

    def _carry_client_tls(self) -> None:
        found = self._settings.get("client_tls_sslmode")
        if found is None:
            return
        self._draft.carry(PGBOUNCER["client_tls_sslmode"], found.value, found.origin)
        for name in _TLS_FILES:
            path = tuple(PGBOUNCER[name].becomes.split("."))
            self._draft.places.setdefault(path, self._default_of(name))
        authorities = self._settings.get("client_tls_ca_file")
        if found.value == "disable":
            return
        if found.value.startswith("verify"):
            self._draft.put(("tls", "client_auth"), "required", found.origin)
        elif authorities is not None and authorities.value:
            self._draft.put(("tls", "client_auth"), "optional", authorities.origin)
        if authorities is not None and authorities.value:
            self._put_file(("tls", "client_ca_file"), authorities)

    def _carry_databases(self) -> None:
        first: dict[str, Origin] = {}
        clusters: dict[_Hosts, Origin] = {}
        entries: list[tuple[_Hosts, Origin]] = []
        for entry in self._of("databases"):
            if entry.key == CONSOLE:
                self._draft.wrong(entry.origin, "is the name of PgBouncer's console", "choose another name")
                continue
            if entry.key in first:
                place = f"{first[entry.key].source}:{first[entry.key].line}"
                self._draft.wrong(entry.origin, "is here for the second time", f"{place} has it too")
                continue
            first[entry.key] = entry.origin
            strings = self._read_pairs(entry, DATABASES)
            hosts = self._hosts(strings, entry.origin)
            clusters.setdefault(hosts, entry.origin)
            self._carry_database(("databases", len(entries)), entry, strings)
            entries.append((hosts, entry.origin))
        if not entries:
            self._draft.wrong(Origin("databases", self._draft.source), "names no database", "nobody could connect")
        names = _cluster_names(tuple(clusters))
        for index, (hosts, origin) in enumerate(entries):
            if len(names) > 1:
                self._draft.put(("databases", index, "cluster"), names[hosts], origin)
        self._put_clusters(names, clusters)

    def _read_pairs(self, entry: Entry, table: Table) -> dict[str, _Value]:
        """The settings in one connection string. What each becomes is told by the way."""
        try:
            written = pairs(entry.value)
        except ValueError as error:
            self._draft.wrong(entry.origin, f"is no list of settings: {error}", "write key=value key='a value'")
            return {}
        values = {}
        for name, text in written:
            origin = entry.origin.below(name)
            if name not in table:
                self._unknown(name, table, origin)
                continue
            if name == "query_wait_timeout" and text == "-1":
                continue  # PgBouncer's way of writing that it is not set
            value = self._draft.read(table[name], text, origin)
            if value is not None:
                self._draft.tell(table[name], value, origin)
                values[name] = _Value(value, origin)
        return values

    def _carry_users(self) -> None:
        """Settings of single users. Of a user that is there twice the last entry counts, as in PgBouncer."""
        last = {entry.key: self._read_pairs(entry, USERS) for entry in self._of("users")}
        kept = {name: values for name, values in last.items() if any(USERS[key].becomes for key in values)}
        for index, (name, values) in enumerate(kept.items()):
            base = ("users", index)
            self._draft.tree.setdefault("users", []).append({"name": name})
            for key, found in values.items():
                if USERS[key].becomes:
                    self._draft.carry(USERS[key], found.value, found.origin, base)

    def _hosts(self, strings: _Values, origin: Origin) -> _Hosts:
        """The servers of a database, each with its port."""
        port = strings["port"].value if "port" in strings else int(DATABASES["port"].default)
        hosts = [part.strip() for part in (strings["host"].value if "host" in strings else "").split(",")]
        if "host" in strings and len(hosts) > 1:
            message = (
                "names several servers: they are one cluster, and every statement goes to the one that is primary; "
                "PgBouncer takes turns"
            )
            self._draft.note(Fate.CHANGED, strings["host"].origin, message)
        if any(not host or host[0] == "@" for host in hosts):
            message = f"is a Unix socket; Helios connects to {NO_ADDRESS} by TCP, where other rules of pg_hba.conf hold"
            self._draft.note(Fate.CHANGED, strings["host"].origin if "host" in strings else origin, message)
        return tuple((NO_ADDRESS if not host or host[0] == "@" else host, port) for host in hosts)

    def _carry_database(self, base: tuple[str | int, ...], entry: Entry, strings: _Values) -> None:
        self._draft.tree.setdefault("databases", []).append({})
        self._draft.put((*base, "name"), entry.key, entry.origin)
        for name, found in strings.items():
            if DATABASES[name].becomes and name not in ("host", "port", "password"):
                self._draft.carry(DATABASES[name], found.value, found.origin, base)
        self._carry_login(base, strings)
        self._cap_idle(base, entry.origin)
        self._carry_reset(base, entry.origin)

    def _carry_login(self, base: tuple[str | int, ...], strings: _Values) -> None:
        """The password of a fixed user: its own, else the one that auth_file has for that user."""
        user, password = strings.get("user"), strings.get("password")
        if user is None:
            if password is not None:
                self._draft.note(Fate.NEEDLESS, password.origin, "belongs to no user, PgBouncer does not use it either")
            return
        if password is not None:
            self._draft.put((*base, "password"), password.value, password.origin)
            return
        known = next((each for each in self._users if each.name == user.value), None)
        if known is None or known.secret is None:
            return
        if known.kind is not SecretKind.PLAIN:
            message = f"has a password of kind {known.kind.value} in auth_file, which logs in to no server from here"
            self._draft.note(Fate.LOST, user.origin, message, "write password= beside user=")
            return
        self._draft.put((*base, "password"), known.secret.get_secret_value(), user.origin)

    def _cap_idle(self, base: tuple[str | int, ...], origin: Origin) -> None:
        """PgBouncer keeps no more connections than a pool may have, whatever min_pool_size says."""
        size, least = self._in_force(base, "max_size"), self._in_force(base, "min_idle")
        if isinstance(size, int) and isinstance(least, int) and 0 < size < least:
            self._draft.put((*base, "pool", "min_idle"), size, origin)

    def _in_force(self, base: tuple[str | int, ...], name: str) -> Any:
        own = self._draft.get((*base, "pool", name))
        return self._draft.get(("pool", name)) if own is None else own

    def _carry_reset(self, base: tuple[str | int, ...], origin: Origin) -> None:
        """A reset query of the user's own, where PgBouncer would send it: in session mode, or always when told so.

        Helios itself undoes what a client changed, so that DISCARD ALL adds nothing.
        """
        found = self._settings.get("server_reset_query")
        if found is None or found.value.rstrip("; ").upper() == DEFAULT_RESET:
            return
        first = base[1] == 0
        if not found.value:
            if first:
                message = "is empty: PgBouncer undoes nothing then, Helios undoes what the last client changed"
                self._draft.note(Fate.CHANGED, found.origin, message)
        elif self._in_force(base, "mode") == "session" or self._value("server_reset_query_always"):
            self._draft.put((*base, "pool", "reset_query"), found.value, found.origin)

    def _put_clusters(self, names: Mapping[_Hosts, str], origins: Mapping[_Hosts, Origin]) -> None:
        mode, authorities = self._settings.get("server_tls_sslmode"), self._settings.get("server_tls_ca_file")
        self._draft.tree["clusters"] = []
        for index, (hosts, name) in enumerate(names.items()):
            base = ("clusters", index)
            nodes = [{"host": host, "port": port} for host, port in dict.fromkeys(hosts)]
            if len(nodes) == 1:
                nodes[0]["role"] = "primary"
            self._draft.tree["clusters"].append({"name": name, "nodes": nodes})
            self._draft.places[base] = origins[hosts]
            if mode is not None:
                setting = Setting(Fate.CARRIED, str, "tls.mode", convert=PGBOUNCER["server_tls_sslmode"].convert)
                self._draft.carry(setting, mode.value, mode.origin if index == 0 else _unwritten(mode.origin), base)
            if authorities is not None and authorities.value:
                self._put_file((*base, "tls", "ca_file"), authorities)


def _unwritten(origin: Origin) -> Origin:
    """The same place for something that need not be told again."""
    return Origin(origin.field, origin.source)


def _is_pairs(text: str) -> bool:
    try:
        pairs(text)
    except ValueError:
        return False
    return True


def _cluster_names(clusters: Sequence[_Hosts]) -> dict[_Hosts, str]:
    """A name for each list of servers: that of its first host, with a number where that is taken."""
    if len(clusters) == 1:
        return {clusters[0]: "main"}
    names: dict[_Hosts, str] = {}
    for hosts in clusters:
        stem = hosts[0][0]
        number = 1
        while (name := stem if number == 1 else f"{stem}-{number}") in names.values():
            number += 1
        names[hosts] = name
    return names
