"""Compile a function of some lanes once, and run it over any number of them on every core.

A program works through blocks of lanes small enough for a core's cache, in a loop of its own, so that Python
is asked for once in thousands of lanes. One shape means one compiled program, whatever the number of
subjects. Lanes are independent: no result depends on the block, the chunk or the thread that computed it.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, wraps
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

# Small enough for a core's cache, large enough to vectorise.
_CPU_LANES, _CPU_BLOCKS = 64, 64
FEW = _CPU_LANES  # lanes so few that a call costs more than what they compute
# A GPU is fast with many lanes, but the last few subjects of a search need few.
_GPU_LANES = 1_024, 65_536

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


def lane_program(n_shared: int, static_argnums: tuple[int, ...] = ()) -> Callable:
    """Decorator: compile a function whose first `n_shared` arguments all lanes share.

    The others, and what it returns, are pytrees of arrays whose last axis is the lane; anything with a method
    `select(index)` chooses its lanes itself. The program takes three keywords more: `lanes` in a block,
    `blocks` in its arguments, and `n_blocks`, how many of them are to be computed. It is called by
    `map_lanes`.
    """

    def decorate(function):
        @wraps(function)
        def program(*arguments, n_blocks, lanes, blocks):
            inner = jax.jit(function, static_argnums=static_argnums)

            def block(i):
                index = i * lanes + jnp.arange(lanes)
                return inner(*arguments[:n_shared], *take(arguments[n_shared:], index))

            result = jax.tree.map(
                lambda part: jnp.zeros((*part.shape[:-1], lanes * blocks), part.dtype),
                jax.eval_shape(block, 0),
            )

            def put(i, result):
                return jax.tree.map(
                    lambda whole, part: jax.lax.dynamic_update_slice_in_dim(whole, part, i * lanes, -1),
                    result,
                    block(i),
                )

            return jax.lax.fori_loop(0, n_blocks, put, result)

        del program.__wrapped__  # whose signature lacks the keywords
        return jax.jit(
            program,
            static_argnums=static_argnums,
            static_argnames=("lanes", "blocks"),
            compiler_options=_COMPILER_OPTIONS,
        )

    return decorate


def map_lanes(
    program: Callable,
    n: int,
    select: Callable[[Int[np.ndarray, " lane"]], tuple],
    *,
    of: int | None = None,
) -> Any:
    """Run a `lane_program`, its shared arguments already bound, on lanes 0 … n - 1.

    `select(index)` gives the remaining arguments for some lanes. Returns the program's pytree as NumPy arrays
    with `n` lanes. Uses as many threads as OMP_NUM_THREADS says, by default one per core. `of` is the most
    lanes that the program will get, by default n: on a CPU one compiled program then serves any part of them.
    """
    lanes, blocks = _capacity(n, max(n, of or 0))
    threads = 1 if blocks == 1 else _threads()
    n_blocks = -(-n // lanes)
    n_chunks = max(-(-n_blocks // blocks), min(threads, n_blocks))
    chunks = np.array_split(np.arange(n_blocks), n_chunks)

    def run(chunk, n_blocks):
        index = chunk[0] * lanes + np.arange(lanes * blocks)
        return program(*select(np.minimum(index, n - 1)), n_blocks=n_blocks, lanes=lanes, blocks=blocks)

    if n_chunks == 1:
        parts = [run(chunks[0], n_blocks)]
    else:
        run(chunks[0], 0)  # compiles, so that the threads do not all compile the same
        parts = list(_pool(threads).map(run, chunks, map(len, chunks)))
    widths = [min(len(chunk) * lanes, n - chunk[0] * lanes) for chunk in chunks]
    return jax.tree.map(
        lambda *leaves: np.concatenate(
            [np.asarray(leaf)[..., :width] for leaf, width in zip(leaves, widths, strict=True)], axis=-1
        ),
        *parts,
    )


def take(tree: Any, index: Int[Any, " lane"]) -> Any:
    """Some of the lanes of a pytree, by index."""
    return jax.tree.map(
        lambda leaf: leaf.select(index) if hasattr(leaf, "select") else leaf[..., index],
        tree,
        is_leaf=lambda leaf: hasattr(leaf, "select"),
    )


def _capacity(n: int, most: int) -> tuple[int, int]:
    """Lanes in a block and blocks in a call for n of at most so many lanes, on the machine that JAX uses."""
    if jax.default_backend() == "cpu":
        return _CPU_LANES, 1 if most <= _CPU_LANES else _CPU_BLOCKS
    return next((lanes for lanes in _GPU_LANES if lanes >= n), _GPU_LANES[-1]), 1


def _threads() -> int:
    counted = getattr(os, "process_cpu_count", os.cpu_count)() or 1
    return max(1, int(os.environ.get("OMP_NUM_THREADS") or counted))


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads)
