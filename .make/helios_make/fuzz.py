"""`make fuzz`: every fuzz target of the Rust crates for SECONDS each (default 60), built by cargo-fuzz from the cache.

The corpus is kept in the cache, so that each run goes on where the last one ended; an input that crashes is kept
beside the program and named by the output.
"""

import os
import platform
import shlex
import shutil
import subprocess
from collections.abc import Sequence
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


def run(places: Places) -> int:
    """Run every target; 1 when one found something.

    Raises:
        TargetError: SECONDS is not a number, there is no target, or one does not build.
    """
    text = os.environ.get("HELIOS_SECONDS") or DEFAULT_SECONDS
    if not text.isdecimal() or int(text) == 0:
        raise TargetError(f"SECONDS={text}: not a number of seconds; for example SECONDS=60")
    programs = _build(places, _cargo_fuzz(places))
    failed = [program.name for program in programs if not _fuzz(places, program, int(text))]
    say(f"helios: fuzz: {summary(len(programs), failed)}")
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


def _build(places: Places, tool: Path) -> Sequence[Path]:
    """Every fuzz target of every crate as a program, in a folder of this clone."""
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
            names = sorted(source.stem for source in crate.glob("fuzz_targets/*.rs"))
            programs += [Path(shutil.copy2(built / name, folder / name)) for name in names]
    if not programs:
        raise TargetError("no fuzz target found below proxy/crates/*/fuzz/fuzz_targets")
    return programs


def _fuzz(places: Places, program: Path, seconds: int) -> bool:
    corpus = places.cache / "fuzz" / program.name
    findings = program.with_name(f"{program.name}-findings")
    for folder in (corpus, findings):
        folder.mkdir(parents=True, exist_ok=True)
    command = [str(program), str(corpus), f"-max_total_time={seconds}", f"-artifact_prefix={findings}{os.sep}"]
    say(f"helios: fuzz {program.name} ({seconds} s): {shlex.join(command)}")
    environment = {**places.environment(), **ENVIRONMENT}
    return subprocess.run([*command, "-print_final_stats=1"], env=environment, check=False).returncode == 0
