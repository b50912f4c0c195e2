"""The programs of a Kubernetes cluster, built by Go from the pinned modules in e2e/cluster/tools, kept by their digest.

Called by `make cluster` and `make e2e`; `cluster.programs` (the fixture) looks them up here. A folder of programs stays
in the cache as long as the modules do not change, so Go and its caches are needed once.
"""

import os
import platform
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from helios_make import doctor
from helios_make.go import go_caches
from helios_make.places import Places
from helios_make.stamps import digest
from helios_make.steps import Step, run_step
from helios_make.system_packages import install_packages

__all__ = [
    "LEVELS",
    "NODE_PACKAGES",
    "Module",
    "build_module",
    "ensure_programs",
    "find_program",
    "programs_folder",
    "programs_of",
]

TOOLS = Path("e2e", "cluster", "tools")
KEPT_FOLDERS = 3
"""Sets of programs that stay in the cache, for clones of other versions; each has about 540 MB."""
ASSETS = "KUBEBUILDER_ASSETS"
"""Names a folder with etcd, kube-apiserver and kubectl, as other projects' test set-ups leave it."""
KUBECONFIG = "HELIOS_KUBECONFIG"
"""Names a cluster that is there already: nothing but kubectl is needed."""
LEVELS = ("apiserver", "node", "kind", "kubeconfig")
"""How much of a cluster there is, see docs/guides/cluster.md."""

NODE_PACKAGES = (
    *("containerd", "runc", "containernetworking-plugins"),  # run the pods
    *("iptables", "conntrack", "ipset", "ethtool", "iproute2"),  # what kubelet, kube-proxy and the bridge plugin call
    "socat",  # port-forward
    "busybox-static",  # the image of the tests' small pods
)


@dataclass(frozen=True)
class Module:
    """A Go module below `TOOLS` and the programs that are built from it."""

    folder: str
    packages: dict[str, str]
    """Program → package."""
    seconds: int
    """Cold, for all of its programs, on two cores."""
    megabytes: int
    """What its programs add to the disk."""
    parent: Path = TOOLS
    flags: str = ""
    """More for the linker."""


MODULES = (
    Module("etcd", {"etcd": "go.etcd.io/etcd/server/v3"}, seconds=60, megabytes=20),
    Module(
        "kubernetes",
        {
            name: f"k8s.io/kubernetes/cmd/{name}"
            for name in (
                *("kube-apiserver", "kube-controller-manager", "kubectl"),
                *("kube-scheduler", "kubelet", "kube-proxy"),
            )
        },
        seconds=400,
        megabytes=400,
    ),
    Module("coredns", {"coredns": "."}, seconds=60, megabytes=40),
)
APISERVER = ("etcd", "kube-apiserver", "kube-controller-manager", "kubectl")
PROGRAMS: dict[str, tuple[str, ...]] = {
    "apiserver": APISERVER,
    "node": (*APISERVER, "kube-scheduler", "kubelet", "kube-proxy", "coredns", "pause"),
    "failover": APISERVER,
    "kind": ("kubectl",),
    "kubeconfig": ("kubectl",),
}


def programs_of(level: str) -> tuple[str, ...]:
    """The programs that a level runs or calls."""
    return PROGRAMS[level]


def programs_folder(places: Places) -> Path:
    """Where the programs of exactly these modules are, or will be."""
    files = [file for file in (places.root / TOOLS).rglob("*") if file.is_file()]
    key = digest(places.root, files, platform.system(), platform.machine())
    return places.cache / "kubernetes" / key / "bin"


def find_program(places: Places, level: str, name: str) -> Path | None:
    """A program of a level: of KUBEBUILDER_ASSETS, of this machine (kubectl only), or built here; None when missing."""
    assets = os.environ.get(ASSETS)
    if assets and level == "apiserver" and Path(assets, name).is_file():
        return Path(assets, name)
    built = programs_folder(places) / name
    if built.is_file():
        return built
    if name == "kubectl" and level in ("kind", "kubeconfig") and (found := shutil.which(name)):
        return Path(found)
    return None


