"""Short Markov chains from draws that weights could not make exact."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float64, Int64

from covary import rng

_STEPS = 50
_SCALE = 2.38  # over √k: the best scale for normal targets, Roberts, Gelman and Gilks (1997)

LogDensity = Callable[[Float64[np.ndarray, "subject draw k"]], Float64[np.ndarray, "subject draw"]]


def metropolis(
    log_density: LogDensity,
    start: Float64[np.ndarray, "subject draw k"],
    *,
    seed: int,
    stream: str,
    numbers: Int64[np.ndarray, " subject"],
) -> Float64[np.ndarray, "subject draw k"]:
    """Random-walk Metropolis with a chain from each draw.

    The proposals of a subject have the spread of its draws. The chains of a subject are keyed by (seed,
    stream, its number).
    """
    _, draws, k = start.shape
    centred = start - start.mean(axis=1, keepdims=True)
    spread = np.einsum("sdi,sdj->sij", centred, centred) / draws
    ridge = 1e-9 * np.trace(spread, axis1=1, axis2=2)[:, None, None] + 1e-12
    factor = _SCALE / np.sqrt(k) * np.linalg.cholesky(spread + ridge * np.eye(k))
    normal = [rng.normal(seed, f"{stream}/step", int(i), int(i) + 1, (_STEPS, draws, k))[0] for i in numbers]
    uniform = [rng.uniform(seed, f"{stream}/accept", int(i), int(i) + 1, (_STEPS, draws))[0] for i in numbers]
    step = np.einsum("sij,stdj->tsdi", factor, np.stack(normal))
    log_u = np.moveaxis(np.log(np.stack(uniform)), 1, 0)
    at, value = start, log_density(start)
    for move, threshold in zip(step, log_u, strict=True):
        tried = at + move
        found = log_density(tried)
        accepted = threshold < found - np.maximum(value, -1e300)
        at, value = np.where(accepted[..., None], tried, at), np.where(accepted, found, value)
    return at
