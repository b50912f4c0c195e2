"""pgcat.toml as our configuration. Called by `load` and `helios import`.

The tables of `pgcat_settings` say what becomes of each setting; here is what takes more than one of them. A pool is a
database here, its first shard a cluster; users are in one file for all databases. PgCat's defaults hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import SecretStr

from helios.config.base import join_address
from helios.config.foreign.draft import Draft, Imported, Origin
from helios.config.foreign.pgcat_settings import GENERAL, PLUGINS, POOL, SHARD, USER
from helios.config.foreign.settings import Fate, Table
from helios.config.loader import decode, parse_toml, read_document
from helios.config.toml_lines import key_lines
from helios.config.tree import Locator, Tree, path_text, unknown_key
from helios.config.tree import Path as KeyPath
from helios.config.users import User

__all__ = ["is_pgcat", "read_pgcat"]

ROLES: Final = {"primary": "primary", "replica": "standby"}
SERVER_PARTS: Final = ("host", "port", "role")
_TOP: Final = ("general", "pools", "plugins", "path")
_SPECIAL: Final = (
    "admin_password",
    "autoreload",
    "enable_prometheus_exporter",
    "host",
    "port",
    "prometheus_exporter_port",
    "server_tls",
    "tls_certificate",
    "tls_private_key",
)
"""Settings that are not carried one by one."""

_Values = dict[str, Any]


def is_pgcat(tree: Mapping[str, Any]) -> bool:
    """Whether a TOML document is a pgcat.toml, which no other document of ours looks like."""
    return isinstance(tree.get("general"), dict) and isinstance(tree.get("pools"), dict)


def read_pgcat(path: Path) -> Imported:
    """The configuration in a pgcat.toml. `ConfigError` with everything that is wrong."""
    return _Reading(path).imported()


class _Reading:
    def __init__(self, path: Path) -> None:
        self._folder = path.absolute().parent
        self._draft = Draft(str(path))
        self._tree, text = parse_toml(decode(read_document(path), str(path)), str(path))
        self._lines = Locator(str(path), key_lines(text))
        self._users: dict[str, tuple[User, Origin]] = {}
        self._asks = False
        self._methods: set[str] = set()

    def imported(self) -> Imported:
        for key in self._tree:
            if key not in _TOP:
                self._unknown((key,), _TOP)
        if "plugins" in self._tree:
            self._draft.tell(PLUGINS, self._tree["plugins"], self._at(("plugins",)))
        general = self._settings(("general",), self._table(("general",), self._tree.get("general")), GENERAL)
        self._carry_general(general)
        self._asks = "auth_query_user" in general
        pools = self._table(("pools",), self._tree.get("pools"))
        self._draft.tree |= {"databases": [], "clusters": []}
        for name, pool in pools.items():
            self._carry_pool(name, self._table(("pools", name), pool), general)
        if not pools:
            self._draft.wrong(self._at(("pools",)), "names no pool", "nobody could connect")
        self._settle_clusters()
        self._settle_users(general)
        return self._draft.finish(tuple(user for user, _ in self._users.values()), need_file=True)

    def _at(self, path: KeyPath) -> Origin:
        return Origin(path_text(path), self._draft.source, self._lines.line(path))

    def _unknown(self, path: KeyPath, known: Any) -> None:
        finding = unknown_key(path, known)
        self._draft.wrong(self._at(path), "is not known to PgCat", finding.hint)

    def _table(self, path: KeyPath, value: Any) -> Tree:
        if isinstance(value, dict):
            return value
        message = "is missing" if value is None else "is no table"
        self._draft.wrong(self._at(path), message, f"write [{path_text(path)}]")
        return {}

    def _settings(self, path: KeyPath, written: Tree, table: Table) -> _Values:
        """What the settings of one section say, with PgCat's defaults. What each becomes is told by the way."""
        values: _Values = {}
        for name, value in written.items():
            origin = self._at((*path, name))
            if name not in table:
                self._unknown((*path, name), table)
                continue
            if (read := self._draft.read(table[name], value, origin)) is not None:
                self._draft.tell(table[name], read, origin)
                values[name] = read
        return values

    def _carry_general(self, general: _Values) -> None:
        for name, setting in GENERAL.items():
            if not setting.becomes or name in _SPECIAL or (name not in general and not setting.default):
                continue
            value = general[name] if name in general else int(setting.default)
            self._draft.carry(setting, value, self._at(("general", name)))
        host, port = general.get("host", GENERAL["host"].default), general.get("port", int(GENERAL["port"].default))
        self._draft.put(("listen_address",), join_address(host, port), self._at(("general", "host")))
        if general.get("enable_prometheus_exporter"):
            exporter = general.get("prometheus_exporter_port", int(GENERAL["prometheus_exporter_port"].default))
            origin = self._at(("general", "prometheus_exporter_port"))
            self._draft.put(("admin", "address"), join_address(host, exporter), origin)
        self._carry_tls(general)
        self._carry_reload(general)

    def _carry_tls(self, general: _Values) -> None:
        for name in ("tls_certificate", "tls_private_key"):
            if name in general:
                path = tuple(GENERAL[name].becomes.split("."))
                self._draft.put(path, str(self._folder / general[name]), self._at(("general", name)))
        if "tls_certificate" in general:
            self._draft.put(("tls", "mode"), "allow", self._at(("general", "tls_certificate")))

    def _carry_reload(self, general: _Values) -> None:
        """Milliseconds between two looks at the file; older releases wrote a flag for 15 seconds."""
        value = general.get("autoreload")
        if value is True:
            value = 15_000
        if value:
            self._draft.put(("watch", "interval_ms"), value, self._at(("general", "autoreload")))

    def _carry_pool(self, name: str, written: Tree, general: _Values) -> None:
        path: KeyPath = ("pools", name)
        pool = self._settings(path, written, POOL)
        base: KeyPath = ("databases", len(self._draft.tree["databases"]))
        self._draft.tree["databases"].append({})
        self._draft.put((*base, "name"), name, self._at(path))
        for key, setting in POOL.items():
            if setting.becomes.startswith("databases[].") and (key in pool or setting.default):
                value = pool.get(key, int(setting.default) if setting.default.isdigit() else setting.default)
                ours, difference = setting.convert(value)
                self._draft.put((*base, *setting.becomes.split(".")[1:]), ours, self._at((*path, key)))
                if difference and key in pool:
                    self._draft.note(Fate.CHANGED, self._at((*path, key)), difference)
        self._carry_shards((*path, "shards"), pool.get("shards", {}), base, general)
        self._carry_users((*path, "users"), pool.get("users", {}), base)

    def _carry_shards(self, path: KeyPath, shards: Tree, base: KeyPath, general: _Values) -> None:
        if not shards:
            self._draft.wrong(self._at(path), "is missing", f"write [{path_text((*path, '0'))}]")
            return
        first, *others = sorted(shards, key=lambda key: (len(key), key))
        if others:
            message = f"has {len(shards)} shards; Helios does not shard, and only shard {first} is carried over"
            self._draft.note(Fate.LOST, self._at(path), message, "run a Helios database for each shard", unsafe=True)
        path = (*path, first)
        shard = self._settings(path, self._table(path, shards[first]), SHARD)
        if "database" in shard:
            self._draft.put((*base, "database"), shard["database"], self._at((*path, "database")))
        nodes = [
            node
            for index, server in enumerate(shard.get("servers", []))
            if (node := self._node(server, self._at((*path, "servers", index)))) is not None
        ]
        mode = "require" if general.get("server_tls") else "disable"
        cluster = {"name": str(base[1]), "nodes": nodes, "tls": {"mode": mode}}
        clusters = self._draft.tree["clusters"]
        same = next((each for each in clusters if each["nodes"] == nodes), None)
        if same is None:
            self._draft.places["clusters", len(clusters)] = self._at((*path, "servers"))
            cluster["name"] = self._draft.get((*base, "name"))
            clusters.append(cluster)
        self._draft.put((*base, "cluster"), (same or cluster)["name"], self._at((*path, "servers")))

    def _node(self, server: Any, origin: Origin) -> Tree | None:
        """`["host", 5432, "primary"]`, or a table of the same."""
        if isinstance(server, list) and len(server) == len(SERVER_PARTS):
            server = dict(zip(SERVER_PARTS, server, strict=True))
        if not isinstance(server, dict) or not isinstance(server.get("role"), str):
            self._draft.wrong(origin, "is no server", 'write ["host", 5432, "primary"]')
            return None
        role = server["role"].lower()
        if role not in ROLES:
            self._draft.wrong(origin, f'has the role "{server["role"]}"', f"one of {', '.join(ROLES)}")
            return None
        return {"host": server.get("host"), "port": server.get("port"), "role": ROLES[role]}

    def _settle_clusters(self) -> None:
        """One cluster needs no name that databases refer to."""
        clusters = self._draft.tree["clusters"]
        if len(clusters) == 1:
            clusters[0]["name"] = "main"
            for database in self._draft.tree["databases"]:
                database.pop("cluster", None)

    def _carry_users(self, path: KeyPath, users: Tree, base: KeyPath) -> None:
        sizes: dict[int, Origin] = {}
        servers: set[tuple[str | None, str | None]] = set()
        for number, written in users.items():
            place = (*path, number)
            user = self._settings(place, self._table(place, written), USER)
            self._carry_user(place, user)
            if "pool_size" in user:
                sizes.setdefault(user["pool_size"], self._at((*place, "pool_size")))
            if user.get("min_pool_size", 0) > (self._draft.get((*base, "pool", "min_idle")) or 0):
                self._draft.put((*base, "pool", "min_idle"), user["min_pool_size"], self._at((*place, "min_pool_size")))
            servers.add((user.get("server_username"), user.get("server_password")))
        self._carry_sizes(sizes, base)
        self._carry_login(path, servers, base)

    def _carry_user(self, path: KeyPath, user: _Values) -> None:
        """The users file knows one secret a name, whatever the database."""
        self._methods.add(user.get("auth_type", USER["auth_type"].default))
        if "username" not in user:
            self._draft.wrong(self._at(path), "has no username", "every user has a name")
            return
        if user.get("password") or not self._asks:
            self._add_user(path, user["username"], user.get("password"))

    def _add_user(self, path: KeyPath, name: str, password: str | None) -> None:
        made = User(name, SecretStr(password) if password else None)
        known, origin = self._users.setdefault(name, (made, self._at(path)))
        if known != made:
            message = f'"{name}" has another password than at line {origin.line}; that one holds for all databases'
            self._draft.note(Fate.LOST, self._at(path), message, "give the user one password", unsafe=True)

    def _carry_sizes(self, sizes: Mapping[int, Origin], base: KeyPath) -> None:
        if not sizes:
            return
        largest = max(sizes)
        self._draft.put((*base, "pool", "max_size"), largest, sizes[largest])
        for size in sorted(set(sizes) - {largest}):
            message = f"is {size}, but pools have one size per database: {largest}, the largest of its users"
            self._draft.note(Fate.LOST, sizes[size], message)

    def _carry_login(self, path: KeyPath, servers: set[tuple[str | None, str | None]], base: KeyPath) -> None:
        """The role at the server, where it is another one than the client's; it must be the same for all users."""
        if len(servers) > 1:
            message = "log in to the server as different roles, which is one for a database here"
            hint = "write one pool for each server_username"
            self._draft.note(Fate.LOST, self._at(path), message, hint, unsafe=True)
            return
        for user, password in servers:
            if user is not None:
                self._draft.put((*base, "user"), user, self._at(path))
                if password is not None:
                    self._draft.put((*base, "password"), password, self._at(path))
                self._warn_of_strangers(path)

    def _warn_of_strangers(self, path: KeyPath) -> None:
        pools = self._tree["pools"]
        names = {user.get("username") for user in _dicts(pools[path[1]].get("users"))}
        others = {user.get("username") for pool in _dicts(pools) for user in _dicts(pool.get("users"))}
        if others - names:
            message = "log in as one role, and users of the other pools may do so as well: users hold for all databases"
            self._draft.note(Fate.LOST, self._at(path), message, unsafe=True)

    def _settle_users(self, general: _Values) -> None:
        """One method holds for all users, and one database to look up in those whose passwords are not here."""
        origin = self._at(("pools",))
        if "admin_username" in general:
            self._add_user(("general", "admin_username"), general["admin_username"], general.get("admin_password"))
        if self._asks and (database := self._draft.get(("databases", 0, "database"))) is not None:
            self._draft.put(("auth", "query_database"), database, self._at(("general", "auth_query_user")))
        if len(self._methods) > 1:
            message = "has users of auth_type md5 and of trust; md5 is asked of all"
            self._draft.note(Fate.LOST, origin, message)
        method = "trust" if self._methods == {"trust"} else "md5"
        self._draft.put(("auth", "method"), method, origin)
        self._draft.put(("auth", "users_file"), "users.txt", origin)


def _dicts(table: Any) -> list[Tree]:
    """The tables in a table."""
    return [each for each in table.values() if isinstance(each, dict)] if isinstance(table, dict) else []
