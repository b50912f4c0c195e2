"""A built image without a container engine: unpack the archive, look at the files, run its program as a pod would.

Called by the tests of the images; hands on `UnpackedImage`. A program runs as the image's user on a read-only root in a
mount namespace of its own, which takes root.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RUN_SECONDS = 60


@dataclass(frozen=True)
class UnpackedImage:
    """The files of an image and what its configuration says."""

    root: Path
    config: dict[str, Any]
    """`config` of the image: User, Env, Entrypoint, Cmd."""

    def files(self) -> Iterator[Path]:
        """Every file and link, absolute as seen inside."""
        for folder, _, names in os.walk(self.root):
            for name in names:
                yield Path("/", (Path(folder) / name).relative_to(self.root))

    def outside(self, path: Path | str) -> Path:
        """Where a path of the image lies on this machine."""
        return self.root / str(path).lstrip("/")

    def megabytes(self) -> float:
        """What the files hold, in MB; hard links count once."""
        sizes = {(info.st_dev, info.st_ino): info.st_size for path in self.files() for info in [self._lstat(path)]}
        return sum(sizes.values()) / 1e6

    def _lstat(self, path: Path) -> os.stat_result:
        return self.outside(path).lstat()

    def command(self, *arguments: str, visible: Sequence[Path] = ()) -> list[str]:
        """A command line that runs `arguments` inside; folders in `visible` are there under their own path.

        The process that is started becomes the program, so signals reach it.
        """
        for folder in visible:
            self.outside(folder).mkdir(parents=True, exist_ok=True)
        root, user = shlex.quote(str(self.root)), shlex.quote(self.config["User"])
        environment, chroot = shlex.join(self.config["Env"]), shutil.which("chroot")
        lines = ["set -e", f"mount --bind {root} {root}"]
        lines += [f"mount --bind {shlex.quote(str(folder))} {root}{shlex.quote(str(folder))}" for folder in visible]
        lines += [
            f"mount -o remount,bind,ro {root}",
            f"mount -t proc proc {root}/proc",
            f'exec env --ignore-environment {environment} {chroot} --userspec={user} {root} "$@"',
        ]
        return ["unshare", "--mount", "sh", "-c", "\n".join(lines), "sh", *arguments]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a program inside to its end."""
        return subprocess.run(
            self.command(*arguments), capture_output=True, text=True, timeout=RUN_SECONDS, check=False
        )

    def python(self, program: str) -> str:
        """What a Python program prints inside; AssertionError when it fails."""
        answer = self.run("python", "-c", program)
        assert answer.returncode == 0, answer.stderr
        return answer.stdout


def unpack(archive: Path, folder: Path) -> UnpackedImage:
    """Unpack a docker-archive with `tar`, layer by layer, owners kept."""
    parts, root = folder / "parts", folder / "root"
    for each in (parts, root):
        each.mkdir(parents=True)
    with tarfile.open(archive) as tar:
        tar.extractall(parts)
    (manifest,) = json.loads((parts / "manifest.json").read_text())
    for layer in manifest["Layers"]:
        subprocess.run(["tar", "--extract", "--keep-directory-symlink", "-C", root, "-f", parts / layer], check=True)
    config = json.loads((parts / manifest["Config"]).read_text())["config"]
    return UnpackedImage(root, config)
