"""What `helios play -f` reads: one HeliosProxy, what it refers to, Secrets; and what it says about anything else."""

from __future__ import annotations

import base64
import re
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from play_harness import proxy_yaml, secret_yaml, write_yaml

from helios.config import NodeConfig
from helios.errors import HeliosError
from helios.play.manifest import Manifest, read_manifest
from helios_crds.placement import Placement

NODES = {"main": (NodeConfig(host="127.0.0.1"),)}
PLACE = Placement.local(PurePosixPath("/secrets"), 1111, 2222, "/users.txt")


def read(tmp_path: Path, *documents: dict[str, Any]) -> Manifest:
    return read_manifest([write_yaml(tmp_path / "all.yaml", *documents)])


def refusal(tmp_path: Path, text: str | bytes) -> str:
    """The message about a file with this content."""
    file = tmp_path / "proxy.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(HeliosError) as caught:
        read_manifest([file]).render(PLACE, NODES)
    return str(caught.value).replace(f"{tmp_path}/", "")


def test_reads_a_folder_with_everything_in_it(tmp_path: Path) -> None:
    profile = {"apiVersion": "helios.heliosproxy.dev/v1alpha1", "kind": "PoolProfile", "metadata": {"name": "small"}}
    write_yaml(tmp_path / "a.yaml", {**profile, "spec": {"maxPoolSize": 7}}, {"apiVersion": "v1", "kind": "ConfigMap"})
    write_yaml(tmp_path / "b.yml", proxy_yaml({"poolProfileRef": {"name": "small"}}))

    manifest = read_manifest([tmp_path])
    config = manifest.render(PLACE, NODES).config

    assert manifest.proxy.name == "tested"
    assert manifest.ignored == ("ConfigMap/",)
    assert config is not None
    assert config.pool.max_size == 7
    assert (config.listen_address, config.admin.address) == ("127.0.0.1:1111", "127.0.0.1:2222")


def test_secrets_hold_data_and_string_data(tmp_path: Path) -> None:
    secret = secret_yaml("users", plain="a", both="wins")
    secret["data"] = {"encoded": base64.b64encode(b"\x00\xff").decode(), "both": base64.b64encode(b"loses").decode()}

    manifest = read(tmp_path, proxy_yaml(), secret)

    assert manifest.secrets == {"users": {"plain": b"a", "both": b"wins", "encoded": b"\x00\xff"}}


def test_only_objects_of_the_proxys_namespace_count(tmp_path: Path) -> None:
    elsewhere = secret_yaml("users", **{"users.txt": '"a" "b"'})
    elsewhere["metadata"]["namespace"] = "other"
    proxy = proxy_yaml({"auth": {"usersSecretRef": {"name": "users"}}})

    with pytest.raises(HeliosError, match=r"spec.auth.usersSecretRef: Secret/users is not among the given files"):
        read(tmp_path, proxy, elsewhere).render(PLACE, NODES)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (
            {"auth": {"usersSecretRef": {"name": "users"}}},
            "spec.auth.usersSecretRef: Secret/users is not among the given files; add its file with -f",
        ),
        (
            {"auth": {"usersSecretRef": {"name": "there", "key": "u"}}},
            "spec.auth.usersSecretRef: Secret/there has no key u; its keys: users.txt",
        ),
        (
            {"monitor": {"user": "m", "secretRef": {"name": "pw"}}},
            "spec.monitor.secretRef: Secret/pw is not among the given files; add its file with -f",
        ),
        (
            {"poolProfileRef": {"name": "fast"}},
            "spec.poolProfileRef: PoolProfile/fast is not among the given files; add its file with -f",
        ),
    ],
)
def test_a_missing_reference_is_named_with_its_line(tmp_path: Path, spec: dict[str, Any], expected: str) -> None:
    manifest = read(tmp_path, proxy_yaml(spec), secret_yaml("there", **{"users.txt": '"a" "b"'}))

    with pytest.raises(HeliosError) as caught:
        manifest.render(PLACE, NODES)

    assert str(caught.value) == f"{tmp_path}/all.yaml:1: {expected}"


def test_two_proxies_are_both_named(tmp_path: Path) -> None:
    with pytest.raises(HeliosError) as caught:
        read(tmp_path, proxy_yaml(name="first"), proxy_yaml(name="second"))

    where = f"HeliosProxy/first ({tmp_path}/all.yaml:1), HeliosProxy/second ({tmp_path}/all.yaml:3)"
    assert str(caught.value) == f"play runs one HeliosProxy, but the given files hold 2: {where}"


def test_no_proxy_names_what_was_found(tmp_path: Path) -> None:
    with pytest.raises(HeliosError) as caught:
        read(tmp_path, secret_yaml("users", key="value"))

    found = f"no HeliosProxy in {tmp_path}/all.yaml (found: Secret/users)"
    assert str(caught.value) == f"{found}; give the file that holds it with -f"


PROXY = "apiVersion: helios.heliosproxy.dev/v1alpha1\nkind: HeliosProxy\nmetadata: {name: x}\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: [1,", r"proxy.yaml:1: is not valid YAML: .*"),
        (b"a: \xff\xfe", r"proxy.yaml:1: is not UTF-8: byte 0xff at offset 3; save the file as UTF-8"),
        ("hello", r"proxy.yaml:1: kind: is no Kubernetes object; give apiVersion and kind"),
        ("", r"no HeliosProxy in proxy.yaml \(found: nothing\); give the file that holds it with -f"),
        (f"{PROXY}spec: {{replica: 2}}", r"proxy.yaml:4: spec.replica: .*; .*replicas.*"),
        (f"{PROXY}spec:\n  replicas: many", r"proxy.yaml:5: spec.replicas: .*"),
        (
            f"{PROXY}spec:\n  nodes:\n  - {{host: a, role: primary}}\n  - {{host: b, role: primary}}",
            r"proxy.yaml:5: spec.nodes: at most one node may have role: primary.*",
        ),
        (
            f"{PROXY}---\napiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\ndata:\n  key: '!'",
            r"proxy.yaml:9: data.key: is not base64; put plain text under stringData",
        ),
    ],
)
def test_a_bad_file_gets_one_clear_line(tmp_path: Path, text: str | bytes, expected: str) -> None:
    said = refusal(tmp_path, text)

    assert re.fullmatch(expected, said.splitlines()[0]), said


@pytest.mark.parametrize("name", ["", "../../etc", "a/b", ".."])
def test_a_secret_cannot_lead_out_of_its_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(HeliosError, match=r"metadata.name: is no name of a Secret; use a-z, 0-9, - and \."):
        read(tmp_path, proxy_yaml(), secret_yaml(name, key="value"))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(HeliosError, match=rf"{tmp_path}/none.yaml: cannot be read: No such file or directory"):
        read_manifest([tmp_path / "none.yaml"])


def test_a_secret_is_never_part_of_a_message(tmp_path: Path) -> None:
    secret = secret_yaml("s")
    secret["data"] = {"key": "hunter2!"}
    secret["stringData"] = {"number": 12345678}

    with pytest.raises(HeliosError) as caught:
        read(tmp_path, proxy_yaml(), secret)

    assert "hunter2" not in str(caught.value)
    assert "12345678" not in str(caught.value)
