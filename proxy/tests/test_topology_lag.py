"""Lag of a standby from the positions of its primary as this proxy saw them."""

from __future__ import annotations

from helios.topology.lag import Lag, WalHistory


def history(*samples: tuple[float, int]) -> WalHistory:
    made = WalHistory()
    for at, position in samples:
        made.add(at, position)
    return made


def test_a_standby_that_replayed_everything_has_no_lag() -> None:
    assert history((0.0, 100)).lag(5.0, 100, fallback_ms=5000.0) == Lag(0, 0.0)


def test_a_standby_ahead_of_the_last_known_position_has_no_lag() -> None:
    assert history((0.0, 100)).lag(5.0, 130, fallback_ms=None) == Lag(0, 0.0)


def test_lag_counts_from_the_first_position_that_was_not_replayed() -> None:
    seen = history((0.0, 100), (1.0, 200), (2.0, 300))

    assert seen.lag(3.0, 150, fallback_ms=99_999.0) == Lag(150, 2000.0)


def test_an_idle_primary_that_writes_again_does_not_make_hours_of_lag() -> None:
    seen = history((0.0, 100), (3600.0, 110))

    assert seen.lag(3600.5, 100, fallback_ms=3_600_500.0) == Lag(10, 500.0)


def test_lag_older_than_the_history_is_what_the_standby_says() -> None:
    assert history((10.0, 500)).lag(11.0, 100, fallback_ms=60_000.0) == Lag(400, 60_000.0)


def test_without_a_primary_bytes_are_unknown() -> None:
    assert WalHistory().lag(1.0, 100, fallback_ms=0.0) == Lag(None, 0.0)


def test_a_new_primary_starts_a_new_history() -> None:
    seen = history((0.0, 1_000))
    seen.clear()
    seen.add(1.0, 100)

    assert seen.lag(2.0, 100, fallback_ms=None) == Lag(0, 0.0)
