"""Run a compiled function over many lanes, in blocks of one shape.

One block shape means one compiled program, whatever the number of subjects; the last block is filled with
repeats. Lanes are independent, so no result depends on the block it was computed in.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
from jaxtyping import Int

# Small enough for a core's cache, large enough to vectorise; a GPU wants all the lanes it can get.
CPU_LANES, GPU_LANES = 64, 65_536

# Fused multiply-add and sums in any order, but NaN, infinity, division and functions as IEEE has them: twice
# the speed on CPUs with wide vectors. Other backends ignore it.
_COMPILER_OPTIONS = {
    "xla_cpu_enable_fast_math": True,
    "xla_cpu_fast_math_honor_nans": True,
    "xla_cpu_fast_math_honor_infs": True,
    "xla_cpu_fast_math_honor_division": True,
    "xla_cpu_fast_math_honor_functions": True,
    "xla_cpu_prefer_vector_width": 512,
}

jit = partial(jax.jit, compiler_options=_COMPILER_OPTIONS)


def lanes_per_block() -> int:
    """Lanes in a block on the machine that JAX uses."""
    return CPU_LANES if jax.default_backend() == "cpu" else GPU_LANES


def map_lanes(function: Callable[[Int[np.ndarray, " lane"]], Any], n: int) -> Any:
    """`function(index)` for blocks of lane indices that cover 0 … n - 1, put together along the last axis.

    `function` gets a full block of indices each time and returns a pytree of arrays whose last axis is the
    lane.
    """
    width = lanes_per_block()
    index = np.arange(-(-n // width) * width)
    index[n:] = n - 1
    parts = [function(block) for block in index.reshape(-1, width)]
    return jax.tree.map(lambda *leaves: np.concatenate(leaves, axis=-1)[..., :n], *parts)
