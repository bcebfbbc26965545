"""The comparison of payload shapes finds every kind of difference."""

import pytest

from tests.integration.paper_venue.shapes import differences


@pytest.mark.parametrize(
    ("real", "ours", "expected"),
    [
        ({"a": "0.5"}, {"a": "12"}, set()),
        ({"a": 1}, {"a": 0.5}, set()),
        ({"a": ""}, {"a": "words"}, set()),
        ({"a": [{"b": "1"}, {"b": "2"}]}, {"a": [{"b": "3"}]}, set()),
        ({"a": []}, {"a": ["anything"]}, set()),
        ({"a": 1}, {}, {"a: missing"}),
        ({}, {"a": 1}, {"a: added"}),
        ({"a": "1"}, {"a": 1}, {"a: decimal, ours number"}),
        (
            {"a": "1790272257"},
            {"a": "1790272257115"},
            {"a: epoch seconds, ours epoch milliseconds"},
        ),
        ({"a": {"b": ""}}, {"a": {"b": "0.5"}}, {"a.b: empty, ours decimal"}),
        ({"a": [{"b": None}]}, {"a": [{"b": True}]}, {"a[].b: null, ours boolean"}),
        ({"a": {}}, {"a": []}, {"a: object, ours list"}),
        ({"a": "0x" + "ab" * 32}, {"a": "0x" + "ab" * 20}, {"a: 32 bytes, ours address"}),
    ],
)
def test_a_difference_of_shape_is_found(real: object, ours: object, expected: set[str]) -> None:
    assert differences(real, ours) == expected
