"""PostgreSQL's own programs (pg_dump, pg_basebackup, …) with a login in their environment. Called by tests."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from harness.client import Target
from harness.postgres import PostgresCluster

RANDOM_KEY = re.compile(r"^\\(un)?restrict .*\n", re.MULTILINE)
"""What pg_dump makes up anew for each dump."""


class Programs:
    """Runs the programs of the cluster's own PostgreSQL."""

    def __init__(self, cluster: PostgresCluster) -> None:
        self._binaries = cluster.primary.binaries

    def run(self, target: Target, program: str, *arguments: str | Path) -> str:
        """What it prints, on stdout and stderr; AssertionError when it fails."""
        login = {
            "PGHOST": target.host,
            "PGPORT": str(target.port),
            "PGUSER": target.user,
            "PGDATABASE": target.database,
        }
        environment = {
            **os.environ,
            **login,
            "PGPASSWORD": target.password or "",
            "PGSSLMODE": "disable",
            "LC_ALL": "C",
        }
        command = [self._binaries.tool(program), *arguments]
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, (command, done.returncode, done.stdout)
        return done.stdout

    def dump(self, target: Target) -> str:
        """A database as SQL."""
        return RANDOM_KEY.sub("", self.run(target, "pg_dump", "--no-owner"))
