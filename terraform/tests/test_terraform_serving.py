"""The provider as Terraform starts it: the line it prints, its socket, and how it ends."""

from __future__ import annotations

import base64
import os
import ssl
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from tf.gen import grpc_controller_pb2 as controller
from tf.gen import grpc_controller_pb2_grpc as controller_rpc

from helios_terraform.plugin.serving import COOKIE


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder with a short name: the address of a socket has room for 107 characters."""
    with tempfile.TemporaryDirectory(prefix="h") as folder:
        yield Path(folder)


def test_nobody_else_may_enter_the_folder_of_the_socket_and_it_goes_with_the_provider(place: Path) -> None:
    environment = {**os.environ, COOKIE[0]: COOKIE[1], "PLUGIN_UNIX_SOCKET_DIR": str(place)}
    with subprocess.Popen(
        [sys.executable, "-m", "helios_terraform"], env=environment, stdout=subprocess.PIPE, text=True, umask=0
    ) as process:
        try:
            assert process.stdout is not None
            core, protocol, network, address, kind, certificate = process.stdout.readline().strip().split("|")
            folder = Path(address).parent
            mode = stat.S_IMODE(folder.stat().st_mode)
            is_socket = Path(address).is_socket()
            authority = ssl.DER_cert_to_PEM_cert(base64.b64decode(f"{certificate}==")).encode()
            with grpc.secure_channel(
                f"unix://{address}",
                grpc.ssl_channel_credentials(authority),
                options=[("grpc.ssl_target_name_override", "localhost")],
            ) as channel:
                controller_rpc.GRPCControllerStub(channel).Shutdown(controller.Empty(), timeout=60)
            status = process.wait(60)
        finally:
            process.kill()

    assert (core, protocol, network, kind) == ("1", "6", "unix", "grpc")
    assert (folder.parent, mode, is_socket) == (place, 0o700, True), "whatever the umask is"
    assert status == 0
    assert not folder.exists()
