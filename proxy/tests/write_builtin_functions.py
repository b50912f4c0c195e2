"""Writes the planner's list of built-in functions, and how volatile each is, from a real PostgreSQL.

Run with the clone's Python, `python proxy/tests/write_builtin_functions.py`, when `helios.play` comes with a newer
PostgreSQL; the test in test_planner_server.py that compares the list with the server says so.
"""

from __future__ import annotations

import sys
from pathlib import Path

E2E = Path(__file__).parents[2] / "e2e"
FILE = Path(__file__).parents[1] / "src" / "helios" / "planner" / "builtin_functions.txt"
QUERY = """
select string_agg(name || ' ' || volatility, e'\\n' order by name collate "C")
from (select proname::text as name, (array['i', 's', 'v'])[max(strpos('isv', provolatile::text))] as volatility
      from pg_proc where pronamespace = 'pg_catalog'::regnamespace group by 1) functions
"""


def main() -> None:
    """Start a server, ask it, write the file."""
    sys.path.insert(0, str(E2E))
    from harness.postgres import start_cluster

    cluster = start_cluster(with_standby=False)
    try:
        FILE.write_text(f"{cluster.value(QUERY, 'postgres')}\n", encoding="utf-8")
    finally:
        cluster.stop()


if __name__ == "__main__":
    main()
