"""A configuration while it is made from a foreign file. The readers fill it; `finish` gives the `Imported`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from helios.config.checks import caution
from helios.config.foreign.settings import Fate, Setting
from helios.config.proxy import ProxyConfig
from helios.config.tree import Finding, Locator, Path, Tree, get, put
from helios.config.users import User, caution_users
from helios.config.validation import build
from helios.errors import ConfigError, Problem

__all__ = ["Draft", "Imported", "Note", "Origin"]


_LISTS = frozenset({"clusters", "databases", "users"})
"""Parts of the configuration that may be incomplete because of a problem that was found before."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where something stands in a foreign file."""

    field: str
    """Section and key, as in `pgbouncer.listen_port`."""

    source: str
    line: int | None = None
    """None: it stands nowhere, the other pooler's default is meant."""

    def problem(self, message: str, hint: str = "") -> Problem:
        """Something to say about it."""
        return Problem(message, self.field, hint, self.source, self.line)

    def below(self, name: str) -> Origin:
        """The place of a part of it."""
        return Origin(f"{self.field}.{name}", self.source, self.line)


@dataclass(frozen=True, slots=True)
class Note:
    """What the author of a foreign file should know about one of its settings."""

    fate: Fate
    problem: Problem
    unsafe: bool = False
    """Whether serving the file would be wrong until a person has looked at it."""


class OriginLocator(Locator):
    """Names the place in the foreign file; for keys that came from nowhere in it, our own key."""

    def __init__(self, source: str, places: Mapping[Path, Origin]) -> None:
        super().__init__(source)
        self._places = dict(places)

    def problem(self, finding: Finding) -> Problem:
        """The finding, at the setting that led to it."""
        for length in range(len(finding.path), 0, -1):
            origin = self._places.get(finding.path[:length])
            if origin is not None:
                return origin.problem(finding.message, finding.hint)
        return super().problem(finding)


@dataclass(frozen=True)
class Imported:
    """A foreign file as our configuration."""

    config: ProxyConfig
    notes: tuple[Note, ...]
    """In the order of the file."""

    locator: Locator = field(repr=False)
    carried: int
    """How many of the settings that were written are in `config`."""

    users: tuple[User, ...] | None = field(repr=False)
    """Users that still need a file, which `config.auth.users_file` does not name; None where it names all."""


@dataclass
class Draft:
    """Our tree, and for each path in it where it comes from."""

    source: str
    tree: Tree = field(default_factory=dict)
    places: dict[Path, Origin] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    carried: int = 0

    def put(self, path: Path, value: Any, origin: Origin) -> None:
        """Set one of our keys."""
        put(self.tree, path, value)
        self.places[path] = origin

    def get(self, path: Path) -> Any:
        """One of our keys as set so far, or None."""
        return get(self.tree, path)

    def wrong(self, origin: Origin, message: str, hint: str = "") -> None:
        """Something that forbids a configuration."""
        self.problems.append(origin.problem(message, hint))

    def note(self, fate: Fate, origin: Origin, message: str, hint: str = "", *, unsafe: bool = False) -> None:
        """Something to tell."""
        self.notes.append(Note(fate, origin.problem(message, hint), unsafe))

    def read(self, setting: Setting, written: Any, origin: Origin) -> Any:
        """What a written value means; None after a complaint about one that means nothing."""
        try:
            return setting.read(written)
        except ValueError as error:
            self.wrong(origin, f'is "{written}"' if isinstance(written, str) else f"is {written!r}", str(error))
            return None

    def tell(self, setting: Setting, value: Any, origin: Origin) -> None:
        """Note what becomes of a setting that was written, by its table; count it where it is carried over."""
        if setting.fate in (Fate.CARRIED, Fate.CHANGED):
            self.carried += 1
        if value in setting.inert or setting.fate is Fate.CARRIED:
            return
        self.note(setting.fate, origin, setting.note, unsafe=setting.unsafe)

    def carry(self, setting: Setting, value: Any, origin: Origin, base: Path = ()) -> None:
        """Put what a setting stands for where its table says, below `base`."""
        ours, difference = setting.convert(value)
        self.put((*base, *setting.becomes.split(".")), ours, origin)
        if difference and origin.line is not None:
            self.note(Fate.CHANGED, origin, difference)

    def finish(self, users: tuple[User, ...], *, need_file: bool) -> Imported:
        """The configuration. `ConfigError` with everything that is wrong.

        `need_file`: whether the users are in no file that `auth.users_file` could name.
        """
        locator = OriginLocator(self.source, self.places)
        unsure = _LISTS if self.problems else frozenset()
        config, findings = build(self.tree, unsure)
        problems = [*self.problems, *(locator.problem(finding) for finding in findings)]
        if config is None or problems:
            raise ConfigError(sorted(problems, key=_place))
        cautions = [locator.problem(finding) for finding in (*caution(config), *caution_users(config, users))]
        notes = dict.fromkeys([*self.notes, *(Note(Fate.CHANGED, problem) for problem in cautions)])
        ordered = sorted(notes, key=lambda note: _place(note.problem))
        return Imported(config, tuple(ordered), locator, self.carried, users if need_file else None)


def _place(problem: Problem) -> tuple[str, int]:
    return problem.source, problem.line or 0
