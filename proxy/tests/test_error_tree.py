"""The error tree and how a problem reads."""

from __future__ import annotations

import inspect

import helios.errors
from helios.errors import ConfigError, HeliosError, Problem


def test_every_error_hangs_under_helios_error_and_is_drawn() -> None:
    classes = [c for _, c in inspect.getmembers(helios.errors, inspect.isclass) if issubclass(c, Exception)]

    assert len(classes) > 5
    assert all(issubclass(c, HeliosError) and c.__doc__ for c in classes)
    assert all(c.__name__ in str(helios.errors.__doc__) for c in classes)


def test_problem_reads_as_place_field_message_hint() -> None:
    full = Problem("is 0", "pool.max_size", "at least 1", "helios.toml", 7)

    assert str(full) == "helios.toml:7: pool.max_size: is 0; at least 1"
    assert str(Problem("is 0", "pool.max_size", source="helios.toml")) == "helios.toml: pool.max_size: is 0"
    assert str(Problem("is no file")) == "is no file"


def test_config_error_carries_every_problem() -> None:
    error = ConfigError(Problem(text) for text in ("first", "second"))

    assert str(error) == "first\nsecond"
    assert [problem.message for problem in error.problems] == ["first", "second"]
