"""Small images made from single files, without a daemon: the pause image and the one of the tests' pods.

Called by `node_level` and by tests; hands on docker archives (one layer, reproducible) for `Cluster.load_image`.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from cluster.errors import CannotRun

__all__ = ["BUSYBOX_IMAGE", "busybox_archive", "write_archive"]

BUSYBOX_IMAGE = "localhost/helios-busybox:1"
BUSYBOX = Path("/bin/busybox")
APPLETS = ("sh", "cat", "env", "grep", "httpd", "id", "ls", "nc", "nslookup", "sleep", "wget")
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def busybox_archive(folder: Path) -> Path:
    """The archive of an image with a shell, httpd, nc, nslookup and wget, from the machine's static busybox.

    Raises:
        CannotRun: there is no static busybox.
    """
    if not BUSYBOX.is_file():
        raise CannotRun(f"{BUSYBOX} is missing; Debian has it in busybox-static")
    links = {f"bin/{name}": "busybox" for name in APPLETS}
    archive = folder / "busybox.tar"
    write_archive(archive, BUSYBOX_IMAGE, {"bin/busybox": BUSYBOX}, links, ["sh"])
    return archive


def write_archive(
    archive: Path, name: str, programs: Mapping[str, Path], links: Mapping[str, str], command: Sequence[str]
) -> None:
    """Write an image of some programs and symbolic links.

    Args:
        archive: the file to write.
        name: name and tag.
        programs: path in the image → file of this machine.
        links: path in the image → what it leads to.
        command: what a container runs when its pod names nothing else.
    """
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for folder in ("bin", "etc", "tmp"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if folder == "tmp" else 0o755
            tar.addfile(entry)
        for path, source in sorted(programs.items()):
            content = source.read_bytes()
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(content), 0o755
            tar.addfile(entry, io.BytesIO(content))
        for path, target in sorted(links.items()):
            entry = tarfile.TarInfo(path)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            tar.addfile(entry)
    with tarfile.open(archive, "w") as tar:
        for member, content in members(name, layer.getvalue(), command).items():
            entry = tarfile.TarInfo(member)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))


def members(name: str, layer: bytes, command: Sequence[str]) -> dict[str, bytes]:
    """The files of a docker archive of one layer."""
    config = {
        "architecture": ARCHITECTURES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
        "config": {"Cmd": list(command), "Env": ["PATH=/bin"]},
    }
    text = json.dumps(config).encode()
    file = f"{hashlib.sha256(text).hexdigest()}.json"
    manifest = [{"Config": file, "RepoTags": [name], "Layers": ["layer.tar"]}]
    return {"layer.tar": layer, file: text, "manifest.json": json.dumps(manifest).encode()}
