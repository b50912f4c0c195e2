"""The verbs of `kubectl helios`. Each takes the user's kubectl and the command line, prints, and returns a status."""

from __future__ import annotations

import argparse
import difflib
import io
import json
import os
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from helios.config import NodeConfig
from helios.config.writer import dumps
from helios_crds import HeliosProxy, is_helios, load_paths, parse
from helios_crds.placement import Placement
from helios_crds.references import References
from helios_crds.render import RenderResult, render
from helios_operator.names import CONFIG_KEY, GROUP_KIND, INSTANCE, ProxyKey
from helios_operator.plugin.kubectl import Kubectl, PluginError

__all__ = [
    "bundle",
    "clients",
    "diff_config",
    "explain",
    "logs",
    "pools",
    "psql",
    "render_config",
    "status",
    "switchover",
]

BUNDLE_LINES: Final = "2000"
SWITCHOVER_SECONDS: Final = 900.0
"""The checkpoint before it may take long."""
Json = dict[str, Any]


def status(kubectl: Kubectl, args: argparse.Namespace) -> int:
    """What the operator sees; 1 where the proxy is not ready."""
    proxy = kubectl.get(GROUP_KIND, args.name)
    seen: Json = proxy.get("status") or {}
    ready = f"{seen.get('readyReplicas', 0)} of {seen.get('replicas', 0)} pods ready"
    print(f"{args.name}: {seen.get('phase', 'Pending')}, {ready}, primary {seen.get('currentPrimary', 'unknown')}")
    conditions = seen.get("conditions") or []
    _table(
        ("CONDITION", "STATUS", "REASON", "MESSAGE"),
        [_line(c, "type", "status", "reason", "message") for c in conditions],
    )
    fields = ("name", "ready", "configGeneration", "maxServerConnections", "message")
    _table(
        ("POD", "READY", "GENERATION", "SERVERS AT MOST", "MESSAGE"),
        [_line(p, *fields) for p in seen.get("pods") or []],
    )
    return 0 if any(c["type"] == "Ready" and c["status"] == "True" for c in conditions) else 1


def pools(kubectl: Kubectl, args: argparse.Namespace) -> int:
    """Server connections of every pod."""
    fields = ("database", "user", "node_name", "mode", "active_connections", "idle_connections", "pending_requests")
    rows = [(pod, *_line(pool, *fields)) for pod, found in _asked(kubectl, args.name, "/pools") for pool in found]
    _table(("POD", "DATABASE", "USER", "NODE", "MODE", "ACTIVE", "IDLE", "WAITING"), rows)
    return 0


def clients(kubectl: Kubectl, args: argparse.Namespace) -> int:
    """How many clients each pod has."""
    fields = ("active_sessions", "waiting_sessions", "listening_sessions")
    rows = [(pod, *_line(found, *fields)) for pod, found in _asked(kubectl, args.name, "/sessions")]
    _table(("POD", "CLIENTS", "WAITING", "LISTENING"), rows)
    return 0


def explain(kubectl: Kubectl, args: argparse.Namespace) -> int:
    """What the first pod makes of a statement."""
    pod = _pods(kubectl, args.name)[0]
    asked = {"sql": args.sql, "database": args.database}
    found = kubectl.admin(_key(kubectl, args.name)).ask(pod, "/api/explain", asked)
    for name, value in found.items():
        print(f"{name}: {value if isinstance(value, str) else json.dumps(value)}")
    return 0


def switchover(kubectl: Kubectl, args: argparse.Namespace) -> int:
    """Have the pod that may promote make a standby the primary."""
    pods, admin = _pods(kubectl, args.name), kubectl.admin(_key(kubectl, args.name))
    reasons = []
    for pod in pods:
        for cluster in admin.ask(pod, "/api/failover")["clusters"]:
            if cluster["holds_lease"] and args.cluster in (None, cluster["cluster"]):
                wanted = {"cluster": args.cluster, "to": args.to}
                asked = {key: value for key, value in wanted.items() if value is not None}
                told = admin.ask(pod, "/api/switchover", asked, SWITCHOVER_SECONDS)
                print(f"{told['primary']} is primary of cluster {told['cluster']}")
                return 0
            reasons += [cluster["refused"]] if cluster["refused"] else []
    raise PluginError("; ".join([f"no pod of {args.name} may promote; set failover.enabled", *sorted(set(reasons))]))


def logs(kubectl: Kubectl, args: argparse.Namespace) -> int:
    """Log lines of all pods, each with its pod's name before it."""
    wanted = ["-l", f"{INSTANCE}={args.name}", "--prefix", f"--tail={args.tail}", "--max-log-requests=50"]
    return subprocess.call(kubectl.command("logs", *wanted, *(["--follow"] if args.follow else [])))


