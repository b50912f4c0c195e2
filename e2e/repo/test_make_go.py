"""Caches of Go, which all clones share."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from harness.wait import until
from helios_make.go import go_caches
from helios_make.places import Places


def test_who_ends_first_does_not_take_the_caches_from_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("HELIOS_KEEP_CACHE", raising=False)
    places = Places(root=tmp_path / "clone", cache=tmp_path / "cache")
    module = tmp_path / "cache" / "go" / "modules" / "half fetched"
    seen: list[bool] = []

    def build_elsewhere() -> None:
        with go_caches(places):
            seen.append(module.exists())

    elsewhere = threading.Thread(target=build_elsewhere)
    with go_caches(places):
        module.mkdir(parents=True)
        elsewhere.start()
        until(lambda: "waiting for another make" in capsys.readouterr().err, "the other to wait")
        assert module.exists()
    elsewhere.join(timeout=30)

    assert seen == [False]
    assert not (tmp_path / "cache" / "go").exists()
