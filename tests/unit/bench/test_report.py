"""What a benchmark says of the copies of a load."""

import pytest

from tools.bench.path import Confirmations
from tools.bench.report import describe_confirmations


@pytest.mark.parametrize(
    ("confirmations", "text"),
    [
        (Confirmations(confirmed=20, latency=None), ", 20 confirmed"),
        (
            Confirmations(confirmed=9, latency=None, unfilled={"quote_too_old": 3, "open": 1}),
            ", 9 confirmed, not filled: quote_too_old 3, open 1",
        ),
    ],
)
def test_copies_without_a_fill_are_named_with_their_reason(
    confirmations: Confirmations, text: str
) -> None:
    assert describe_confirmations(confirmations) == text
