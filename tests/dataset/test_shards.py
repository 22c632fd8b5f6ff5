from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covary.dataset.shards import partition


@given(st.integers(1, 10**7), st.integers(1, 10**5).filter(lambda n: n > 50))
def test_shards_cover_every_subject_once_and_only_the_last_is_short(n_subjects, shard_subjects):
    shards = partition(n_subjects, shard_subjects)
    assert [s.index for s in shards] == list(range(len(shards)))
    assert shards[0].start == 0 and shards[-1].stop == n_subjects
    assert all(a.stop == b.start for a, b in pairwise(shards))
    assert all(len(s) == shard_subjects for s in shards[:-1]) and 1 <= len(shards[-1]) <= shard_subjects


@pytest.mark.parametrize(("n_subjects", "shard_subjects"), [(0, 1), (1, 0)])
def test_empty_shards_are_refused(n_subjects, shard_subjects):
    with pytest.raises(ValueError, match="at least 1"):
        partition(n_subjects, shard_subjects)