def ensure_programs(places: Places, levels: Sequence[str]) -> None:
    """Have all programs of the levels, and at level node the packages of the distribution that they call.

    Raises:
        TargetError: Go is missing or too old, or a build failed.
    """
    if "node" in levels:
        install_packages(places, NODE_PACKAGES, why="a node runs pods", seconds=15, megabytes=200)
    with places.lock("kubernetes"):
        missing = {name for level in levels for name in PROGRAMS[level] if find_program(places, level, name) is None}
        if not missing:
            return
        folder = programs_folder(places)
        folder.mkdir(parents=True, exist_ok=True)
        if missing & {name for module in MODULES for name in module.packages}:
            doctor.require(places, ["go"])
            with go_caches(places) as environment:
                for module in MODULES:
                    build_module(places, module, sorted(missing & module.packages.keys()), folder, environment)
            _forget_old(folder.parent)
        if "pause" in missing:
            _build_pause(places, folder)


def build_module(
    places: Places, module: Module, names: Sequence[str], folder: Path, environment: dict[str, str]
) -> None:
    """Build some programs of a module in the environment of `go_caches`; each appears in `folder` only when all of them
    are complete."""
    if not names:
        return
    source = places.root / module.parent / module.folder
    flags = " ".join(["-s -w", *_version_flags((source / "go.mod").read_text(encoding="utf-8"))])
    flags = f"{flags} {module.flags}".strip()
    unfinished = folder.with_name(f"unfinished-{module.folder}")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    share = len(names) / len(module.packages)
    for target, packages in _outputs(module, names, unfinished):
        command = ["go", "build", "-trimpath", "-ldflags", flags, "-o", str(target), *packages]
        title = f"Go: {' '.join(names)}"
        seconds, megabytes = int(module.seconds * share), int(module.megabytes * share)
        run_step(places, Step(title, command, seconds, megabytes, cwd=source, environment=environment))
    for name in names:
        (unfinished / name).replace(folder / name)
    unfinished.rmdir()


def _outputs(module: Module, names: Sequence[str], folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """Arguments of `go build -o`: one call for all programs that are called as their package is, else one each."""
    same = [name for name in names if module.packages[name].rsplit("/", 1)[-1] == name]
    if same:
        yield folder, [module.packages[name] for name in same]
    for name in names:
        if name not in same:
            yield folder / name, [module.packages[name]]


def _version_flags(go_mod: str) -> list[str]:
    """What makes the programs say the version of Kubernetes that the module pins; nothing for other modules."""
    pinned = re.search(r"\bk8s\.io/kubernetes (v(\d+)\.(\d+)\.\S+)", go_mod)
    if pinned is None:
        return []
    version, major, minor = pinned.groups()
    component = "k8s.io/component-base/version"
    values = {
        f"{component}.gitVersion": version,
        f"{component}.gitMajor": major,
        f"{component}.gitMinor": minor,
        "k8s.io/client-go/pkg/version.gitVersion": version,
    }
    return [f"-X {name}={value}" for name, value in values.items()]


def _forget_old(folder: Path) -> None:
    """Remove the programs of other modules that were built longest ago; a cluster that runs some keeps them open."""
    folders = sorted(folder.parent.iterdir(), key=lambda each: each.stat().st_mtime, reverse=True)
    for each in folders[KEPT_FOLDERS:]:
        if each != folder:
            shutil.rmtree(each)


def _build_pause(places: Places, folder: Path) -> None:
    doctor.require(places, ["cc"])
    unfinished = folder.with_name("unfinished-pause")
    command = ["cc", "-Os", "-static", "-s", "-o", str(unfinished), str(TOOLS / "pause.c")]
    run_step(places, Step("Program of the pause image", command, seconds=1, megabytes=1))
    unfinished.replace(folder / "pause")
