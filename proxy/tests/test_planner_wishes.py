"""What hints and rules make of a statement's route, and what they cannot."""

from __future__ import annotations

import pytest

from helios.planner.catalog import Catalog
from helios.planner.context import Context, Policy
from helios.planner.decide import plan
from helios.planner.plan import Consistency, Origin, Route, Routing, WriteMode
from helios.planner.wish import Hint, Rule

PLAIN = Catalog("plain")
READ = "select * from orders"
WRITE = "update orders set paid = true"
STANDBY = Rule("reports", "standby")


def routing(sql: str, *hints: Hint, rules: tuple[Rule, ...] = (), is_split: bool = True) -> Routing:
    return plan(sql, Context(lambda: PLAIN, Policy(is_split, hints, rules))).routing


@pytest.mark.parametrize(
    ("value", "route"),
    [
        *((word, Route.PRIMARY) for word in ("primary", "master", "LEADER")),
        *((word, Route.STANDBY) for word in ("standby", "Replica", "secondary")),
        *((word, Route.ANY) for word in ("any", "local", "nearest")),
    ],
)
def test_words_of_the_route_hint(value: str, route: Route) -> None:
    for is_split in (True, False):
        made = routing(READ, ("route", value), is_split=is_split)

        assert (made.route, made.origin, made.notices) == (route, Origin.HINT, ())
        assert made.reason.endswith(f"hint route={value}")


def test_a_node_goes_before_a_route_and_a_route_before_a_consistency() -> None:
    named = routing(READ, ("consistency", "strong"), ("route", "primary"), ("node", "b"))
    assert (named.route, named.node, named.consistency) == (Route.STANDBY, "b", None)
    sent = routing(READ, ("consistency", "strong"), ("route", "standby"))
    assert (sent.route, sent.consistency) == (Route.STANDBY, None)
    strong = routing(READ, ("consistency", "strong"))
    assert (strong.route, strong.reason) == (Route.PRIMARY, "hint consistency=strong")
    assert routing(READ, ("consistency", "strong"), ("route", "any")).route is Route.PRIMARY
    first = routing(READ, ("route", "primary"), ("route", "standby"))
    assert first.route is Route.PRIMARY


def test_limits_of_a_read_leave_its_route_alone() -> None:
    made = routing(READ, ("consistency", "Eventual"), ("lag", "250"), ("timeout", "1500"))

    assert (made.route, made.origin, made.reason) == (Route.ANY, Origin.STATEMENT, "it only reads")
    assert (made.consistency, made.max_lag_ms, made.timeout_ms) == (Consistency.EVENTUAL, 250, 1500)
    unsplit = routing(READ, ("consistency", "eventual"), ("timeout", "5"), is_split=False)
    assert (unsplit.route, unsplit.timeout_ms) == (Route.PRIMARY, 5)


@pytest.mark.parametrize("hint", [("route", "standby"), ("route", "any"), ("node", "b")])
def test_what_may_write_stays_on_the_primary_and_says_so(hint: Hint) -> None:
    made = routing(WRITE, hint)

    assert (made.route, made.reason, made.origin) == (Route.PRIMARY, "UPDATE writes", Origin.STATEMENT)
    key, value = hint
    assert made.notices == (f"hint {key}={value} has no effect, this statement goes to the primary: UPDATE writes",)
    assert routing(WRITE, rules=(STANDBY,)).notices == ()
    assert routing(WRITE, rules=(STANDBY,)).route is Route.PRIMARY
    assert routing(WRITE, ("timeout", "7")).timeout_ms == 7


