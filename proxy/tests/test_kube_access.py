"""Kubeconfigs and pods' identities: what is understood, and what is said of the rest."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest

from helios.kube import Forbidden, KubeAccessError, in_cluster
from helios.kube.errors import AlreadyExists, ApiError, Conflict, error_of
from helios.kube.kinds import CONFIG_MAP, DEPLOYMENT
from helios.kube.kubeconfig import find_access, from_kubeconfig


def written(folder: Path, user: dict[str, Any], **cluster: Any) -> Path:
    document = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u", "namespace": "shop"}}],
        "clusters": [{"name": "k", "cluster": {"server": "https://198.18.0.1:6443/", **cluster}}],
        "users": [{"name": "u", "user": user}],
    }
    file = folder / "config"
    file.write_text(json.dumps(document))  # JSON is YAML
    return file


def test_token_and_authority(tmp_path: Path) -> None:
    pem = base64.b64encode(b"PEM").decode()

    access = from_kubeconfig(written(tmp_path, {"token": "t"}, **{"certificate-authority-data": pem}))

    assert (access.server, access.bearer(), access.ca) == ("https://198.18.0.1:6443", "t", b"PEM")
    assert access.namespace == "shop"
    assert "'t'" not in repr(access)


def test_files_lie_beside_the_kubeconfig(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from file\n")
    (tmp_path / "ca.crt").write_bytes(b"PEM")

    access = from_kubeconfig(written(tmp_path, {"tokenFile": "token"}, **{"certificate-authority": "ca.crt"}))

    assert (access.bearer(), access.ca) == ("from file", b"PEM")


def test_token_file_is_read_again_when_the_token_was_refused(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("old")
    access = from_kubeconfig(written(tmp_path, {"tokenFile": "token"}))
    assert access.bearer() == "old"
    (tmp_path / "token").write_text("new")

    assert access.bearer() == "old"
    access.forget_token()
    assert access.bearer() == "new"


PLUGIN = """#!/bin/sh
printf x >> "$(dirname "$0")/calls"
echo '{"kind": "ExecCredential", "status": {"token": "'$WORD-$1'", "expirationTimestamp": "'$UNTIL'"}}'
"""


def plugin(folder: Path, until: str) -> dict[str, Any]:
    program = folder / "plugin"
    program.write_text(PLUGIN)
    program.chmod(0o700)
    env = [{"name": "WORD", "value": "token"}, {"name": "UNTIL", "value": until}]
    version = "client.authentication.k8s.io/v1"
    return {"exec": {"apiVersion": version, "command": "./plugin", "args": ["1"], "env": env}}


def test_token_of_a_plugin_is_used_until_it_expires_or_is_refused(tmp_path: Path) -> None:
    access = from_kubeconfig(written(tmp_path, plugin(tmp_path, "2999-01-01T00:00:00Z")))

    assert [access.bearer(), access.bearer()] == ["token-1", "token-1"]
    assert (tmp_path / "calls").read_text() == "x"
    access.forget_token()
    assert access.bearer() == "token-1"
    assert (tmp_path / "calls").read_text() == "xx"
    expired = from_kubeconfig(written(tmp_path, plugin(tmp_path, "2020-01-01T00:00:00Z")))
    assert [expired.bearer(), expired.bearer()] == ["token-1", "token-1"]
    assert (tmp_path / "calls").read_text() == "xxxx"


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ({}, "exec has no command"),
        ({"command": "no-such-plugin", "installHint": "install it"}, "no-such-plugin cannot be started.*install it"),
        ({"command": "false"}, "false ended with status 1"),
        ({"command": "echo"}, "echo wrote no ExecCredential"),
        ({"command": "echo", "args": ['{"status": {}}']}, "echo gave no token"),
        ({"command": "x", "apiVersion": "v9"}, r"apiVersion is v9; known are"),
    ],
)
def test_plugin_that_gives_no_token_is_named(tmp_path: Path, block: dict[str, Any], said: str) -> None:
    with pytest.raises(KubeAccessError, match=said):
        from_kubeconfig(written(tmp_path, {"exec": block})).bearer()


def test_password_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(KubeAccessError, match="username is not supported"):
        from_kubeconfig(written(tmp_path, {"username": "me", "password": "x"}))


@pytest.mark.parametrize("content", ["][", "just text", "{}"])
def test_other_files_are_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "config"
    file.write_text(content)

    with pytest.raises(KubeAccessError, match="config"):
        from_kubeconfig(file)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(KubeAccessError, match=r"none cannot be read: no such file"):
        find_access(tmp_path / "none")


def test_several_files_are_read_as_one_and_the_first_goes_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
        (folder / "token").write_text(f"from {folder.name}")
    here = written(first, {"tokenFile": "token"})
    document = json.loads(written(second, {"tokenFile": "token"}).read_text())
    # The same user again, and a context and a cluster that only this file has.
    document["contexts"] = [{"name": "d", "context": {"cluster": "l", "user": "u"}}]
    document["clusters"] = [{"name": "l", "cluster": {"server": "https://198.18.0.2:6443"}}]
    document["current-context"] = "d"
    there = second / "config"
    there.write_text(json.dumps(document))
    monkeypatch.setenv("KUBECONFIG", os.pathsep.join([str(tmp_path / "missing"), "", str(here), str(there)]))

    assert find_access().server == "https://198.18.0.1:6443"
    access = find_access(context="d")

    assert (access.server, access.bearer(), access.namespace) == ("https://198.18.0.2:6443", "from first", "default")
    with pytest.raises(KubeAccessError, match=f"{here}:{there} has no context named moon"):
        find_access(context="moon")
    monkeypatch.setenv("KUBECONFIG", os.pathsep.join([str(tmp_path / "missing"), str(tmp_path / "gone")]))
    with pytest.raises(KubeAccessError, match=r"missing cannot be read: no such file"):
        find_access()


def test_pod_has_its_identity_from_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("token", "ca.crt", "namespace"):
        (tmp_path / name).write_text(f"{name}\n")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "198.19.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")

    access = in_cluster(tmp_path)

    assert (access.server, access.bearer(), access.namespace) == ("https://198.19.0.1:443", "token", "namespace")


def test_outside_of_a_pod_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)

    with pytest.raises(KubeAccessError, match="this is no pod"):
        in_cluster()


def test_errors_are_told_apart_by_status_and_reason() -> None:
    def body(reason: str) -> bytes:
        return json.dumps({"kind": "Status", "reason": reason, "message": "says why"}).encode()

    assert type(error_of(409, body("AlreadyExists"))) is AlreadyExists
    assert type(error_of(409, body("Conflict"))) is Conflict
    assert type(error_of(403, body("Forbidden"))) is Forbidden
    odd = error_of(502, b"<html>")
    assert (type(odd), odd.status, str(odd)) == (ApiError, 502, "<html>")


def test_paths() -> None:
    assert CONFIG_MAP.path("a", "b") == "/api/v1/namespaces/a/configmaps/b"
    assert DEPLOYMENT.path() == "/apis/apps/v1/deployments"
    assert DEPLOYMENT.path("a", "b", "status") == "/apis/apps/v1/namespaces/a/deployments/b/status"
