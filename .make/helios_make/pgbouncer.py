"""PgBouncer as Debian's next release has it, for `make bench`: the one of Debian 12 (1.18) knows no prepared statements
in transaction mode and would have to be compared on unequal terms.

Its source package comes from the mirror that this machine's apt already uses, checked by apt against Debian's keys, and
is built in the cache. Called by `bench`.
"""

import shutil
import subprocess
from pathlib import Path

from helios_make.errors import TargetError
from helios_make.places import Places
from helios_make.stamps import is_current, write_stamp
from helios_make.steps import Step, run_step
from helios_make.system_packages import install_packages

__all__ = ["have_pgbouncer"]

SUITE = "trixie"
KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
WHY = "`make bench` compares with PgBouncer"
NEEDS = ("dpkg-dev", "gcc", "make", "libevent-dev", "libssl-dev", "pkg-config", "debian-archive-keyring")
RECIPE = f"{SUITE} --without-cares"
"""What the build depends on; another recipe is another build."""


def have_pgbouncer(places: Places) -> Path:
    """The program's path in the cache, built when it is not there.

    Raises:
        TargetError: this is no Debian machine, or a package is missing that this user cannot install.
        StepFailed: download or build failed.
    """
    folder = places.cache / "tools" / "pgbouncer"
    program, stamp = folder / "pgbouncer", folder / "recipe"
    with places.lock("pgbouncer"):
        if not is_current(stamp, RECIPE):
            install_packages(places, NEEDS, why=WHY, seconds=10, megabytes=20)
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            _build(places, _fetch(places, folder), program)
            write_stamp(stamp, RECIPE)
    return program


def _fetch(places: Places, folder: Path) -> Path:
    """Download and unpack; the folder of the source."""
    lists, target = folder / "lists", folder / "source"
    (lists / "partial").mkdir(parents=True)
    sources = folder / "sources.list"
    sources.write_text(f"deb-src [signed-by={KEYS}] {_mirror()} {SUITE} main\n", encoding="utf-8")
    places_of_apt = {"Dir::Etc::sourcelist": sources, "Dir::Etc::sourceparts": "/dev/null", "Dir::State::lists": lists}
    apt = ["apt-get", *(f"-o{name}={value}" for name, value in places_of_apt.items()), "-oAPT::Sandbox::User=root"]
    run_step(places, Step(f"Source lists of {SUITE}", [*apt, "update"], seconds=5, megabytes=12))
    download = [*apt, "source", "--download-only", "pgbouncer"]
    run_step(places, Step("Source of PgBouncer", download, seconds=2, megabytes=1, cwd=folder))
    (description,) = folder.glob("*.dsc")
    unpack = ["dpkg-source", "--extract", str(description), str(target)]
    run_step(places, Step("Source of PgBouncer, unpacked", unpack, seconds=1, megabytes=5))
    shutil.rmtree(lists)
    return target


def _build(places: Places, source: Path, program: Path) -> None:
    command = "./configure --without-cares --quiet && make -j2 pgbouncer"
    run_step(places, Step("Build of PgBouncer", ["sh", "-c", command], seconds=20, megabytes=20, cwd=source))
    shutil.copy2(source / "pgbouncer", program)
    shutil.rmtree(source)


def _mirror() -> str:
    """Where this machine's apt gets Debian itself from (not its security updates)."""
    asked = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Identifier: Packages", "Label: Debian"]
    try:
        answer = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.split()
    except OSError as error:
        raise TargetError(f"{WHY}, whose source is fetched by apt-get: {error.strerror}") from error
    if not answer:
        raise TargetError(f"{WHY}, whose source comes from a Debian mirror, and apt-get knows none here")
    return answer[0]
