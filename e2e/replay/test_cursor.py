"""A cursor over a million rows whose server is killed in the middle."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from harness.client import Client, rows, sqlstates
from harness.postgres import PostgresCluster
from harness.proxy import HeliosProcess, base_settings

ROWS = 1_000_000
STEP = 2_000
PATIENCE = 300


@pytest.fixture(scope="module")
def proxy(postgres: PostgresCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HeliosProcess]:
    """With the journal's own limits."""
    folder = tmp_path_factory.mktemp("cursor")
    pool = {"max_size": 4, "acquire_timeout_seconds": PATIENCE}
    settings = base_settings(postgres, folder, transaction_replay={"enabled": True}, pool=pool)
    with HeliosProcess(folder, settings) as made:
        yield made


def test_fetches_through_a_million_rows_across_kills(
    postgres: PostgresCluster, proxy: HeliosProcess, report: list[str]
) -> None:
    kills = {ROWS // 10, ROWS // 2, ROWS - 2 * STEP}
    pauses, wanted = [], 1
    of = "from pg_stat_activity where application_name = 'fetching'"
    with Client(proxy.target().with_options(application_name="fetching"), deadline=PATIENCE) as client:
        assert not sqlstates(client.query("begin"))
        assert not sqlstates(client.query(f"declare c cursor for select n from generate_series(1, {ROWS}) n"))
        while wanted <= ROWS:
            if wanted - 1 in kills:
                assert postgres.value(f"select count(pg_terminate_backend(pid)) {of}") == "1"
                began = time.monotonic()
            else:
                began = 0.0
            got = rows(client.query(f"fetch {STEP} from c"))
            if began:
                pauses.append(time.monotonic() - began)
            assert got == [[str(number)] for number in range(wanted, wanted + STEP)]
            wanted += STEP
            client.transcript.clear()
        assert rows(client.query("fetch 1 from c")) == []
        assert not sqlstates(client.query("commit"))
    told = proxy.json("/api/tr")
    assert told["completed"] == len(kills)
    report += [
        "",
        f"FETCH {STEP} through a cursor of {ROWS:,} rows, its server process ended three times (behind",
        f"{', '.join(f'{each:,}' for each in sorted(kills))} rows): rows 1…{ROWS:,} once each. The FETCH after a kill",
        f"took {', '.join(f'{pause:.1f}' for pause in pauses)} s, in which all before it was fetched and compared.",
        "",
    ]
