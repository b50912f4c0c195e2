"""The real PgBouncer before the tests' PostgreSQL, to compare the console with: the one that `make bench` builds.

Called by the console's tests; hands on a `Target` of its console. It refuses to run as root, so it runs as PostgreSQL's
user.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.client import Client, Target
from harness.postgres import APP, DATABASE, PASSWORDS, PostgresCluster
from harness.wait import until
from helios.play.folders import open_folder
from helios.play.process import Spawn, free_port, spawn, unprivileged_identity

END_SECONDS = 10.0


def find_pgbouncer() -> Path | None:
    """The program, if `make bench` has built it on this machine."""
    cache = os.environ.get("HELIOS_CACHE")
    program = Path(cache, "tools", "pgbouncer", "pgbouncer") if cache else None
    return program if program is not None and program.exists() else None


@contextmanager
def real_pgbouncer(program: Path, cluster: PostgresCluster) -> Iterator[Target]:
    """The console of a PgBouncer in transaction mode, which `app` may use."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o711)
        folder, port = Path(name) / "pgbouncer", free_port()
        open_folder(folder)
        config = folder / "pgbouncer.ini"
        config.write_text(_ini(cluster, port))
        (folder / "userlist.txt").write_text(f'"{APP}" "{PASSWORDS[APP]}"\n')
        with (folder / "log").open("wb") as log:
            process = spawn([program, config], Spawn(unprivileged_identity(), cwd=folder, stdout=log, stderr=log))
        console = Target("127.0.0.1", port, APP, PASSWORDS[APP], "pgbouncer")
        try:
            until(lambda: _answers(process, folder / "log", console), "PgBouncer to answer", END_SECONDS)
            yield console
        finally:
            process.terminate()
            try:
                process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(END_SECONDS)


def _ini(cluster: PostgresCluster, port: int) -> str:
    server = cluster.primary
    return f"""\
[databases]
{DATABASE} = host={server.host} port={server.port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = userlist.txt
pool_mode = transaction
admin_users = {APP}
"""


def _answers(process: subprocess.Popen[bytes], log: Path, console: Target) -> bool:
    assert process.poll() is None, log.read_text(errors="replace")
    try:
        Client(console).terminate()
    except OSError:
        return False
    return True
