"""Counterfactuals: does a random effect change what is read of it in the image, and nothing else?

Only then does the effect alone drive a difference between two images of one subject.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from covary.config.generator import Sampling
from covary.dataset.latents import Latents
from covary.diffusion import ImageGenerator, generate
from covary.quality.features import read_back
from covary.resampling import Resamples, percentile_interval

_SHIFT_SD = 2.0  # from -1 to 1 standard deviation


def counterfactuals(
    generator: ImageGenerator,
    latents: Latents,
    random_effects: Sequence[str],
    n: int,
    sampling: Sampling,
    seed: int,
    resamples: int = 1000,
) -> pd.DataFrame:
    """How far each reading moves when one random effect moves by 2 standard deviations.

    `random_effects` names those of `latents`. Two images of each of `n` subjects
    are drawn per random effect. They have the same noise and the same z, but for the latent that goes from
    -1 to 1. Readings are posterior means of the generator's VAE.

    One row per moved and read effect, with a 95 % bootstrap interval over subjects: moved, by (standard
    deviations), read, n, shift, low, high, and largest, the shift of largest size among subjects.
    """
    z = latents.draw(seed, "counterfactual", 0, n)
    chosen = latents.random_effects
    some = Resamples(n, seed=seed, resamples=resamples)
    tables = []
    for latent, name in zip(chosen, random_effects, strict=True):
        readings = []
        for value in (-0.5 * _SHIFT_SD, 0.5 * _SHIFT_SD):
            moved = z.copy()
            moved[:, latent] = value
            images = generate(generator, moved, np.arange(n), sampling, seed)
            readings.append(read_back(generator.vae, images)[:, chosen].astype(np.float64))
        shift = readings[1] - readings[0]
        low, high = percentile_interval(some.means(shift))
        largest = np.take_along_axis(shift, np.abs(shift).argmax(axis=0)[None], axis=0)[0]
        columns = {"shift": shift.mean(axis=0), "low": low, "high": high, "largest": largest}
        tables.append(
            pd.DataFrame({"moved": name, "by": _SHIFT_SD, "read": list(random_effects), "n": n, **columns})
        )
    return pd.concat(tables, ignore_index=True)
