"""Who may be promoted: whoever has everything that was acknowledged, or nobody."""

from __future__ import annotations

from dataclasses import replace

import pytest

from helios.config import PromotionPolicy
from helios.failover.candidate import Choice, Former, Refusal, Standby, choose
from helios.failover.synchronous import Synchronous, parse

SYNC, LAG, PRIORITY = PromotionPolicy.PREFER_SYNC, PromotionPolicy.LEAST_LAG, PromotionPolicy.PRIORITY


def former(synchronous: str) -> Former:
    return Former("a", "1", 3, None, 1000, parse(synchronous), ("b", "c", "d"))


def standby(name: str, received: int, **changes: object) -> Standby:
    rights = {"may_see": True, "may_promote": True, "may_configure": True}
    made = Standby(name, name, received, received, "1", 3, 3, 100, **rights)
    return replace(made, **changes)  # type: ignore[arg-type]  # a test names what it changes


def chosen(outcome: Choice | Refusal) -> str:
    assert isinstance(outcome, Choice), outcome
    return outcome.standby.name


def reason(outcome: Choice | Refusal) -> str:
    assert isinstance(outcome, Refusal), outcome
    return outcome.reason


def test_who_has_received_most_is_promoted_and_of_equals_the_policy_chooses() -> None:
    state = former("FIRST 1 (b)")
    ahead = [standby("b", 900), standby("c", 950)]
    equal = [standby("b", 900, replayed=800), standby("c", 900, priority=900), standby("d", 900, replayed=800)]

    # It could not follow one that has less.
    assert [chosen(choose(state, ahead, policy)) for policy in (SYNC, LAG, PRIORITY)] == ["c"] * 3
    assert [chosen(choose(state, equal, policy)) for policy in (SYNC, LAG, PRIORITY)] == ["b", "c", "c"]
    assert chosen(choose(state, equal, SYNC, only="d")) == "d"


@pytest.mark.parametrize(
    ("synchronous", "heard", "is_enough"),
    [
        ("FIRST 1 (b)", "c", False),
        ("FIRST 1 (b)", "b", True),
        ("ANY 1 (b, c)", "b", False),
        ("ANY 1 (b, c)", "bc", True),
        ("ANY 2 (b, c, d)", "bc", True),
        ("ANY 2 (b, c, d)", "b", False),
        ("FIRST 2 (b, c)", "c", True),
        ("*", "bc", False),
        ("*", "bcd", True),
        ("2 (*)", "bc", True),
        ("", "d", True),
    ],
)
def test_so_many_are_heard_that_one_has_every_acknowledged_commit(
    synchronous: str, heard: str, is_enough: bool
) -> None:
    outcome = choose(former(synchronous), [standby(name, 900) for name in heard], SYNC)

    assert isinstance(outcome, Choice) is is_enough


def test_others_than_its_own_cluster_and_timeline_are_refused() -> None:
    state = former("")

    assert "another database system" in reason(choose(state, [standby("b", 900, system_identifier="2")], SYNC))
    assert "is on timeline 2" in reason(choose(state, [standby("b", 900, timeline=2)], SYNC))
    assert "is not known" in reason(choose(state, [standby("b", 900, system_identifier=None)], SYNC))
    assert "pg_monitor" in reason(choose(state, [standby("b", 900, may_see=False)], SYNC))
    assert "pg_promote" in reason(choose(state, [standby("b", 900, may_promote=False)], SYNC))
    assert "ALTER SYSTEM" in reason(choose(state, [standby("b", 900, may_configure=False)], SYNC))
    assert "never" in reason(choose(state, [standby("b", 900)], PromotionPolicy.NEVER))
    assert "no standby answers" in reason(choose(state, [], SYNC))
    assert "d has not received as much" in reason(choose(state, [standby("b", 900)], SYNC, only="d"))


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("", Synchronous()),
        ('s1, "S 2"', Synchronous(1, ("s1", "S 2"))),
        ("2 (s1, s2)", Synchronous(2, ("s1", "s2"))),
        ("first 1 (*)", Synchronous(1, ("*",))),
        ('ANY 2 (s1,"a""b", s3)', Synchronous(2, ("s1", 'a"b', "s3"), is_any=True)),
    ],
)
def test_the_setting_is_read_as_postgresql_does(text: str, read: Synchronous) -> None:
    assert parse(text) == read
    assert parse(str(read)) == read


def test_the_new_primary_waits_for_those_that_are_left() -> None:
    assert parse("FIRST 1 (b)").after("b", ["b", "c"]) == parse("FIRST 1 (c)")
    assert parse("ANY 1 (b, c)").after("b", ["b", "c", "d"]) == parse("ANY 1 (c)")
    assert parse("ANY 2 (b, c)").after("b", ["b", "c", "d"]) == parse("ANY 2 (c, d)")
    assert parse("FIRST 2 (b, c)").after("b", ["b", "c"]) == parse("FIRST 1 (c)")
    assert parse("FIRST 1 (b)").after("b", ["b"]) == Synchronous(0, ())
    assert str(parse("ANY 2 (*)").after("b", ["b", "c"])) == "ANY 1 (*)"


def test_commits_wait_for_more_again_when_standbys_come_back() -> None:
    wanted = parse("ANY 1 (b, c)")
    present = wanted.after("b", ["b", "c"])

    assert present.is_narrower(wanted)
    assert present.widened(wanted, ["c"]) == present
    assert present.widened(wanted, ["c", "a"]) == parse("ANY 1 (c, a)")
    assert not parse("ANY 1 (c, a)").is_narrower(wanted)
    # Nobody was left; and more than were wanted are not waited for.
    assert Synchronous().widened(parse("FIRST 1 (b)"), ["a"]) == parse("FIRST 1 (a)")
    assert parse("FIRST 1 (c)").widened(parse("FIRST 2 (b, c)"), ["c", "a", "d"]) == parse("FIRST 2 (c, a)")
    assert parse("ANY 1 (*)").widened(parse("ANY 2 (*)"), ["c", "a"]) == parse("ANY 2 (*)")
    assert Synchronous().widened(parse("*"), ["a"]) == parse("*")
    assert not parse("FIRST 1 (c)").is_narrower(parse("FIRST 1 (b)"))


def test_one_that_has_followed_since_it_was_last_seen_is_taken_if_it_has_all_that_the_timeline_began_with() -> None:
    ours = replace(former("FIRST 1 (b)"), began_at=800)
    foreign = replace(ours, began_at=None)
    followed = standby("b", 900, timeline=2, known_timeline=3)

    assert chosen(choose(ours, [followed], SYNC)) == "b"
    assert "is on timeline 2" in reason(choose(foreign, [followed], SYNC))
    assert "is on timeline 2" in reason(choose(ours, [replace(followed, known_timeline=2)], SYNC))
    assert "is on timeline 2" in reason(choose(ours, [replace(followed, known_timeline=4)], SYNC))
    # What it had been sent again from the beginning of a segment on is less than what there was.
    assert "has not received all" in reason(choose(ours, [standby("b", 700)], SYNC))
