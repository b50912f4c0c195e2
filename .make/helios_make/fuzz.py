"""`make fuzz`: every fuzz target of the Rust crates for SECONDS each (default 60), then pairs of texts for the planner.

The targets are built by cargo-fuzz from the cache, with the stable compiler. What a run has found goes on from run to
run in the cache. A small part of it is kept in the tree, `kept/*.tar.xz` beside the targets, so that a run without a
cache begins where all code is reached; KEEP=1 writes that part anew. An input that crashes is named by the output.
"""

import io
import os
import platform
import shlex
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from helios_make.errors import TargetError
from helios_make.places import Places
from helios_make.rust_workspace import open_workspace
from helios_make.steps import Step, run_step, say, summary

__all__ = ["run"]

CARGO_FUZZ = "0.13.2"
DEFAULT_SECONDS = "60"
ENVIRONMENT = {
    "RUSTC_BOOTSTRAP": "1",  # the sanitizers are unstable flags; this lets the stable compiler take them
    "ASAN_OPTIONS": "detect_odr_violation=0",  # as cargo-fuzz sets it: Rust's codegen units would be reported
}
AT_ONCE = 2
"""Targets that run at once: each takes a core."""
KEPT_BYTES = 256
"""Longest input that is kept in the tree."""
SHOWN_LINES = 40
"""Of a target that found something."""
PAIRS = Path("proxy/tests/planner_pairs.py")
SHAPES = "shapes"


@dataclass(frozen=True)
class Program:
    """A fuzz target that is built."""

    name: str
    file: Path
    kept: Path
    """Its part of the corpus in the tree."""


def run(places: Places) -> int:
    """Run every target, then the pairs; 1 when one found something.

    Raises:
        TargetError: SECONDS is not a number, there is no target, or one does not build.
    """
    text = os.environ.get("HELIOS_SECONDS") or DEFAULT_SECONDS
    if not text.isdecimal() or int(text) == 0:
        raise TargetError(f"SECONDS={text}: not a number of seconds; for example SECONDS=60")
    programs = _build(places, _cargo_fuzz(places))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = pool.map(lambda program: not _fuzz(places, program, int(text)), programs)
    failed = [program.name for program, has_found in zip(programs, found, strict=True) if has_found]
    if not failed and os.environ.get("HELIOS_KEEP"):
        for program in programs:
            _keep(places, program)
    if not _pairs(places):
        failed.append("pairs")
    say(f"helios: fuzz: {summary(len(programs) + 1, failed)}")
    return 1 if failed else 0


def _cargo_fuzz(places: Places) -> Path:
    """cargo-fuzz of the pinned version, built once for all clones."""
    places.prepare()
    folder = places.cache / "tools" / f"cargo-fuzz-{CARGO_FUZZ}"
    program = folder / "bin" / "cargo-fuzz"
    with places.lock(folder.name):
        if not program.is_file():
            command = ["cargo", "install", "--locked", "--root", str(folder), "--version", CARGO_FUZZ, "cargo-fuzz"]
            run_step(places, Step("cargo-fuzz", command, seconds=60, megabytes=5))
    return program


def _build(places: Places, tool: Path) -> Sequence[Program]:
    """Every fuzz target of every crate as a program, in a folder of this clone; beside them the one for the pairs."""
    folder = places.own / "fuzz"
    folder.mkdir(exist_ok=True)
    programs = []
    with open_workspace(places) as workspace:
        environment = {**ENVIRONMENT, **workspace.environment()}
        built = workspace.target / f"{platform.machine()}-unknown-linux-gnu" / "release"
        for crate in sorted(workspace.folder.glob("crates/*/fuzz")):
            command = [str(tool), "build", "--fuzz-dir", str(crate)]
            title = f"Fuzz targets of {crate.parent.name}"
            run_step(places, Step(title, command, seconds=60, megabytes=250, cwd=crate, environment=environment))
            kept = places.root / "proxy" / crate.relative_to(workspace.folder) / "kept"
            for name in sorted(source.stem for source in crate.glob("fuzz_targets/*.rs")):
                file = Path(shutil.copy2(built / name, folder / name))
                programs.append(Program(name, file, kept / f"{name}.tar.xz"))
        command = ["cargo", "build", "--locked", "--profile=quick", "-p", "helios-sql", "--example", SHAPES]
        step = Step("Shapes of texts", command, seconds=5, cwd=workspace.folder, environment=workspace.environment())
        run_step(places, step)
        shutil.copy2(workspace.target / "quick" / "examples" / SHAPES, folder / SHAPES)
    if not programs:
        raise TargetError("no fuzz target found below proxy/crates/*/fuzz/fuzz_targets")
    return programs


def _fuzz(places: Places, program: Program, seconds: int) -> bool:
    """Run a target from the corpus; whether it found nothing."""
    corpus, findings = _corpus(places, program), program.file.with_name(f"{program.name}-findings")
    for folder in (corpus, findings):
        folder.mkdir(parents=True, exist_ok=True)
    if program.kept.is_file():
        with tarfile.open(program.kept) as archive:
            archive.extractall(corpus)  # our own; Debian's Python has no filters yet
    command = [str(program.file), str(corpus), f"-max_total_time={seconds}", f"-artifact_prefix={findings}{os.sep}"]
    done = _run(places, command)
    lines = done.stdout.splitlines()
    if done.returncode != 0:
        lines = [*lines[-SHOWN_LINES:], f"repeat: {shlex.join(command)}"]
    else:
        lines = [line for line in lines if "\tDONE" in line]
    say("\n".join(f"helios: fuzz {program.name}: {line}" for line in lines))
    return done.returncode == 0


def _keep(places: Places, program: Program) -> None:
    """Write the smallest part of the corpus that reaches all that the whole of it reaches with short inputs."""
    with tempfile.TemporaryDirectory() as folder:
        command = [str(program.file), "-set_cover_merge=1", f"-max_len={KEPT_BYTES}", folder]
        if _run(places, [*command, str(_corpus(places, program))]).returncode != 0:
            raise TargetError(f"fuzz {program.name}: its corpus cannot be merged")
        program.kept.parent.mkdir(exist_ok=True)
        with tarfile.open(program.kept, "w:xz", format=tarfile.USTAR_FORMAT) as archive:
            for file in sorted(Path(folder).iterdir()):
                entry = tarfile.TarInfo(file.name)
                entry.size = file.stat().st_size
                archive.addfile(entry, io.BytesIO(file.read_bytes()))
    say(f"helios: wrote {program.kept.relative_to(places.root)}")


def _pairs(places: Places) -> bool:
    """Whether texts of one shape have one plan."""
    command = [str(places.python), str(PAIRS), str(places.own / "fuzz" / SHAPES)]
    return subprocess.run(command, cwd=places.root, env=places.environment(), check=False).returncode == 0


def _corpus(places: Places, program: Program) -> Path:
    return places.cache / "fuzz" / program.name


def _run(places: Places, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    environment = {**places.environment(), **ENVIRONMENT}
    return subprocess.run(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
