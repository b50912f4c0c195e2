"""Start the gRPC server that Terraform expects of a plugin, say where it listens, end when Terraform says so.

go-plugin's handshake: one line on stdout with the socket and our certificate. The socket is in a folder of ours that
nobody else may enter.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import sys
import tempfile
from concurrent import futures
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from tf.gen import grpc_controller_pb2 as controller
from tf.gen import grpc_controller_pb2_grpc as controller_rpc
from tf.gen import grpc_stdio_pb2_grpc as stdio_rpc
from tf.gen import tfplugin_pb2_grpc as rpc

__all__ = ["is_started_by_terraform", "serve"]

COOKIE: Final = ("TF_PLUGIN_MAGIC_COOKIE", "d602bf8f470bc67ca7faa0386276bbdd4330efaf76d1a219cb4d6991ca9872b2")
"""How Terraform says that it is Terraform; no secret."""
PROTOCOL: Final = 6
THREADS: Final = 64
"""Calls at one time: ten or more resources wait while Terraform must still be able to stop us."""
GRACE_SECONDS: Final = 2.0
CERTIFICATE_DAYS: Final = 7


def is_started_by_terraform() -> bool:
    """Whether the magic cookie is there."""
    return os.environ.get(COOKIE[0]) == COOKIE[1]


class _Controller(controller_rpc.GRPCControllerServicer):  # type: ignore[misc] # `tf` has no types
    def __init__(self, server: Any) -> None:
        self._server = server

    def Shutdown(self, _request: Any, _context: Any) -> Any:
        """Terraform is done with us."""
        self._server.stop(GRACE_SECONDS)
        return controller.Empty()


class _Stdio(stdio_rpc.GRPCStdioServicer):  # type: ignore[misc] # `tf` has no types
    def StreamStdio(self, _request: Any, _context: Any) -> Any:
        """We write nothing to stdout, and logs go to stderr."""
        return iter(())


def serve(servicer: Any, *, reattach: str | None = None) -> None:
    """Serve until Terraform ends it. With `reattach` (an address of a provider) print what a debugger needs instead."""
    # Terraform sends Ctrl-C to us over the protocol; that of the terminal is not ours.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    server = grpc.server(
        futures.ThreadPoolExecutor(max_workers=THREADS),
        options=[("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)],
    )
    rpc.add_ProviderServicer_to_server(servicer, server)
    controller_rpc.add_GRPCControllerServicer_to_server(_Controller(server), server)
    stdio_rpc.add_GRPCStdioServicer_to_server(_Stdio(), server)
    # tempfile makes a folder that only this user may enter.
    with tempfile.TemporaryDirectory(prefix="heliosproxy-", dir=os.environ.get("PLUGIN_UNIX_SOCKET_DIR")) as folder:
        socket = Path(folder, "plugin.sock")
        if reattach is not None:
            server.add_insecure_port(f"unix://{socket}")
            server.start()
            _print_reattach(reattach, socket)
        else:
            certificate, credentials = _credentials()
            server.add_secure_port(f"unix://{socket}", credentials)
            server.start()
            encoded = base64.b64encode(certificate).decode().rstrip("=")
            _say("|".join(["1", str(PROTOCOL), "unix", str(socket), "grpc", encoded]))
        server.wait_for_termination()


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _print_reattach(address: str, socket: Path) -> None:
    place = {"Network": "unix", "String": str(socket)}
    known = {"Protocol": "grpc", "ProtocolVersion": PROTOCOL, "Pid": os.getpid(), "Test": True, "Addr": place}
    _say(f"export TF_REATTACH_PROVIDERS='{json.dumps({address: known})}'")


def _credentials() -> tuple[bytes, Any]:
    """(certificate as DER, credentials of the server): a key for this process only."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    uses = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=CERTIFICATE_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    # The client's certificate is on curve P-521, which gRPC's TLS does not take: the socket's folder keeps others out.
    credentials = grpc.ssl_server_credentials([(pem, certificate.public_bytes(serialization.Encoding.PEM))])
    return certificate.public_bytes(serialization.Encoding.DER), credentials
