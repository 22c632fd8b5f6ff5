"""Stop the run if the random effects cannot be read back from generated images."""

from pathlib import Path

import numpy as np
import pandas as pd

from covary import diffusion, gates, quality
from covary.config.gates import Gates
from covary.config.generator import Sampling
from covary.dataset.latents import Latents
from covary.jobs.run import run


def check_generator(
    ranking: Path,
    latents: Path,
    generator: Path,
    table: Path,
    random_effects: list[str],
    settings: Gates,
    sampling: Sampling,
    seed: int,
) -> None:
    """Draw a few images, and write what can be read back of each random effect, if it is enough."""
    network = diffusion.ImageGenerator.load(generator)
    ranked = pd.read_csv(ranking)
    z = Latents.read(latents).draw(seed, "gate", 0, settings.images)
    drawn = diffusion.generate(network, z, np.arange(settings.images), sampling, seed)
    r2 = quality.readback_r2(z, quality.read_back(network.vae, drawn))
    shares = gates.readable_shares(ranked, random_effects, r2)
    gates.pass_through(gates.GENERATOR, shares, settings.generator)
    shares.to_csv(table, index=False)


if __name__ == "__main__":
    run(check_generator)
