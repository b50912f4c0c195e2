"""The charts as they are published: packed, signed, pushed to an OCI registry, and pulled by whoever verifies them."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from harness.helm import CHARTS, Helm, HelmError
from harness.registry import Registry

SIGNER = "Helios Test <charts@example.com>"
CHART_NAMES = ("helios-operator", "helios-proxy")


@pytest.fixture
def helm(tmp_path: Path) -> Helm:
    return Helm(None, "default", tmp_path / "helm")


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with Registry(tmp_path / "registry") as started:
        yield started


class Keys:
    """A key pair of its own, as files that helm reads."""

    def __init__(self, folder: Path, home: Path) -> None:
        self._home = home
        self._gpg("--quick-gen-key", SIGNER, "rsa2048", "sign", "1d")
        self.secret, self.public = folder / "secret.gpg", folder / "public.gpg"
        self.secret.write_bytes(self._gpg("--export-secret-keys"))
        self.public.write_bytes(self._gpg("--export"))

    def _gpg(self, *arguments: str) -> bytes:
        command = ["gpg", "--homedir", str(self._home), "--batch", "--pinentry-mode", "loopback", "--passphrase", ""]
        return subprocess.run([*command, *arguments], check=True, capture_output=True, timeout=60).stdout


@pytest.fixture
def keys(tmp_path: Path) -> Iterator[Keys]:
    """The agent's socket needs a short path; it ends with its folder."""
    home = Path(tempfile.mkdtemp(prefix="helios-"))
    try:
        yield Keys(tmp_path, home)
    finally:
        subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=False, capture_output=True)
        shutil.rmtree(home)


def packed(helm: Helm, keys: Keys, chart: str, folder: Path) -> Path:
    """The signed archive, with its proof beside it."""
    arguments = ("--sign", "--key", SIGNER, "--keyring", str(keys.secret), "--destination", str(folder))
    helm("package", str(CHARTS / chart), *arguments)
    (archive,) = folder.glob(f"{chart}-*.tgz")
    return archive


@pytest.mark.parametrize("chart", CHART_NAMES)
def test_a_signed_chart_comes_back_from_a_registry_as_it_was(
    helm: Helm, registry: Registry, keys: Keys, tmp_path: Path, chart: str
) -> None:
    version = yaml.safe_load((CHARTS / chart / "Chart.yaml").read_text())["version"]
    archive = packed(helm, keys, chart, tmp_path / "made")
    assert SIGNER in helm("verify", str(archive), "--keyring", str(keys.public))

    helm("push", str(archive), f"oci://{registry.host}/charts", "--plain-http")

    assert registry.tags(f"charts/{chart}") == [version]
    there = (f"oci://{registry.host}/charts/{chart}", "--version", version, "--plain-http")
    verifying = ("--verify", "--keyring", str(keys.public))
    helm("pull", *there, *verifying, "--destination", str(tmp_path))
    assert (tmp_path / archive.name).read_bytes() == archive.read_bytes()
    rendered = helm("template", "x", *there, "--kube-version=1.34.0")
    assert rendered == helm("template", "x", str(CHARTS / chart), "--kube-version=1.34.0")
    with tarfile.open(archive) as packed_chart:
        names = {Path(name).name for name in packed_chart.getnames()}
    assert {"Chart.yaml", "values.schema.json"} <= names


def test_a_chart_that_somebody_changed_is_not_verified(helm: Helm, keys: Keys, tmp_path: Path) -> None:
    archive = packed(helm, keys, CHART_NAMES[0], tmp_path / "made")
    archive.write_bytes(archive.read_bytes() + b"\0")

    with pytest.raises(HelmError, match="sha256 sum does not match"):
        helm("verify", str(archive), "--keyring", str(keys.public))
    (tmp_path / "empty.gpg").write_bytes(b"")
    with pytest.raises(HelmError, match=r"unknown entity|no valid|openpgp"):
        helm("verify", str(archive), "--keyring", str(tmp_path / "empty.gpg"))
