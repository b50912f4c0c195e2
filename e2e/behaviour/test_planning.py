"""Plans of statements: one for a shape, made while the statement waits, whoever asks; nothing waits for long."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness.client import Client, rows, sqlstates
from harness.proxy import HeliosProcess, StartProxy

CLIENTS = 8
SHAPES = 40


def made(proxy: HeliosProcess) -> float:
    """Plans made since the start, from /metrics."""
    return metric(proxy, "heliosproxy_plans_made_total")


def metric(proxy: HeliosProcess, name: str) -> float:
    """One sample without labels."""
    status, text = proxy.get("/metrics", accept="text/plain")
    assert status == 200
    return next(float(line.split()[1]) for line in text.splitlines() if line.split(" ")[0] == name)


@pytest.mark.parametrize("protocol", ["simple", "extended"])
def test_statements_of_one_shape_share_a_plan(start_proxy: StartProxy, protocol: str) -> None:
    proxy = start_proxy(pool={"mode": "transaction"})
    with Client(proxy.target()) as client, Client(proxy.target()) as other:
        run = [each.query if protocol == "simple" else each.extended for each in (client, other)]
        run[0]("select 1 as a, 'x' as b")
        before = made(proxy)

        for number in range(20):
            answer = run[number % 2](f"SELECT {number}  AS a, /* {number} */ '{number}''' as b")
            assert rows(answer) == [[str(number), f"{number}'"]]

        assert made(proxy) == before
        run[1]("select 1 as a, 'x' as b, 2 as c")
        assert made(proxy) == before + 1


def test_session_mode_plans_nothing(start_proxy: StartProxy) -> None:
    proxy = start_proxy(pool={"mode": "session"})
    with Client(proxy.target()) as client:
        assert client.value("select 'unplanned'") == "unplanned"

    assert made(proxy) == 0


def test_new_shapes_of_many_clients_are_all_answered(start_proxy: StartProxy) -> None:
    """Each client sends shapes that nobody has sent before, and shapes that all send at once."""
    proxy = start_proxy(pool={"mode": "transaction", "max_size": 4})

    def work(number: int) -> list[str]:
        order = random.Random(number)
        own = [f"select {', '.join(['1'] * (size + 1))} as own_{number}" for size in range(SHAPES)]
        common = [f"select {', '.join(['1'] * (size + 1))} as common" for size in range(SHAPES)]
        texts = own + common
        order.shuffle(texts)
        with Client(proxy.target(), deadline=30) as client:
            return [
                state for text in texts for state in sqlstates(client.query(text)) + sqlstates(client.extended(text))
            ]

    with ThreadPoolExecutor(CLIENTS) as pool:
        refused = [state for states in pool.map(work, range(CLIENTS)) for state in states]

    assert refused == []
    assert made(proxy) == (CLIENTS + 1) * SHAPES


@pytest.mark.parametrize("sql", ["selec 1", "select 'open", "select 1 where", "select (", '"', "$a$"])
def test_text_that_the_parser_refuses_is_the_servers_to_refuse(start_proxy: StartProxy, sql: str) -> None:
    proxy = start_proxy(pool={"mode": "transaction", "max_size": 1})
    with Client(proxy.target()) as client:
        assert sqlstates(client.query(sql)) == ["42601"]
        assert sqlstates(client.extended(sql)) == ["42601"]
        assert client.value("select 1") == "1"


def test_deep_and_long_texts_are_passed_on(start_proxy: StartProxy) -> None:
    """What libpg_query could not take without harm is not given to it, and PostgreSQL answers all the same."""
    proxy = start_proxy(pool={"mode": "transaction", "max_size": 1})
    deep = "select " + "+".join(["1"] * 2_500)
    wide = "select " + ", ".join(f"'{'x' * 1_000}' as c{number}" for number in range(1_200))
    with Client(proxy.target()) as client:
        assert client.value(deep) == "2500"
        assert rows(client.extended(deep)) == [["2500"]]
        assert len(rows(client.query(wide))[0]) == 1_200
        assert client.value("select 1") == "1"
