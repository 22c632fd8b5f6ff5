import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from covary.report.comparisons import compared, direction


def plain(text):
    return text.replace("\u00a0", " ")


@given(st.floats(-1, 1), st.floats(0, 1))
def test_a_direction_needs_an_interval_without_0(low, width):
    high = low + width
    assert int(direction(low, high)) == (1 if low > 0 else -1 if high < 0 else 0)


def differences(*ends):
    rows = [(v, (low + high) / 2, low, high) for v, (low, high) in enumerate(ends)]
    return pd.DataFrame(rows, columns=["noise_variance", "difference", "low", "high"])


@pytest.mark.parametrize(
    "ends, text",
    [
        ([(0.1, 0.3), (0.2, 0.4)], "a beats b at σ² = 0 and 1 (score higher by 0.20 and 0.30)"),
        (
            [(0.1, 0.3), (-0.1, 0.2)],
            "a beats b at σ² = 0 (score higher by 0.20); they cannot be told apart at σ² = 1",
        ),
        ([(-0.3, -0.1)], "b beats a at σ² = 0 (score higher by 0.20)"),
        ([(-0.3, 0.0), (0.0, 0.5)], "a and b cannot be told apart at σ² = 0 and 1"),
    ],
)
def test_one_sentence_says_who_is_better_where(ends, text):
    sentence = compared("a", "b", differences(*ends), relation="beats", measure="score higher", digits=2)
    assert plain(sentence) == text


def test_directions_of_rows():
    np.testing.assert_array_equal(
        direction(pd.Series([0.1, -0.1, -0.3]), pd.Series([0.2, 0.1, -0.2])), [1, 0, -1]
    )
