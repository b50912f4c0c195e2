"""Look at the machine: tools, versions, disk, memory, ports, cgroups, registries. One line each, one remedy a line.

`make doctor` runs every check; every other target first runs its own part, silently unless something is wrong.
A `problem` ends a target, a `note` never does.
"""

import os
import pwd
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from helios_make.errors import TargetError
from helios_make.places import Places
from helios_make.python_env import uv_path
from helios_make.steps import say

__all__ = ["CHECKS", "Finding", "examine", "require"]

DISK_MEGABYTES = 2_000
"""Free space that a cold `make run` needs."""
MEMORY_MEGABYTES = 1_500
"""Memory that linking the engine, a primary, a standby and a proxy need together."""
REGISTRY_SECONDS = 20
"""How long a registry may take to answer."""


@dataclass(frozen=True)
class Finding:
    """What a check saw."""

    text: str
    remedy: str | None = None
    """What to do; None when all is well."""
    fatal: bool = True
    """Whether a target that needs this cannot go on."""


Check = Callable[[Places], Finding]


def examine(places: Places, names: Iterable[str] | None = None) -> int:
    """Print every finding; the number of fatal ones."""
    fatal = 0
    for name in names or CHECKS:
        finding = CHECKS[name](places)
        mark = "ok     " if finding.remedy is None else "PROBLEM" if finding.fatal else "note   "
        remedy = f" → {finding.remedy}" if finding.remedy else ""
        print(f"{mark} {name:<16} {finding.text}{remedy}")
        fatal += finding.remedy is not None and finding.fatal
    return fatal


def require(places: Places, names: Iterable[str]) -> None:
    """Run a target's part of the checks.

    Raises:
        TargetError: one line for each fatal finding.
    """
    findings = [(name, CHECKS[name](places)) for name in names]
    for name, finding in findings:
        if finding.remedy and not finding.fatal:
            say(f"helios: {name}: {finding.text} → {finding.remedy}")
    wrong = [(name, finding) for name, finding in findings if finding.remedy and finding.fatal]
    if wrong:
        lines = [f"  {name}: {finding.text} → {finding.remedy}" for name, finding in wrong]
        raise TargetError("\n".join(["this machine is not ready:", *lines]))


def _tool(command: str, minimum: tuple[int, ...], remedy: str, *, fatal: bool = True) -> Check:
    """A check that a program answers its version option with at least `minimum`."""

    def check(places: Places) -> Finding:
        words = command.split()
        if shutil.which(words[0]) is None:
            return Finding(f"{words[0]} not found", remedy, fatal)
        answer = subprocess.run(words, capture_output=True, text=True, check=False, cwd=places.root)
        found = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", answer.stdout)
        if answer.returncode != 0 or found is None:
            lines = (answer.stderr or answer.stdout).strip().splitlines() or ["no output"]
            return Finding(f"`{command}` failed: {lines[0]}", remedy, fatal)
        version = tuple(int(part) for part in found.groups() if part is not None)
        if version < minimum:
            return Finding(f"{words[0]} {found[0]} is older than {'.'.join(map(str, minimum))}", remedy, fatal)
        return Finding(f"{found[0]} ({shutil.which(words[0])})")

    return check


def _python(places: Places) -> Finding:
    text = f"{'.'.join(map(str, sys.version_info[:3]))} ({sys.executable})"
    can_install = os.geteuid() == 0 and shutil.which("apt-get") is not None
    if find_spec("ensurepip") is None and not can_install:
        return Finding(f"{text} has no ensurepip", "apt-get install python3-venv, or set HELIOS_PYTHON")
    return Finding(text)


def _disk(places: Places) -> Finding:
    existing = next(folder for folder in (places.cache, *places.cache.parents) if folder.is_dir())
    free = shutil.disk_usage(existing).free // 1_000_000
    if free < DISK_MEGABYTES and not places.python.exists():
        return Finding(f"{free} MB free in {existing}", f"free {DISK_MEGABYTES} MB, or set HELIOS_CACHE elsewhere")
    return Finding(f"{free} MB free in {existing}")


