import math

import pytest

from covary.jobs.parallel import ordered_map


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_order_of_the_items(workers):
    assert list(ordered_map(math.isqrt, range(300), workers, "roots")) == [math.isqrt(k) for k in range(300)]


@pytest.mark.parametrize("workers", [1, 2])
def test_an_exception_in_a_worker_is_raised_here(workers):
    with pytest.raises(ValueError, match="nonneg"):
        list(ordered_map(math.isqrt, [4, 9, -1, 16], workers, "roots"))


def test_no_items_give_no_results():
    assert list(ordered_map(math.isqrt, [], 2, "roots")) == []
