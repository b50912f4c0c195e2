"""`make run`: becomes `helios play` on FILE, with CMD as its command when there is one."""

import os
import sys

from helios_make.errors import TargetError
from helios_make.places import Places

__all__ = ["require_file", "run"]

DEFAULT_FILE = "examples/01-minimal"


def require_file(places: Places) -> None:
    """Refuse a FILE that is not there before anything is set up.

    Raises:
        TargetError: FILE does not exist.
    """
    if not (places.root / _file()).exists():
        raise TargetError(f"FILE={_file()}: no such file or folder; try FILE={DEFAULT_FILE}")


def _file() -> str:
    return os.environ.get("HELIOS_FILE") or DEFAULT_FILE


def run(places: Places) -> int:
    """Replace this process by `helios play`, so that signals and the exit status are its own.

    The command goes through `sh -c` exactly as it was typed after `CMD=`.
    """
    arguments = [str(places.python), "-m", "helios", "play", "-f", _file()]
    command = os.environ.get("HELIOS_CMD")
    arguments += ["--", "sh", "-c", command] if command else ["--demo"]
    sys.stderr.flush()
    os.chdir(places.root)
    os.execve(places.python, arguments, places.environment())
