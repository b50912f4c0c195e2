"""Who is primary, by evidence: every combination of what nodes can say."""

from __future__ import annotations

import itertools

import pytest

from helios.topology.elect import Observation, elect

REFUSED = "connection refused"


def primary(name: str, *, fresh: bool = True, timeline: int | None = None, system: str | None = "1") -> Observation:
    return Observation(
        name, reachable=True, fresh=fresh, in_recovery=False, timeline=timeline, system_identifier=system
    )


def standby(name: str, *, fresh: bool = True, system: str | None = "1") -> Observation:
    return Observation(name, reachable=True, fresh=fresh, in_recovery=True, system_identifier=system)


def lost(name: str, *, was_standby: bool = False) -> Observation:
    return Observation(name, reachable=False, fresh=False, in_recovery=was_standby, error=REFUSED)


def silent(name: str) -> Observation:
    return Observation(name, reachable=False, fresh=False)


def test_the_only_node_out_of_recovery_is_primary() -> None:
    outcome = elect([standby("a"), primary("b"), standby("c")])

    assert outcome.primary == "b"
    assert outcome.reason is None


def test_two_nodes_that_accept_writes_leave_no_primary_and_are_both_named() -> None:
    outcome = elect([primary("a", timeline=1), standby("b"), primary("c", timeline=2)])

    assert outcome.primary is None
    assert outcome.reason is not None
    assert "a (timeline 1) and c (timeline 2) all accept writes" in outcome.reason
    assert "clients wait" in outcome.reason


def test_two_primaries_of_different_systems_are_called_that() -> None:
    outcome = elect([primary("a", system="1"), primary("b", system="2")])

    assert outcome.primary is None
    assert "different database systems" in str(outcome.reason)


def test_a_primary_that_missed_one_poll_stays_primary() -> None:
    assert elect([primary("a", fresh=False), standby("b")]).primary == "a"


def test_a_fresh_claim_wins_over_one_that_was_not_repeated() -> None:
    assert elect([primary("a", fresh=False), primary("b")]).primary == "b"


def test_an_unreachable_primary_is_none() -> None:
    outcome = elect([lost("a"), standby("b")])

    assert outcome.primary is None
    assert outcome.reason == f"no node is primary: a cannot be asked ({REFUSED}), b is a standby"


def test_before_any_answer_the_reason_says_so() -> None:
    assert elect([silent("a")]).reason == "no node is primary: a has not answered yet"


def test_without_nodes_the_reason_says_so() -> None:
    assert elect([]).reason == "no node is configured and enabled"


def test_a_standby_made_by_another_initdb_is_a_stranger() -> None:
    assert elect([primary("a", system="1"), standby("b", system="2")]).strangers == frozenset({"b"})


@pytest.mark.parametrize(("of_primary", "of_standby"), [(None, "2"), ("1", None), ("1", "1"), (None, None)])
def test_nobody_is_a_stranger_without_proof(of_primary: str | None, of_standby: str | None) -> None:
    assert elect([primary("a", system=of_primary), standby("b", system=of_standby)]).strangers == frozenset()


KINDS = (
    primary("x"),
    primary("x", fresh=False),
    standby("x"),
    standby("x", fresh=False),
    lost("x"),
    lost("x", was_standby=True),
    silent("x"),
)


@pytest.mark.parametrize("kinds", list(itertools.product(range(len(KINDS)), repeat=3)))
def test_every_combination_of_three_nodes(kinds: tuple[int, int, int]) -> None:
    """One fresh claim wins, else one remembered claim; anything else is no primary, with a reason."""
    nodes = [_named(KINDS[kind], name) for kind, name in zip(kinds, "abc", strict=True)]
    fresh = [node.name for node in nodes if node.in_recovery is False and node.reachable and node.fresh]
    remembered = [node.name for node in nodes if node.in_recovery is False and node.reachable and not node.fresh]
    expected = (fresh or remembered) if len(fresh or remembered) == 1 else [None]

    outcome = elect(nodes)

    assert outcome.primary == expected[0]
    assert (outcome.reason is None) == (outcome.primary is not None)


def test_the_order_of_the_nodes_does_not_matter() -> None:
    for nodes in itertools.permutations([primary("a", fresh=False), primary("b"), lost("c")]):
        assert elect(nodes).primary == "b"


def _named(node: Observation, name: str) -> Observation:
    return Observation(
        name=name,
        reachable=node.reachable,
        fresh=node.fresh,
        in_recovery=node.in_recovery,
        timeline=node.timeline,
        system_identifier=node.system_identifier,
        error=node.error,
    )


def test_a_fenced_node_is_not_believed() -> None:
    fenced = Observation("a", reachable=True, fresh=True, in_recovery=False, timeline=1, fenced=True)

    assert elect([fenced, standby("b")]).primary is None
    assert "a is fenced" in str(elect([fenced, standby("b")]).reason)
    assert elect([fenced, primary("b", timeline=2)]).primary == "b"


def test_a_claim_on_an_earlier_timeline_than_a_standby_follows_is_outdated() -> None:
    ahead = Observation("b", reachable=True, fresh=True, in_recovery=True, timeline=2, system_identifier="1")
    outcome = elect([primary("a", timeline=1), ahead])

    assert outcome.primary is None
    assert outcome.rivals == {"a"}
    assert outcome.reason is not None
    assert "a accepts writes on timeline 1, but b follows timeline 2" in outcome.reason
    assert elect([primary("a", timeline=2), ahead]).primary == "a"


def test_rivals_are_those_of_one_database_system() -> None:
    assert elect([primary("a"), primary("b")]).rivals == {"a", "b"}
    assert elect([primary("a", system="1"), primary("b", system="2")]).rivals == frozenset()
