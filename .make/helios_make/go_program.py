"""One program of a Go module of ours, built if it is not there and kept by the module's digest. Called by tests."""

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from helios_make import doctor
from helios_make.go import go_caches
from helios_make.places import Places
from helios_make.stamps import digest
from helios_make.steps import Step, run_step

__all__ = ["GoProgram", "ensure_go_program"]


@dataclass(frozen=True)
class GoProgram:
    """What is built."""

    name: str
    """The program's, and that of its place in the cache."""
    module: Path
    """Folder with go.mod, relative to the clone."""
    package: str
    seconds: int
    """Cold, on two cores."""
    megabytes: int


def ensure_go_program(places: Places, wanted: GoProgram) -> Path:
    """The program.

    Raises:
        TargetError: Go is missing or too old, or the build failed.
    """
    module = places.root / wanted.module
    key = digest(places.root, _files(module), platform.system(), platform.machine())
    program = places.cache / wanted.name / key / wanted.name
    with places.lock(wanted.name):
        if not program.is_file():
            doctor.require(places, ["go"])
            unfinished = program.with_name("unfinished")
            unfinished.parent.mkdir(parents=True, exist_ok=True)
            command = ["go", "build", "-trimpath", "-ldflags", "-s -w", "-o", str(unfinished), wanted.package]
            with go_caches(places) as environment:
                title = f"Go: {wanted.name}"
                step = Step(title, command, wanted.seconds, wanted.megabytes, cwd=module, environment=environment)
                run_step(places, step)
            unfinished.replace(program)
    return program


def _files(module: Path) -> Sequence[Path]:
    return [file for file in module.iterdir() if file.is_file()]
