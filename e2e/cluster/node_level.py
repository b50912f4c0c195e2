"""Level node: a whole node in namespaces of its own, a veth pair to the machine. Root only. Called by `open_cluster`.

Everything is inside: mounts, network, processes, cgroups. Ending its first process ends all of it; what the machine
keeps are the cgroups' folders and the cluster's folder, which `state.remove` removes.
"""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from cluster import state
from cluster.cgroups import current_layout, make_cgroups
from cluster.control import await_condition, start_supervisor
from cluster.errors import ClusterError
from cluster.images import write_archive
from cluster.level import Level
from cluster.local import LocalCluster, write_files
from cluster.plan import node_daemons
from cluster.plan.addresses import SLOTS, NodeAddresses
from cluster.plan.cgroups import CgroupLayout
from cluster.plan.credentials import credentials
from cluster.plan.daemons import Seen, controller_manager, etcd, kube_apiserver
from cluster.plan.node_files import DNS_READY_PORT, PAUSE_IMAGE, node_files
from cluster.plan.node_mounts import BOUND, NODE_FOLDER, NODE_PROGRAMS, SYSCTLS, mount_commands
from cluster.programs import find_programs

__all__ = ["NodeCluster", "index_of", "open_node"]

READY_SECONDS = 120.0
IMPORT_SECONDS = 300.0
LINK_SECONDS = 15.0
ENTER = 'while [ "$1" != -- ]; do echo $$ > "$1" || exit 1; shift; done; shift; exec "$@"'
"""For sh: enters the cgroups whose `cgroup.procs` are its first arguments, becomes the command after `--`."""
UNSHARE = ("--mount", "--net", "--pid", "--uts", "--ipc", "--cgroup", "--fork", "--kill-child=KILL", "--mount-proc")


class NodeCluster(LocalCluster):
    """A cluster with one node."""

    addresses: NodeAddresses
    first: int
    """Process id of the node's first process, as the machine sees it."""

    def load_image(self, archive: Path) -> None:
        """Import a docker archive into the node's containerd."""
        command = ["nsenter", "--mount", f"--target={self.first}", "ctr", "--namespace=k8s.io", "images", "import", "-"]
        with archive.open("rb") as source:
            answer = subprocess.run(
                command, stdin=source, capture_output=True, text=True, timeout=IMPORT_SECONDS, check=False
            )
        if answer.returncode != 0:
            raise ClusterError(f"{archive}: containerd refused it: {answer.stderr.strip()}")

    def node_is_ready(self) -> bool:
        """Whether the node reports Ready."""
        path = '{.items[*].status.conditions[?(@.type=="Ready")].status}'
        return self.kubectl("get", "nodes", "-o", f"jsonpath={path}").strip() == "True"

    def end_processes(self) -> None:
        """End the node, and wait until the kernel has removed its end of the cable."""
        link = Path("/sys/class/net", self.addresses.interface) if hasattr(self, "addresses") else None
        index = index_of(link)
        super().end_processes()
        if index is not None:
            await_condition(lambda: index_of(link) != index, f"{link} is gone", LINK_SECONDS)


def open_node(name: str, *, owned: bool) -> NodeCluster:
    """Start a cluster with one node; returns when it is Ready and its DNS answers.

    Raises:
        CannotRun: a program is missing.
        ClusterError: it did not come up.
    """
    programs = find_programs(Level.NODE)
    folder = state.clusters_folder() / name
    layout = current_layout()
    groups = layout.folders(name)
    with state.exclusive():
        state.sweep()
        (folder / "logs").mkdir(parents=True)
        cluster = NodeCluster(folder, Level.NODE, "", programs)
        try:
            state.write_record(folder, state.Record(name, Level.NODE, cgroups=tuple(map(str, groups))))
            make_cgroups(groups)
            start_first_process(cluster, groups, owned=owned)
            cluster.addresses = connect(cluster.first)
        except BaseException:
            cluster.abandon()
            raise
    try:
        cluster.server = cluster.addresses.api.server
        record = state.Record(name, Level.NODE, cluster.server, tuple(map(str, groups)), cluster.first)
        state.write_record(folder, record)
        if not layout.is_v1:
            hand_on_controllers(groups[0], cluster)
        prepare(cluster, layout, programs["etcd"].parent)
        bring_up(cluster, programs)
    except BaseException:
        cluster.close()
        raise
    return cluster


def start_first_process(cluster: NodeCluster, groups: Sequence[Path], *, owned: bool) -> None:
    """Start the supervisor in its cgroups and in namespaces of its own."""
    files = [str(group / "cgroup.procs") for group in groups]
    prefix = ["sh", "-c", ENTER, "sh", *files, "--", "unshare", *UNSHARE]
    cluster.supervisor = start_supervisor(cluster.control, prefix, owned=owned)
    pid = cluster.supervisor.pid
    cluster.first = int(Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()[0])


