"""Each example's README prints a command; here it is run with `helios play`, word for word."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from play_harness import Play, run_play, scratch

REPOSITORY = Path(__file__).parents[2]
EXAMPLES = sorted(path.parent.name for path in (REPOSITORY / "examples").glob("*/README.md"))
MAX_README_LINES = 10


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder for the data and the output of one test."""
    with scratch() as path:
        yield path


def printed_command(readme: Path) -> tuple[str, str]:
    """FILE and CMD of the one `make run` line in the README's fenced block, as the shell takes them."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", readme.read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 1, f"{readme} has {len(blocks)} fenced blocks"
    make, run, *settings = shlex.split(blocks[0])
    assert (make, run) == ("make", "run")
    values = dict(setting.split("=", 1) for setting in settings)
    return values["FILE"], values["CMD"]


def run_example(folder: Path, name: str) -> Play:
    """Run the example as its README says, with data of its own."""
    file, command = printed_command(REPOSITORY / "examples" / name / "README.md")
    assert file == f"examples/{name}"
    play = run_play(folder, "-f", REPOSITORY / file, "--data", folder / "data", command=["sh", "-c", command])
    assert play.process.returncode == 0, play.stderr
    return play


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_readme_is_short(name: str) -> None:
    assert len((REPOSITORY / "examples" / name / "README.md").read_text().splitlines()) <= MAX_README_LINES


def test_01_minimal_is_answered_by_a_primary(folder: Path) -> None:
    play = run_example(folder, "01-minimal")

    assert re.search(r"^ PostgreSQL \d+.* \| f$", play.stdout, re.MULTILINE), play.stdout


def test_02_pooling_serves_200_clients_over_at_most_20_server_connections(folder: Path) -> None:
    play = run_example(folder, "02-pooling")

    assert "number of clients: 200" in play.stdout
    assert "number of failed transactions: 0 " in play.stdout
    connections = int(play.stdout.splitlines()[-1])
    assert 1 <= connections <= 20


def test_03_read_write_split_reads_what_was_written_and_follows_a_hint(folder: Path) -> None:
    play = run_example(folder, "03-read-write-split")

    assert play.stdout.splitlines() == ["CREATE TABLE", "INSERT 0 1", "t", "off"]


def test_04_routing_rules_are_for_some(folder: Path) -> None:
    play = run_example(folder, "04-routing-rules")

    assert play.stdout.splitlines() == ["report-daily|on", "audit-1|on", "audit-1|off", "web|off"]


def test_05_failover_keeps_what_was_acknowledged(folder: Path) -> None:
    play = run_example(folder, "05-failover")

    assert play.stdout.splitlines() == ["acknowledged|node-2"]


def test_06_transaction_replay_goes_on_elsewhere(folder: Path) -> None:
    play = run_example(folder, "06-transaction-replay")

    assert play.stdout.splitlines() == ["once|node-2", "once|1"]


def test_every_example_is_run_here() -> None:
    assert EXAMPLES == [
        "01-minimal",
        "02-pooling",
        "03-read-write-split",
        "04-routing-rules",
        "05-failover",
        "06-transaction-replay",
    ]
