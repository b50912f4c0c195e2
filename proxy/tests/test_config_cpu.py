"""The CPU limit: quota of either version of control groups, or the affinity."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from helios.config.cpu import cpu_limit


@pytest.fixture
def _many_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(64)))


def _limit(root: Path, own: str, files: dict[str, str]) -> int:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "self").write_text(own)
    return cpu_limit(root, root / "self")


@pytest.mark.usefixtures("_many_cpus")
@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        ("0::/\n", {"cpu.max": "200000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "25000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "max 100000\n"}, 64),
        ("0::/pod/main\n", {"pod/main/cpu.max": "max 100000\n", "pod/cpu.max": "300000 100000\n"}, 3),
        ("0::/pod/main\n", {"cpu.max": "400000 100000\n"}, 4),
        ("0::/../../other\n", {"cpu.max": "500000 100000\n"}, 5),
        ("3:cpu,cpuacct:/a\n", {"cpu/a/cpu.cfs_quota_us": "600000\n", "cpu/a/cpu.cfs_period_us": "100000\n"}, 6),
        ("3:cpu,cpuacct:/a\n", {"cpu/a/cpu.cfs_quota_us": "-1\n", "cpu/a/cpu.cfs_period_us": "100000\n"}, 64),
        ("2:memory:/a\n", {"cpu/a/cpu.cfs_quota_us": "100000\n", "cpu/a/cpu.cfs_period_us": "100000\n"}, 64),
        ("", {"cpu.max": "100000 0\n"}, 64),
        ("", {"cpu.max": "700000 100000\n"}, 7),
        ("nonsense", {"cpu.max": "nonsense"}, 64),
    ],
)
def test_the_quota_of_the_container_counts(own: str, files: dict[str, str], expected: int, tmp_path: Path) -> None:
    assert _limit(tmp_path, own, files) == expected


def test_this_machine_has_a_limit() -> None:
    assert 1 <= cpu_limit() <= (os.cpu_count() or 1)


def test_the_affinity_is_the_upper_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {3})

    assert _limit(tmp_path, "0::/\n", {"cpu.max": "800000 100000\n"}) == 1
