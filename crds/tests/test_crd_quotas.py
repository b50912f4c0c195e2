"""Client connections of a TenantQuota over all HeliosProxies that refer to it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from helios_crds.quotas import Claim, claim_of, divide_clients

OLD, YOUNG = "2030-01-31T12:00:00Z", "2030-01-31T12:00:01Z"


def test_what_is_stated_is_kept_and_the_rest_is_spread() -> None:
    stated, first, second = Claim("a", OLD, 3, 10), Claim("b", OLD, 3, None), Claim("c", YOUNG, 7, None)

    assert divide_clients(100, [stated, first, second]) == {"a": 10, "b": 7, "c": 7}
    assert divide_clients(100, [first]) == {"b": 33}


def test_older_ones_go_first() -> None:
    old, young, coming = Claim("b", OLD, 3, 10), Claim("a", YOUNG, 3, 10), Claim("c", "", 3, None)

    assert divide_clients(59, [coming, young, old]) == {"b": 10, "c": 9}
    assert divide_clients(61, [coming, young, old]) == {"b": 10, "a": 10}
    assert divide_clients(2, [coming]) == {}
    # One that has pods already keeps what they have, also where it is refused more.
    assert divide_clients(59, [Claim("a", OLD, 6, 10, held=30), coming]) == {"c": 9}


def test_a_claim_is_for_the_most_pods_there_may_be() -> None:
    assert claim_of("a", {}, OLD) == Claim("a", OLD, 3, None)
    assert claim_of("a", {"replicas": 2}, OLD, present=5) == Claim("a", OLD, 6, None, held=6)
    scaled = {"replicas": 2, "autoscaling": {"maxReplicas": 9}, "limits": {"maxClientConnections": 4}}
    assert claim_of("a", scaled, OLD) == Claim("a", OLD, 10, 4)


claims = st.builds(
    Claim,
    st.text("abc", min_size=1),
    st.sampled_from([OLD, YOUNG, ""]),
    st.integers(1, 9),
    st.integers(1, 50) | st.none(),
)


@given(st.integers(1, 500), st.lists(claims, unique_by=lambda claim: claim.name))
def test_the_sum_is_never_exceeded(total: int, wanted: list[Claim]) -> None:
    shares = divide_clients(total, wanted)

    assert sum(shares[claim.name] * claim.pods for claim in wanted if claim.name in shares) <= total
    assert all(share >= 1 for share in shares.values())