def hand_on_controllers(group: Path, cluster: NodeCluster) -> None:
    """On version 2 only a cgroup without processes hands controllers on: the first ones go into a child."""
    assert cluster.supervisor is not None
    leaf = group / "init"
    leaf.mkdir()
    for pid in (cluster.supervisor.pid, cluster.first):
        (leaf / "cgroup.procs").write_text(str(pid), encoding="ascii")
    available = (group / "cgroup.controllers").read_text(encoding="ascii").split()
    (group / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in available), encoding="ascii")


def connect(first: int) -> NodeAddresses:
    """Lay a cable to the node and choose its networks: the first slot whose interface nobody has.

    Raises:
        ClusterError: all slots are taken, or the machine refuses.
    """
    for slot in range(SLOTS):
        addresses = NodeAddresses(slot)
        name = addresses.interface
        command = ["ip", "link", "add", "name", name, "type", "veth", "peer", "name", "eth0", "netns", str(first)]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        if answer.returncode != 0 and "File exists" in answer.stderr:
            continue
        if answer.returncode != 0:
            raise ClusterError(f"{' '.join(command)}: {answer.stderr.strip()}")
        ip("address", "add", f"{addresses.gateway}/24", "dev", name)
        ip("link", "set", name, "up")
        # The machine's own processes reach pods and Services; an operator under test is one.
        for network in (addresses.pods, addresses.services):
            ip("route", "add", network, "via", addresses.node, "dev", name)
        return addresses
    raise ClusterError(f"all {SLOTS} slots for nodes are taken (interfaces helios0 … helios{SLOTS - 1})")


def ip(*arguments: str) -> None:
    """Run `ip` on the machine."""
    answer = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        raise ClusterError(f"ip {' '.join(arguments)}: {answer.stderr.strip()}")


def prepare(cluster: NodeCluster, layout: CgroupLayout, programs: Path) -> None:
    """Write the node's files, then give it its own view of the file system and its end of the cable."""
    addresses = cluster.addresses
    for name in (*BOUND, "containerd"):
        (cluster.folder / name).mkdir()
    seen = Seen(NODE_FOLDER, {})
    write_files(cluster.folder, {f"sysctl/{name}": f"{value}\n" for name, value in SYSCTLS.items()})
    write_files(cluster.folder, node_files(seen, addresses))
    write_files(cluster.folder, credentials(addresses.api, (node_daemons.NODE_NAME, addresses.node)))
    network = [
        ["ip", "address", "add", f"{addresses.node}/24", "dev", "eth0"],
        ["ip", "link", "set", "eth0", "up"],
        ["ip", "route", "add", "default", "via", addresses.gateway],
        ["ip", "route", "add", "unreachable", "169.254.0.0/16"],  # nobody answers there, so say so at once
        ["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"],
    ]
    cluster.control.run([*mount_commands(cluster.folder, programs, layout), *network])


def bring_up(cluster: NodeCluster, programs: dict[str, Path]) -> None:
    """Start the daemons, each when what it needs is there; the image is imported while the API server starts."""
    api = cluster.addresses.api
    inside = {name: NODE_PROGRAMS / name for name in programs} | {"containerd": Path("containerd")}
    seen = Seen(NODE_FOLDER, inside)
    cluster.start(node_daemons.containerd(seen))
    cluster.start(etcd(seen, api))
    cluster.apiserver = kube_apiserver(seen, api, has_node=True)
    cluster.start(cluster.apiserver)
    import_pause(cluster, programs["pause"])
    cluster.await_apiserver()
    cluster.start(controller_manager(seen, api, has_node=True))
    cluster.start(node_daemons.kubelet(seen, cluster.addresses.node))
    cluster.start(node_daemons.scheduler(seen))
    cluster.start(node_daemons.kube_proxy(seen))
    cluster.start(node_daemons.coredns(seen))
    cluster.kubectl("apply", "-f", "-", input=resources.files("cluster").joinpath("base.yaml").read_text("utf-8"))
    cluster.control.wait(cluster.node_is_ready, "the node is Ready", READY_SECONDS)
    cluster.await_object("the controller manager works", "serviceaccount", "default")
    dns = f"http://{cluster.addresses.node}:{DNS_READY_PORT}/ready"
    cluster.control.wait(lambda: cluster.get(dns), "the DNS server has read the Services", READY_SECONDS)


def import_pause(cluster: NodeCluster, program: Path) -> None:
    """Put the image into containerd that every pod begins with."""
    archive = cluster.folder / "pause.tar"
    write_archive(archive, PAUSE_IMAGE, {"bin/pause": program}, {}, ["/bin/pause"])
    listening = Path("/proc", str(cluster.first), "root", "run/containerd/containerd.sock")
    cluster.control.wait(listening.exists, "containerd listens", READY_SECONDS)
    cluster.load_image(archive)


def index_of(link: Path | None) -> str | None:
    """The kernel's number of a network interface; None when it does not exist."""
    try:
        return None if link is None else (link / "ifindex").read_text(encoding="ascii")
    except OSError as error:
        # The last two where it goes while its file is open.
        if error.errno in (errno.ENOENT, errno.ENODEV, errno.EINVAL):
            return None
        raise
