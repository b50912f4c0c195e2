"""PgBouncer's userlist.txt by its own rules, which are laxer than those of our users file. Called by `pgbouncer`."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import SecretStr

from helios.config.foreign.draft import Draft, Origin
from helios.config.foreign.settings import Fate
from helios.config.secrets import read_text
from helios.config.users import User, format_users, parse_users
from helios.errors import Problem, SecretError

__all__ = ["read_userlist"]

_LINE = re.compile(r'\s*"((?:[^"]|"")*)"[^"]*"((?:[^"]|"")*)".*')


def read_userlist(path: Path, named: Origin, draft: Draft) -> tuple[tuple[User, ...], bool]:
    """The users, and whether they need a file of our own because ours would read this one otherwise.

    What follows the second field is passed over, and a user who is there again has the last secret, as in PgBouncer.
    """
    try:
        text = read_text(path, named.field)
    except SecretError as error:
        draft.problems += [_named(problem, named) for problem in error.problems]
        return (), False
    try:
        return parse_users(text, str(path)), False
    except SecretError:
        pass
    return _lax(text, path, named, draft), True


def _named(problem: Problem, named: Origin) -> Problem:
    """The fault of the line that names the file, where it is not that of a line in it."""
    return problem if problem.line else named.problem(problem.message, problem.hint)


def _lax(text: str, path: Path, named: Origin, draft: Draft) -> tuple[User, ...]:
    users: dict[str, User] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip() or line.lstrip().startswith((";", "#")):
            continue
        place = Origin(named.field, str(path), number)
        user = _user(line, place, draft)
        if user is None:
            continue
        if user.name in users:
            draft.note(Fate.CHANGED, place, f'user "{user.name}" is here again; this line wins, as in PgBouncer')
        users[user.name] = user
    return tuple(users.values())


def _user(line: str, place: Origin, draft: Draft) -> User | None:
    """The user of one line; None after a complaint."""
    match = _LINE.fullmatch(line)
    if match is None:
        draft.wrong(place, "is no user and secret", 'write "user" "secret", a quote inside as two quotes')
        return None
    name, secret = (part.replace('""', '"') for part in match.groups())
    made = User(name, SecretStr(secret) if secret else None)
    try:
        return parse_users(format_users([made]), place.source)[0]
    except SecretError as error:
        draft.problems += [place.problem(problem.message, problem.hint) for problem in error.problems]
        return None
