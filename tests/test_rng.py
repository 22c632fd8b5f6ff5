from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest

from covary import rng


@given(
    st.integers(0, 2**32), st.integers(0, 10_000), st.lists(st.integers(0, 9), max_size=5), st.integers(1, 9)
)
def test_any_split_into_ranges_gives_the_same_numbers(seed, start, lengths, numbers):
    stops = start + np.cumsum([0, *lengths])
    whole = rng.normal(seed, "z", start, int(stops[-1]), (numbers,))
    parts = [rng.normal(seed, "z", int(a), int(b), (numbers,)) for a, b in pairwise(stops)]
    assert np.array_equal(np.concatenate([whole[:0], *parts]), whole)


def test_streams_differ_by_seed_name_and_subject():
    base = rng.normal(1, "z", 0, 2, (4,))
    assert not np.isclose(base[0], base[1]).any()
    assert not np.isclose(base, rng.normal(2, "z", 0, 2, (4,))).any()
    assert not np.isclose(base, rng.normal(1, "r", 0, 2, (4,))).any()


def test_subjects_do_not_share_numbers():
    draws = rng.uniform(3, "z", 0, 5000, (3, 2))
    assert len(np.unique(draws)) == draws.size


def test_draws_are_standard_normal_and_uncorrelated():
    draws = rng.normal(7, "z", 0, 20_000, (3,))
    assert kstest(draws.ravel(), "norm").pvalue > 1e-3
    assert np.abs(np.corrcoef(draws.T) - np.eye(3)).max() < 0.03


def test_golden_value_guards_published_datasets():
    assert rng.normal(20241, "z", 0, 1, (2,))[0] == pytest.approx(
        [1.1171768054328106, -0.47251315928884763], abs=1e-15
    )


def test_generators_and_keys_are_reproducible():
    assert rng.generator(1, "a", 2).random() == rng.generator(1, "a", 2).random()
    assert rng.generator(1, "a", 2).random() != rng.generator(1, "a", 3).random()
    assert 0 <= rng.stream_key(1, "a") < 2**63


def test_a_negative_range_is_refused():
    with pytest.raises(ValueError, match="0 ≤ start ≤ stop"):
        rng.normal(1, "z", 5, 3, (1,))
