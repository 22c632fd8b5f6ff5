"""Counter-based random streams keyed by (seed, stream name, subject).

A draw is a pure function of its key. Results therefore do not depend on how subjects are divided into
jobs, shards or batches, nor on the order in which these run.
"""

import hashlib
import math

import numpy as np
from jaxtyping import Float, Float64
from scipy.special import ndtri

_WORDS_PER_COUNTER = 4  # one Philox 4x64 counter step yields four 64-bit words


def stream_key(seed: int, name: str, index: int = 0) -> int:
    """A 63-bit integer that identifies one stream, for libraries that take an integer seed."""
    return int.from_bytes(_digest(seed, name, index)[:8], "little") >> 1


def generator(seed: int, name: str, index: int = 0) -> np.random.Generator:
    """A NumPy generator for the key `(seed, name, index)`; the index is, for example, a step or a file."""
    key = np.frombuffer(_digest(seed, name, index)[:16], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key))


def uniform(
    seed: int, name: str, start: int, stop: int, shape: tuple[int, ...]
) -> Float64[np.ndarray, "subject ..."]:
    """Uniform draws on the open interval (0, 1) for the subjects `start … stop - 1`.

    Subject i has the counters [i·b, (i+1)·b) with b = ⌈prod(shape)/4⌉. A range of subjects therefore gets the
    same numbers as the same subjects drawn one by one.

    Returns an array of shape (stop - start, *shape). Raises ValueError if start is negative or after stop.
    """
    if not 0 <= start <= stop:
        raise ValueError(f"subjects must be a range 0 ≤ start ≤ stop, got {start} … {stop}")
    numbers = math.prod(shape)
    counters = -(-numbers // _WORDS_PER_COUNTER)
    key = np.frombuffer(_digest(seed, name, 0)[:16], dtype=np.uint64)
    bits = np.random.Philox(key=key, counter=start * counters)
    words = bits.random_raw((stop - start) * counters * _WORDS_PER_COUNTER)
    words = words.reshape(stop - start, counters * _WORDS_PER_COUNTER)[:, :numbers]
    return ((words >> np.uint64(11)).astype(np.float64) + 0.5).reshape(stop - start, *shape) * 2.0**-53


def normal(
    seed: int, name: str, start: int, stop: int, shape: tuple[int, ...]
) -> Float64[np.ndarray, "subject ..."]:
    """Standard normal draws for the subjects `start … stop - 1`, by inversion of `uniform`."""
    return ndtri(uniform(seed, name, start, stop, shape))


def latents(
    seed: int, name: str, start: int, stop: int, open_share: Float[np.ndarray, "... latent"]
) -> Float64[np.ndarray, "subject ... latent"]:
    """Latent vectors of the subjects `start … stop - 1`: N(0, 1), and 0 where a gate is closed.

    The gate of each latent is open with the probability `open_share`: 1 under a Gaussian prior, α under a
    spike-and-slab one.
    """
    z = normal(seed, name, start, stop, open_share.shape)
    if (open_share < 1).any():
        z = z * (uniform(seed, f"{name}/gates", start, stop, open_share.shape) < open_share)
    return z


def _digest(seed: int, name: str, index: int) -> bytes:
    return hashlib.sha256(f"{seed}/{name}/{index}".encode()).digest()