def _memory(places: Places) -> Finding:
    table = Path("/proc/meminfo")
    if not table.is_file():
        return Finding("not known on this system")
    fields = dict(line.split(":", 1) for line in table.read_text(encoding="ascii").splitlines())
    available = int(fields["MemAvailable"].split()[0]) // 1_000
    if available < MEMORY_MEGABYTES:
        return Finding(f"{available} MB available", f"end something, {MEMORY_MEGABYTES} MB are needed", fatal=False)
    return Finding(f"{available} MB available")


def _ports(places: Places) -> Finding:
    taken = [port for port in (6432, 9090) if not _is_free(port)]
    if taken:
        text = f"{', '.join(map(str, taken))} taken"
        return Finding(text, "`make run` takes the next free port and prints it; end the holder to have these", False)
    return Finding("6432 and 9090 are free")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _cgroups(places: Places) -> Finding:
    folder = Path("/sys/fs/cgroup")
    if (folder / "cgroup.controllers").is_file():
        return Finding(f"version 2, {os.cpu_count()} CPUs")
    if (folder / "cpu").is_dir():
        return Finding(f"version 1, {os.cpu_count()} CPUs")
    return Finding("none", "the proxy cannot see a container's CPU limit here; set `workers` in helios.toml", False)


def _unprivileged_user(places: Places) -> Finding:
    if os.geteuid() != 0:
        return Finding("not root, PostgreSQL runs as you")
    for name in ("postgres", "nobody"):
        try:
            pwd.getpwnam(name)
        except KeyError:
            continue
        return Finding(f"PostgreSQL refuses root, `{name}` is there to run it")
    return Finding("neither `postgres` nor `nobody` exists", "adduser --system nobody: PostgreSQL refuses root")


def _cache(places: Places) -> Finding:
    for folder in (places.cache, *places.cache.parents):
        if folder.is_dir():
            break
    if not os.access(folder, os.W_OK):
        return Finding(f"{folder} is not writable", "make it writable, or set HELIOS_CACHE to a folder of yours")
    return Finding(str(places.cache))


def _registry(command: str, what: str) -> Check:
    """A check that a package client reaches its registry, by asking for one package that the project uses."""

    def check(places: Places) -> Finding:
        words = [word.format(uv=uv_path(places)) for word in command.split()]
        if shutil.which(words[0]) is None:
            return Finding(f"{what}: {Path(words[0]).name} is not here", "`make run` installs uv", fatal=False)
        remedy = f"`{' '.join(words)}` says why; set up the client's proxy or mirror (needed for cold set-up only)"
        env = places.environment()
        try:
            with tempfile.TemporaryDirectory() as folder:
                answer = subprocess.run(
                    words, check=False, capture_output=True, timeout=REGISTRY_SECONDS, cwd=folder, env=env
                )
        except subprocess.TimeoutExpired:
            return Finding(f"{what}: no answer in {REGISTRY_SECONDS} s", remedy, fatal=False)
        if answer.returncode != 0:
            return Finding(f"{what}: not reached", remedy, fatal=False)
        return Finding(f"{what}: reached")

    return check


RUST = "install Rust 1.85 or newer with rustfmt and clippy"

CHECKS: dict[str, Check] = {
    "python": _python,
    "cargo": _tool("cargo --version", (1, 85), RUST),
    "rustfmt": _tool("cargo fmt --version", (1, 0), RUST),
    "clippy": _tool("cargo clippy --version", (0, 1, 85), RUST),
    "cc": _tool("cc --version", (4,), "install a C compiler (Debian: gcc libc6-dev), Rust links with it"),
    "c++": _tool("c++ --version", (4,), "install a C++ compiler (Debian: g++) for `make fuzz`", fatal=False),
    "go": _tool("go version", (1, 26), "install Go 1.26 or newer for `make cluster` and `make e2e`", fatal=False),
    "git": _tool("git --version", (2,), "install git", fatal=False),
    "cache": _cache,
    "disk": _disk,
    "memory": _memory,
    "user": _unprivileged_user,
    "ports": _ports,
    "cgroups": _cgroups,
    "python packages": _registry("{uv} pip install --dry-run --no-cache --target . iniconfig", "uv"),
    "crates": _registry("cargo info serde", "cargo"),
    "debian packages": _registry("apt-get -qq download pgbouncer", "apt-get"),
}
"""Every check by name. The last three ask a package client, not an address."""
