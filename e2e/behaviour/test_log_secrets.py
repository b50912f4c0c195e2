"""What the log never holds, at any level and in either format: passwords, literals of statements, bound values."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness import frontend
from harness.client import Client, LoginRefusedError, sqlstates
from harness.frontend import extended
from harness.postgres import APP, APP_MD5, APP_PLAIN, PASSWORDS
from harness.proxy import HeliosProcess, StartProxy
from harness.wait import until

LITERAL, BOUND, WRONG, COPIED = "hunter2-literal", "hunter2-bound", "hunter2-wrong", "hunter2-copied"
TRACED = "hunter2-comment"


def trouble(proxy: HeliosProcess) -> None:
    """Everything that makes Helios or the server complain while it holds something that is nobody's business."""
    for user in (APP, APP_MD5, APP_PLAIN, "nobody_known"):
        with pytest.raises(LoginRefusedError):
            Client(proxy.target(user=user, password=WRONG))
    with Client(proxy.target()) as client:
        for sql in (
            f"select '{LITERAL}'::int",
            f"select '{LITERAL}' /* {TRACED} */ frm x y",
            f"set helios.secret = '{LITERAL}'",
            f"set statement_timeout = '{LITERAL}'",
            f"create role {APP} password '{LITERAL}'",
            f"do $$ begin raise exception '{LITERAL}'; end $$",
            f"select set_config('role', '{LITERAL}', false)",
            f"prepare p as select '{LITERAL}'::text; execute p; deallocate p",
        ):
            client.query(sql)
        client.query("begin")
        assert sqlstates(client.extended("select $1::int", BOUND)) == ["22P02"]
        client.query("rollback")
        client.batch(
            frontend.query("copy notes from stdin"),
            frontend.copy_data(f"{COPIED}\t{COPIED}\n".encode()),
            frontend.copy_done(),
        )
        client.send(extended("select pg_terminate_backend(pg_backend_pid()), $1::text", [BOUND]))
        client.until_closed()
    half = Client(proxy.target())
    half.query("begin")
    half.send(frontend.query(f"select '{LITERAL}', pg_sleep(5)"))
    half.close()


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_secret_is_logged(start_proxy: StartProxy, tmp_path: Path, form: str) -> None:
    proxy = start_proxy(log={"level": "debug"})
    proxy.write({**proxy.settings, "log": {"level": "debug", "format": form}})
    assert proxy.post("/config/reload")[0] == 200
    begun = len(proxy.log().splitlines())
    trouble(proxy)
    proxy.write("auth = 5\n")
    proxy.post("/config/reload")
    until(lambda: "reload refused" in proxy.log(), "the last trouble to be in the log")
    until(lambda: "client refused" in proxy.log(), "refusals to be in the log")
    proxy.stop()

    log = proxy.log()

    for secret in (LITERAL, BOUND, WRONG, COPIED, TRACED, *PASSWORDS.values()):
        assert secret not in log or secret in ("unused",), secret
    assert "select" not in log.lower().replace("selected", ""), "a statement is in the log"
    if form == "json":
        lines = [json.loads(line) for line in log.splitlines()[begun:]]
        assert {"time", "level", "logger", "message"} <= set.intersection(*(set(line) for line in lines))
        assert {line["level"] for line in lines} >= {"info", "error"}
