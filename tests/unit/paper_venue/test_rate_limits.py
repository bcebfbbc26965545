"""Every signer has two buckets that refill; headers report what remains."""

from hypothesis import given
from hypothesis import strategies as st

from services.paper_venue.clob.rate_limits import STANDARD, Bucket, RateLimits

NOW_MS = 1_790_000_000_000


def test_a_full_bucket_holds_its_burst() -> None:
    limits = RateLimits()

    charge = limits.charge("0xA", Bucket.ORDER, 15, now_ms=NOW_MS)

    assert charge.headers() == {"Poly-RateLimit-Remaining": "45", "Poly-RateLimit-Tier": "standard"}
    assert limits.charge("0xB", Bucket.ORDER, 1, now_ms=NOW_MS).remaining == 59
    assert limits.charge("0xA", Bucket.CANCEL, 1, now_ms=NOW_MS).remaining == 119


def test_a_batch_over_the_limit_takes_no_tokens_and_gets_a_warning() -> None:
    limits = RateLimits()
    limits.charge("0xA", Bucket.ORDER, 50, now_ms=NOW_MS)

    refused = limits.charge("0xA", Bucket.ORDER, 15, now_ms=NOW_MS)

    assert refused.is_over_limit
    assert refused.headers() == {
        "Poly-RateLimit-Remaining": "10",
        "Poly-RateLimit-Tier": "standard",
        "Poly-RateLimit-Reset": str(NOW_MS // 1000 + 1),
        "Poly-RateLimit-Warning": "true",
    }
    assert limits.charge("0xA", Bucket.ORDER, 10, now_ms=NOW_MS).remaining == 0


def test_a_bucket_refills_at_its_rate() -> None:
    limits = RateLimits()
    limits.charge("0xA", Bucket.ORDER, 60, now_ms=NOW_MS)

    assert limits.charge("0xA", Bucket.ORDER, 1, now_ms=NOW_MS + 500).remaining == 19
    assert limits.charge("0xA", Bucket.ORDER, 1, now_ms=NOW_MS + 60_000).remaining == 59


def test_a_cancel_all_of_many_orders_overdraws_the_bucket() -> None:
    limits = RateLimits()

    assert limits.charge_afterwards("0xA", Bucket.CANCEL, 200, now_ms=NOW_MS).remaining == -80
    assert limits.charge("0xA", Bucket.CANCEL, 1, now_ms=NOW_MS).is_over_limit


@given(st.lists(st.tuples(st.integers(0, 2_000), st.integers(1, 70)), max_size=40))
def test_no_more_is_admitted_than_the_burst_and_the_refill(
    requests: list[tuple[int, int]],
) -> None:
    limits, now_ms, admitted = RateLimits(), NOW_MS, 0
    for elapsed_ms, cost in requests:
        now_ms += elapsed_ms
        admitted += (
            0 if limits.charge("0xA", Bucket.ORDER, cost, now_ms=now_ms).is_over_limit else cost
        )

    assert admitted * 1_000 <= STANDARD.burst[Bucket.ORDER] * 1_000 + STANDARD.per_second[
        Bucket.ORDER
    ] * (now_ms - NOW_MS)
