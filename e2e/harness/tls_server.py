"""A real PostgreSQL with `ssl = on`, for tests of what Helios is to such a server. Hands on `TlsServer`."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.certificates import Authority, Certificate
from harness.postgres import HBA, PostgresCluster, populate
from harness.wait import until
from helios.play.binaries import find_binaries
from helios.play.postgres import ServerOptions, start_primary
from helios.play.process import unprivileged_identity

__all__ = ["TlsServer", "tls_server"]

DEBIAN_MAJOR = 15
"""The packaged PostgreSQL of the other tests is built without TLS."""


@dataclass(frozen=True)
class TlsServer:
    """A PostgreSQL with `ssl = on`."""

    cluster: PostgresCluster
    authority: Authority

    def show(self, certificate: Certificate) -> None:
        """Have the server show this certificate from now on."""
        data = self.cluster.primary.data
        identity = unprivileged_identity()
        for source, name in ((certificate.cert, "server.crt"), (certificate.key, "server.key")):
            target = data / name
            target.write_bytes(source.read_bytes())
            target.chmod(0o600)
            if identity is not None:
                shutil.chown(target, identity.uid, identity.gid)
        self.cluster.execute("alter system set ssl = on")
        self.cluster.execute("select pg_reload_conf()")
        until(lambda: self.cluster.value("show ssl") == "on", "TLS to be on")


@contextmanager
def tls_server(folder: Path, **settings: str) -> Iterator[TlsServer]:
    """One with the roles and tables of the other tests and these settings; its authority is kept in `folder`."""
    root = Path(tempfile.mkdtemp(prefix="helios-tls-"))
    options = ServerOptions(fsync=False, hba=HBA, settings={"max_connections": "50", **settings})
    cluster = PostgresCluster(root, start_primary(root, options=options, binaries=find_binaries(DEBIAN_MAJOR)), None)
    try:
        populate(cluster)
        made = TlsServer(cluster, Authority(folder))
        made.show(made.authority.sign("server"))
        yield made
    finally:
        cluster.stop()
