"""Fixtures of the Pulumi provider's tests."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import Cluster
from harness.pulumi_stack import Stack, prepare
from harness.resources import Shop


@pytest.fixture(scope="session")
def bin_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pulumi's command line and our provider."""
    found = prepare(tmp_path_factory.mktemp("pulumi-bin"))
    if found is None:
        pytest.skip("pulumi is not there; make test-pulumi builds it")
    return found


@pytest.fixture
def stack(
    bin_folder: Path, cluster: Cluster, shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Stack]:
    """A stack of the test's own, and a namespace with the same life."""
    monkeypatch.setenv("PATH", f"{bin_folder}:/usr/bin:/bin")
    monkeypatch.setenv("PULUMI_AUTOMATION_API_SKIP_VERSION_CHECK", "true")
    yield Stack(bin_folder, tmp_path / "stack", cluster, shop.namespace)
    # What a program that failed left behind in Pulumi's SDK goes while its test is the one that is running.
    gc.collect()
