"""Fixtures of the Terraform provider's tests: each runs on terraform and on OpenTofu, as far as they are there."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster import Cluster
from harness.resources import Shop
from harness.terraform import Cli, Project
from helios_make.iac_programs import find_cli
from helios_make.places import find_places


@pytest.fixture(scope="session", params=["terraform", "tofu"])
def cli(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """A command line with our provider in its mirror."""
    program = find_cli(find_places(), request.param)
    if program is None:
        pytest.skip(f"{request.param} is not there; make test-terraform builds OpenTofu")
    return Cli.prepare(request.param, program, tmp_path_factory.mktemp(request.param))


@pytest.fixture
def project(cli: Cli, cluster: Cluster, shop: Shop, tmp_path: Path) -> Project:
    """An empty folder, and a namespace with the same life."""
    return Project(cli, tmp_path / "project", cluster, shop.namespace)
