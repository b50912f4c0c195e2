"""The folder play keeps between runs: one run at a time, generated passwords, and what belongs to it.

Called by helios.play.session. It holds `lock` (pid of the running play), `play.json` (generated passwords),
`helios.toml`, `helios.log`, `secrets/` and `clusters/` (PostgreSQL's data folders).
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from helios.play.errors import PlayError
from helios.play.folders import private_folder, remove_tree, write_private
from helios.play.postgres import outwait_predecessor

__all__ = ["DataFolder", "default_folder"]

FORMAT: Final = 1
ROOT_FOLDER: Final = Path("/var/lib/helios/play")
"""Where root keeps data: PostgreSQL's user must reach it, and it may not enter root's home."""


def default_folder(name: str, environ: Mapping[str, str]) -> Path:
    """Where the data of the HeliosProxy `name` is kept when --data does not say."""
    if os.geteuid() == 0:
        return ROOT_FOLDER / name
    state = environ.get("XDG_STATE_HOME") or str(Path(environ.get("HOME", "~")).expanduser() / ".local" / "state")
    return Path(state) / "helios" / "play" / name


class DataFolder:
    """An opened and locked data folder. `close` gives the lock back; the end of the process does so too."""

    def __init__(self, path: Path, *, fresh: bool = False) -> None:
        """Make or reuse `path`; `fresh` forgets everything in it that play made.

        Raises PlayError when another play runs on it, when it is someone else's folder, or when it cannot be made.
        """
        self.path = path.absolute()
        self._make()
        self._lock = self._take_lock()
        try:
            self._refuse_foreign()
            if fresh:
                self._forget()
            self._passwords = self._read_passwords()
            self._write_passwords()
        except BaseException:
            self.close()
            raise

    @property
    def config_file(self) -> Path:
        """What `helios serve` reads."""
        return self.path / "helios.toml"

    @property
    def log_file(self) -> Path:
        """What `helios serve` says."""
        return self.path / "helios.log"

    @property
    def clusters(self) -> Path:
        """Holds one folder for each embedded cluster."""
        return self.path / "clusters"

    @property
    def secrets(self) -> Path:
        """Holds `<secret>/<key>` files; only we may enter it."""
        return private_folder(self.path / "secrets")

    @property
    def users_file(self) -> Path:
        """Users for a HeliosProxy that names none."""
        return self.path / "users.txt"

    @property
    def monitor_password_file(self) -> Path:
        """Password of the monitor's role where the resource names none."""
        return self.path / "monitor.password"

    def password(self, role: str) -> str:
        """The generated password of `role`: made once, kept as long as the folder. Raises PlayError."""
        if role not in self._passwords:
            self._passwords[role] = secrets.token_urlsafe(18)
            self._write_passwords()
        return self._passwords[role]

    def write_secrets(self, content: Mapping[str, Mapping[str, bytes]]) -> None:
        """Put every key of every Secret into a file of its own, and nothing else beside them. Raises PlayError."""
        remove_tree(self.path / "secrets")
        for name, keys in content.items():
            folder = private_folder(self.secrets / name)
            for key, value in keys.items():
                write_private(folder / key, value)

    def close(self) -> None:
        """Give the lock back."""
        os.close(self._lock)

    @property
    def _state_file(self) -> Path:
        return self.path / "play.json"

    def _make(self) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise PlayError(
                f"cannot make the data folder {self.path}: {error.strerror}; choose another with --data"
            ) from error

    def _take_lock(self) -> int:
        file = self.path / "lock"
        try:
            lock = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise PlayError(f"cannot write {file}: {error.strerror}; choose another folder with --data") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(lock, 32).decode(errors="replace").strip() or "unknown"
            os.close(lock)
            raise PlayError(
                f"the data folder {self.path} is in use by a helios play with pid {holder}; "
                "end that one, or choose another folder with --data"
            ) from None
        try:
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            os.close(lock)
            raise PlayError(f"cannot write {file}: {error.strerror}") from error
        return lock

    def _refuse_foreign(self) -> None:
        """A folder that is neither empty nor ours stays untouched, above all by --fresh."""
        others = sorted(path.name for path in self.path.iterdir() if path.name != "lock")
        if others and not self._state_file.exists():
            raise PlayError(
                f"the data folder {self.path} was not made by helios play (it holds {', '.join(others[:3])}); "
                "choose an empty or a new one with --data"
            )

    def _forget(self) -> None:
        for data in self.clusters.glob("*/*/"):
            outwait_predecessor(data)
        for path in (self.clusters, self.path / "secrets"):
            remove_tree(path)
        files = (self.config_file, self.log_file, self.users_file, self.monitor_password_file, self._state_file)
        for file in files:
            file.unlink(missing_ok=True)

    def _write_passwords(self) -> None:
        text = json.dumps({"format": FORMAT, "passwords": self._passwords}, indent=2)
        write_private(self._state_file, f"{text}\n".encode())

    def _read_passwords(self) -> dict[str, str]:
        try:
            state = json.loads(self._state_file.read_text())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise PlayError(f"{self._state_file} cannot be read: {error}; start over with --fresh") from error
        passwords = state.get("passwords") if isinstance(state, dict) and state.get("format") == FORMAT else None
        if not isinstance(passwords, dict):
            raise PlayError(f"{self._state_file} was written by another release; start over with --fresh")
        return {str(role): str(password) for role, password in passwords.items()}
