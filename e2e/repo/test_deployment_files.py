"""What docs/deployment has for machines without the operator: read by Helios itself, by systemd, and held together."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from helios.config import DrainConfig
from repo.tree import ROOT

DEPLOYMENT = ROOT / "docs" / "deployment"
CONFIGS = sorted(DEPLOYMENT.glob("*/helios.toml"))
DRAIN = DrainConfig()
DRAIN_SECONDS = DRAIN.endpoint_delay_seconds + DRAIN.timeout_seconds


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.parent.name)
def test_configuration_is_sound(file: Path) -> None:
    command = [sys.executable, "-m", "helios", "check", "--without-secrets", str(file)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)

    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_all_of_them_are_there_and_leave_time_to_drain() -> None:
    pod = read("kubernetes/deployment.yaml")["spec"]["template"]["spec"]
    compose = read("compose/compose.yaml")
    unit = (DEPLOYMENT / "systemd" / "helios.service").read_text()

    assert [file.parent.name for file in CONFIGS] == ["compose", "kubernetes", "systemd"]
    assert pod["terminationGracePeriodSeconds"] > DRAIN_SECONDS
    assert int(compose["services"]["helios"]["stop_grace_period"].removesuffix("s")) > DRAIN_SECONDS
    assert int(unit.partition("TimeoutStopSec=")[2].split()[0]) > DRAIN_SECONDS


def test_compose_has_what_its_services_name() -> None:
    compose = read("compose/compose.yaml")
    config = (DEPLOYMENT / "compose" / "helios.toml").read_text()

    for service in compose["services"].values():
        assert set(service["secrets"]) <= compose["secrets"].keys()
    proxy = compose["services"]["helios"]
    for secret in proxy["secrets"]:
        assert f'"/run/secrets/{secret}"' in config
    (mount,) = proxy["volumes"]
    assert (DEPLOYMENT / "compose" / mount.split(":")[0]).is_file()


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("this machine has no systemd-analyze")
    text = (DEPLOYMENT / "systemd" / "helios.service").read_text()
    unit = tmp_path / "helios.service"
    unit.write_text(text.replace("/opt/helios/bin/helios", sys.executable))

    answer = subprocess.run([program, "verify", str(unit)], capture_output=True, text=True, check=False)

    assert (answer.returncode, [line for line in answer.stderr.splitlines() if unit.name in line]) == (0, [])
    config = (DEPLOYMENT / "systemd" / "helios.toml").read_text()
    for line in text.splitlines():
        if line.startswith("LoadCredential="):
            name = line.partition("=")[2].partition(":")[0]
            assert f'"/run/credentials/helios.service/{name}"' in config


def read(name: str) -> dict[str, Any]:
    value: dict[str, Any] = yaml.safe_load((DEPLOYMENT / name).read_text())
    return value
