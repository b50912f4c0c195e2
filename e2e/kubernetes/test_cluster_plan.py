"""What clusters are planned to be: cgroup layouts, addresses, obstacles, levels. Pure: no cluster, no root."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509

from cluster import Level, obstacle
from cluster.obstacles import Machine
from cluster.plan.addresses import SLOTS, ApiAddresses, NodeAddresses
from cluster.plan.cgroups import read_layout
from cluster.plan.credentials import credentials
from cluster.plan.node_mounts import mount_commands

pytestmark = pytest.mark.smoke

V1_OWN = "4:memory:/process_api/b379\n3:cpuset:/\n2:cpu,cpuacct:/\n1:pids:/\n9:name=systemd:/\n"
V1_MOUNTS = """\
31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory
39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
"""
UNIFIED = "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
V2_MOUNTS = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
CONTAINER_V1_MOUNTS = V1_MOUNTS.replace(" / /sys/fs/cgroup/memory", " /process_api /sys/fs/cgroup/memory")

GOOD = Machine(
    is_root=True,
    missing=(),
    cgroups=read_layout(V1_OWN, V1_MOUNTS),
    file_systems=frozenset({"overlay", "ext4"}),
    namespaces="",
    has_kind=False,
    has_docker=False,
    kubeconfig=None,
)


def folders(own: str, mounts: str) -> list[str]:
    """The cgroups of a node called n."""
    return sorted(str(folder) for folder in read_layout(own, mounts).folders("n"))


@pytest.mark.parametrize(
    ("own", "mounts", "version"),
    [
        (V1_OWN, V1_MOUNTS, "v1"),
        (V1_OWN + "0::/\n", V1_MOUNTS + UNIFIED, "hybrid"),
        ("0::/user.slice/session-1.scope\n", V2_MOUNTS, "v2"),
        ("0::/\n", "", "none"),
    ],
)
def test_cgroup_layout_is_detected(own: str, mounts: str, version: str) -> None:
    assert read_layout(own, mounts).version == version


def test_node_goes_below_the_caller_s_cgroups_in_every_hierarchy() -> None:
    assert folders(V1_OWN, V1_MOUNTS) == [
        "/sys/fs/cgroup/cpu,cpuacct/n",
        "/sys/fs/cgroup/cpuset/n",
        "/sys/fs/cgroup/memory/process_api/b379/n",
        "/sys/fs/cgroup/pids/n",
        "/sys/fs/cgroup/systemd/n",
    ]
    assert folders("0::/a.slice/b.scope\n", V2_MOUNTS) == ["/sys/fs/cgroup/a.slice/b.scope/n"]


def test_hybrid_layout_uses_version_1_only() -> None:
    assert folders(V1_OWN + "0::/x\n", V1_MOUNTS + UNIFIED) == folders(V1_OWN, V1_MOUNTS)


def test_mount_that_shows_a_part_of_the_hierarchy_is_understood() -> None:
    assert "/sys/fs/cgroup/memory/b379/n" in folders(V1_OWN, CONTAINER_V1_MOUNTS)


def test_controllers_that_share_a_hierarchy_are_mounted_together() -> None:
    commands = [" ".join(each) for each in mount_commands(Path("/c/n"), Path("/c/bin"), read_layout(V1_OWN, V1_MOUNTS))]

    assert "mount -t cgroup -o cpu,cpuacct cgroup /sys/fs/cgroup/cpu,cpuacct" in commands
    assert "ln -s cpu,cpuacct /sys/fs/cgroup/cpu" in commands
    assert "mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd" in commands


def test_node_s_view_makes_no_mount_point_on_the_machine_s_file_systems() -> None:
    covered = ("/run", "/sys", "/var/lib", "/var/log", "/tmp")
    commands = mount_commands(Path("/c/n"), Path("/c/bin"), read_layout("0::/\n", V2_MOUNTS))
    made = [path for command in commands if command[0] == "mkdir" for path in command[1:] if path != "-p"]

    assert [path for path in made if not path.startswith(covered)] == []


def test_networks_of_all_slots_are_apart_and_reserved_for_tests() -> None:
    networks = [
        ipaddress.IPv4Network(network)
        for slot in range(SLOTS)
        for node in [NodeAddresses(slot)]
        for network in (f"{node.gateway}/24", node.pods, node.services)
        for network in [str(ipaddress.ip_interface(network).network)]
    ]

    assert all(network.subnet_of(ipaddress.IPv4Network("198.18.0.0/15")) for network in networks)
    assert len(set(networks)) == len(networks) == 3 * SLOTS


def test_api_server_s_certificate_names_every_way_to_it() -> None:
    api = NodeAddresses(3).api
    certificate = x509.load_pem_x509_certificate(credentials(api, ("node1", api.host))["apiserver.crt"])
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value

    assert "kubernetes.default.svc" in names.get_values_for_type(x509.DNSName)
    addresses = {str(address) for address in names.get_values_for_type(x509.IPAddress)}
    assert addresses == {"198.18.3.2", "198.19.3.1", "127.0.0.1"}


def test_cluster_without_nodes_has_no_node_s_credentials() -> None:
    files = credentials(ApiAddresses.on_loopback((1, 2, 3, 4)), None)

    assert not [name for name in files if "kubelet" in name]
    assert "admin.kubeconfig" in files


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"is_root": False}, "namespaces, mounts and cgroups of a node need root"),
        ({"missing": ("runc", "ctr")}, "not installed: runc, ctr"),
        ({"cgroups": read_layout("0::/\n", "")}, "no cgroups are mounted"),
        ({"cgroups": read_layout("1:cpu,cpuacct:/\n", V1_MOUNTS)}, "mounted without cpuset, memory, pids"),
        ({"cgroups": replace(read_layout("0::/\n", V2_MOUNTS), hierarchies=())}, "hands on cpu, cpuset, memory"),
        ({"file_systems": frozenset({"ext4"})}, "the kernel has no overlay file system"),
        ({"namespaces": "unshare failed: Operation not permitted"}, "(unshare failed: Operation not permitted)"),
    ],
)
def test_one_sentence_says_why_a_node_cannot_run_and_what_can(change: dict[str, object], why: str) -> None:
    machine = replace(GOOD, **change)  # type: ignore[arg-type]  # one field at a time, of differing types

    sentence = obstacle(Level.NODE, machine)

    assert sentence is not None
    assert why in sentence
    assert sentence.startswith("level node cannot run here: ")
    assert sentence.endswith("; levels that can: apiserver")
    assert "\n" not in sentence


def test_levels_that_need_something_else_say_what() -> None:
    assert obstacle(Level.NODE, GOOD) is None
    assert "kind is not installed" in (obstacle(Level.KIND, GOOD) or "")
    assert "no Docker engine answers" in (obstacle(Level.KIND, replace(GOOD, has_kind=True)) or "")
    assert obstacle(Level.KIND, replace(GOOD, has_kind=True, has_docker=True)) is None
    assert "HELIOS_KUBECONFIG is not set" in (obstacle(Level.KUBECONFIG, GOOD) or "")
    assert obstacle(Level.KUBECONFIG, replace(GOOD, kubeconfig="/x")) is None


def test_a_level_serves_what_needs_less() -> None:
    assert [level for level in Level if level.serves(Level.APISERVER)] == list(Level)
    assert [level for level in Level if level.serves(Level.NODE)] == [Level.NODE, Level.KIND, Level.KUBECONFIG]
