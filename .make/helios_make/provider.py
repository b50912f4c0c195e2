"""`make provider`: the Terraform provider as a program that needs no Python, packed as Terraform's registry takes it.

PyInstaller makes a folder (not one file, which would unpack itself at every call), a zip holds it; beside it lie the
manifest and the SHA-256 sums of what was built, which is this machine's platform and no other.
`helios-terraform install --from` puts it into a mirror.
"""

import hashlib
import json
import platform
import shutil
import tomllib
import zipfile
from pathlib import Path

from helios_make.places import Places
from helios_make.stamps import digest
from helios_make.steps import Step, run_step

__all__ = ["ensure_provider", "release_folder", "run"]

SOURCES = ("crds/src", "terraform/src", "proxy/src/helios", "requirements/dev.txt", "pyproject.toml")
"""What may change the program."""
ENTRY = "import sys\nfrom helios_terraform.__main__ import main\nsys.exit(main())\n"
COLLECTED = ("--collect-data=helios_crds", "--collect-submodules=helios_crds", "--collect-submodules=helios_iac")
MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
PROTOCOL = "6.0"
KEPT = 2
"""Releases that stay in the cache; each has about 35 MB."""
EPOCH = (1980, 1, 1, 0, 0, 0)
"""The oldest time a zip can tell: the same sources make the same archive."""


def run(places: Places) -> int:
    """Build where it is missing, and print where the files are."""
    ensure_provider(places)
    for file in sorted(release_folder(places).iterdir()):
        print(f"{file}  {file.stat().st_size / 1e6:.1f} MB")
    return 0


def release_folder(places: Places) -> Path:
    """Where the release of exactly these sources is, or will be."""
    parts = [places.root / part for part in SOURCES]
    files = [each for part in parts for each in (part.rglob("*") if part.is_dir() else [part]) if each.is_file()]
    files = [each for each in files if "__pycache__" not in each.parts]
    return places.cache / "iac" / f"provider-{digest(places.root, files, platform.machine())}"


def ensure_provider(places: Places) -> None:
    """Have the release.

    Raises:
        StepFailed: PyInstaller failed.
    """
    folder = release_folder(places)
    with places.lock("iac-provider"):
        if folder.is_dir():
            return
        work, unfinished = places.own / "pyinstaller", folder.with_name("unfinished-provider")
        for each in (work, unfinished):
            shutil.rmtree(each, ignore_errors=True)
            each.mkdir(parents=True)
        version = _version(places.root)
        _pack(_build(places, work, f"terraform-provider-heliosproxy_v{version}"), unfinished, version)
        shutil.rmtree(work)
        unfinished.rename(folder)
        old = sorted(folder.parent.glob("provider-*"), key=lambda each: each.stat().st_mtime, reverse=True)
        for each in old[KEPT:]:
            shutil.rmtree(each)


def _version(root: Path) -> str:
    with (root / "pyproject.toml").open("rb") as handle:
        return str(tomllib.load(handle)["project"]["version"])


def _build(places: Places, work: Path, name: str) -> Path:
    """The folder with the program of this name."""
    (work / "entry.py").write_text(ENTRY, encoding="utf-8")
    command = [str(places.python), "-m", "PyInstaller", "--onedir", "--noconfirm", "--log-level=WARN", "--name", name]
    command += [f"--distpath={work / 'dist'}", f"--workpath={work / 'work'}", f"--specpath={work}", *COLLECTED]
    step = Step("Terraform provider", [*command, str(work / "entry.py")], seconds=40, megabytes=35, cwd=work)
    run_step(places, step)
    return work / "dist" / name


def _pack(program: Path, folder: Path, version: str) -> None:
    """The zip of this platform, the manifest, and the sums of both."""
    system = f"{platform.system().lower()}_{MACHINES.get(platform.machine(), platform.machine())}"
    stem = f"terraform-provider-heliosproxy_{version}"
    with zipfile.ZipFile(folder / f"{stem}_{system}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(each for each in program.rglob("*") if each.is_file()):
            entry = zipfile.ZipInfo(str(file.relative_to(program)), EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (file.stat().st_mode & 0xFFFF) << 16
            archive.writestr(entry, file.read_bytes())
    manifest = {"version": 1, "metadata": {"protocol_versions": [PROTOCOL]}}
    (folder / f"{stem}_manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    sums = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in sorted(folder.iterdir())]
    (folder / f"{stem}_SHA256SUMS").write_text("".join(sums), encoding="utf-8")