def psql(kubectl: Kubectl, args: argparse.Namespace) -> int:
    """psql through the Service; its exit status."""
    port = kubectl.get("service", args.name)["spec"]["ports"][0]["port"]
    with kubectl.forward(f"service/{args.name}", str(port)) as local:
        environment = {**os.environ, "PGHOST": "127.0.0.1", "PGPORT": str(local)}
        try:
            return subprocess.call(["psql", *args.arguments], env=environment)
        except OSError as error:
            raise PluginError(f"cannot run psql: {error.strerror}") from error


def bundle(kubectl: Kubectl, args: argparse.Namespace) -> int:
    """Everything that helps to understand a proxy, in one archive. What cannot be had is named in it."""
    output: Path = args.output or Path(f"{args.name}.tar.gz")
    parts: list[tuple[str, Callable[[], str]]] = [
        ("heliosproxy.yaml", lambda: kubectl.run("get", GROUP_KIND, args.name, "-o", "yaml")),
        ("helios.toml", lambda: _document(kubectl, args.name)),
        (
            "objects.txt",
            lambda: kubectl.run("get", "all,pdb,hpa,netpol", "-l", f"{INSTANCE}={args.name}", "-o", "wide"),
        ),
        ("events.txt", lambda: kubectl.run("get", "events", "--sort-by=.lastTimestamp")),
    ]
    for pod in kubectl.pods(args.name):
        parts.append((f"{pod}/log.txt", partial(kubectl.run, "logs", pod, f"--tail={BUNDLE_LINES}")))
        for path in ("/config", "/topology", "/nodes", "/pools", "/sessions", "/share"):
            parts.append((f"{pod}{path}.json", partial(_shown, kubectl, args.name, pod, path)))
    with tarfile.open(output, "w:gz") as archive:
        for name, read in parts:
            try:
                text = read()
            except PluginError as error:
                name, text = f"{name}.missing", f"{error}\n"
            info = tarfile.TarInfo(f"{args.name}/{name}")
            info.size = len(text.encode())
            archive.addfile(info, io.BytesIO(text.encode()))
    print(output)
    return 0


def render_config(kubectl: Kubectl, args: argparse.Namespace) -> int:
    """The document of a file's HeliosProxy, without the cluster; 1 where it makes none."""
    del kubectl
    proxy, references = _read(args.file)

    def show(text: str) -> int:
        print(text, end="")
        return 0

    return _told(render(proxy, references), show)


def diff_config(kubectl: Kubectl, args: argparse.Namespace) -> int:
    """How the document of a file differs from that in the cluster; 1 where it does."""
    proxy, references = _read(args.file)
    present = _document(kubectl, proxy.name)
    config = tomllib.loads(present)
    found = {each["name"]: tuple(NodeConfig(**node) for node in each["nodes"]) for each in config.get("clusters") or ()}
    references = References(**{**vars(references), "discovered": found})

    def compare(text: str) -> int:
        lines = list(difflib.unified_diff(present.splitlines(True), text.splitlines(True), "cluster", "file"))
        sys.stdout.writelines(lines)
        return 1 if lines else 0

    return _told(render(proxy, references, Placement(generation=config.get("generation", 0))), compare)


def _told(result: RenderResult, use: Callable[[str], int]) -> int:
    for problem in result.problems:
        print(f"{problem.severity.value.lower()}: {problem}", file=sys.stderr)
    return 1 if result.config is None else use(dumps(result.config))


def _read(files: Sequence[Path]) -> tuple[HeliosProxy, References]:
    ours = [parse(document) for document in load_paths(files) if is_helios(document)]
    proxies = [each for each in ours if isinstance(each, HeliosProxy)]
    if len(proxies) != 1:
        raise PluginError(f"{len(proxies)} HeliosProxies in the files; one is wanted")
    return proxies[0], References.among(ours)


def _document(kubectl: Kubectl, name: str) -> str:
    return str(kubectl.get("configmap", ProxyKey("", name).config_map)["data"][CONFIG_KEY])


def _shown(kubectl: Kubectl, name: str, pod: str, path: str) -> str:
    return json.dumps(kubectl.admin(_key(kubectl, name)).ask(pod, path), indent=2) + "\n"


def _key(kubectl: Kubectl, name: str) -> ProxyKey:
    return ProxyKey(kubectl.get(GROUP_KIND, name)["metadata"]["namespace"], name)


def _pods(kubectl: Kubectl, name: str) -> list[str]:
    found = kubectl.pods(name)
    if not found:
        raise PluginError(f"no pod of {name} runs")
    return found


def _asked(kubectl: Kubectl, name: str, path: str) -> Iterable[tuple[str, Any]]:
    admin = kubectl.admin(_key(kubectl, name))
    return ((pod, admin.ask(pod, path)) for pod in _pods(kubectl, name))


def _line(value: Json, *names: str) -> tuple[str, ...]:
    return tuple(str(value.get(name, "")) for name in names)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """Columns as kubectl prints them; nothing where there is no row."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in (head, *rows) if rows else ():
        print("   ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
