"""Log lines as text and as JSON: facts, quoting, and nobody forging a line."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from helios.telemetry import logs
from helios.telemetry.logs import fields

LOG = logging.getLogger("helios.test")


@pytest.fixture(autouse=True)
def restored_root() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_text_shows_facts_as_they_are_and_quotes_where_needed(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "text")

    LOG.info("helios ready", extra=fields(listen="127.0.0.1:6432", admin="http://127.0.0.1:9090", note="two words"))

    line = capsys.readouterr().err
    assert line.endswith(
        'INFO helios.test: helios ready listen=127.0.0.1:6432 admin=http://127.0.0.1:9090 note="two words"\n'
    )


def test_text_stays_one_line_whatever_it_is_given(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "text")

    LOG.info("from a client: %s", "a\nINFO forged", extra=fields(user="b\r\nINFO forged \x1b[31m", empty=""))

    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert "\x1b" not in line
    assert 'empty=""' in line


def test_json_has_the_same_facts(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json")

    LOG.warning("poll failed", extra=fields(node="db-0", error="a\nb", level="not ours"))

    line = json.loads(capsys.readouterr().err)
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "warning",
        "logger": "helios.test",
        "message": "poll failed",
        "node": "db-0",
        "error": "a\nb",
    }


def test_an_exception_is_in_the_json_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json")

    try:
        raise ValueError("broken")
    except ValueError:
        LOG.exception("failed")

    assert "ValueError: broken" in json.loads(capsys.readouterr().err)["exception"]


def test_the_level_is_obeyed_and_a_second_setup_replaces_the_first(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "text")
    logs.configure("warning", "json")

    LOG.info("unseen")
    LOG.error("seen")

    assert len(capsys.readouterr().err.splitlines()) == 1