@pytest.mark.parametrize(
    ("hint", "notice"),
    [
        (("rout", "primary"), 'hint "rout" is not known'),
        (("k" * 90, ""), f'hint "{"k" * 40}" is not known'),
        (("route", "secret"), "hint route must be"),
        (("consistency", "session"), "hint consistency must be strong, bounded, eventual"),
        (("lag", "0"), "hint lag must be a number"),
        (("lag", "-1"), "hint lag must be a number"),
        (("lag", "٣"), "hint lag must be a number"),
        (("timeout", "1s"), "hint timeout must be a number of milliseconds from 1 to 86400000"),
        (("timeout", "9" * 5000), "hint timeout must be a number"),
    ],
)
def test_what_is_not_understood_is_told_and_has_no_effect(hint: Hint, notice: str) -> None:
    made = routing(READ, hint)

    assert len(made.notices) == 1
    assert made.notices[0].startswith(notice)
    assert "secret" not in made.notices[0]
    assert (made.route, made.origin) == (Route.ANY, Origin.STATEMENT)
    assert len(routing(READ, *((f"k{n}", "") for n in range(99))).notices) == 4


def test_labels_of_others_are_left_alone() -> None:
    made = routing(READ, ("workflow", "nightly"), ("cache", "skip"), ("node", ""))

    assert made == routing(READ)


def test_the_first_rule_counts_unless_a_hint_says_where() -> None:
    rules = (Rule("a", "standby", "b", "bounded", 70), Rule("c", "primary"))

    made = routing(READ, rules=rules, is_split=False)
    assert (made.route, made.node, made.consistency, made.max_lag_ms) == (Route.STANDBY, "b", Consistency.BOUNDED, 70)
    assert (made.origin, made.reason) == (Origin.RULE, "it only reads, and rule a")
    both = routing(READ, ("lag", "9"), ("timeout", "3"), ("x", ""), rules=rules)
    assert (both.node, both.max_lag_ms, both.timeout_ms, both.origin) == ("b", 9, 3, Origin.RULE)
    assert len(both.notices) == 1
    hinted = routing(READ, ("route", "any"), rules=rules)
    assert (hinted.route, hinted.node, hinted.max_lag_ms, hinted.origin) == (Route.ANY, None, None, Origin.HINT)
    strong = routing(READ, rules=(Rule("d", "primary", consistency="strong"),))
    assert (strong.route, strong.reason, strong.origin) == (Route.PRIMARY, "rule d", Origin.RULE)
    assert routing(READ, rules=(Rule("e", "nearest"),)).route is Route.ANY


def test_a_rule_may_say_how_far_writes_must_have_come() -> None:
    rules = (Rule("pay", "sync", consistency="eventual", max_lag_ms=70),)

    for sql in (READ, WRITE):
        made = routing(sql, rules=rules)
        assert made.write_mode is WriteMode.SYNC
        assert made.origin is Origin.STATEMENT, "of where it runs it says nothing"
    assert (routing(READ, rules=rules).consistency, routing(READ, rules=rules).max_lag_ms) == ("eventual", 70)
    for key in ("twr", "route"):
        assert routing(WRITE, (key, "async"), rules=rules).write_mode is WriteMode.ASYNC
    placed = routing(READ, ("route", "standby"), rules=rules)
    assert (placed.route, placed.write_mode) == (Route.STANDBY, WriteMode.SYNC)


def test_a_rule_for_vectors_needs_a_node_that_is_meant_for_them() -> None:
    made = routing(READ, rules=(Rule("near", "vector"),))

    assert (made.route, made.workload, made.notices) == (Route.ANY, None, ())


def test_a_token_is_left_to_the_engine() -> None:
    for sql in (READ, WRITE):
        made = routing(sql, ("lsn", "7:1:0/0"))
        assert (made.has_token, made.origin, made.notices) == (True, Origin.STATEMENT, ())
    assert not routing(READ, ("route", "any")).has_token


@pytest.mark.parametrize("key", ["twr", "route"])
def test_a_write_mode_says_nothing_of_nodes(key: str) -> None:
    for mode in WriteMode:
        made = routing(WRITE, (key, mode.upper()))
        assert (made.write_mode, made.route, made.notices) == (mode, Route.PRIMARY, ())
        assert routing(READ, (key, mode)).route is Route.ANY
    assert routing(WRITE, ("twr", "async"), ("route", "sync")).write_mode is WriteMode.ASYNC
    assert routing(WRITE, ("twr", "some")).notices == ("hint twr must be sync, semisync, async, and has no effect",)
