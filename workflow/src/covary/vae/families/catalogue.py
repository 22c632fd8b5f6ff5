"""The families of image VAEs: a prior with its posterior, and whether there is an adversary.

The architecture is another choice, `vae.architecture`. CytoVAE, SparseVAE, CytoVAEGAN and SparseVAEGAN of
paper 003 are these four with the architecture `cyto`.
"""

from typing import NamedTuple

from covary.vae.families.beta import Gaussian, GaussianPosterior
from covary.vae.families.spike_slab import SpikeSlab, SpikeSlabPosterior

Posterior = GaussianPosterior | SpikeSlabPosterior
Prior = Gaussian | SpikeSlab


class Family(NamedTuple):
    """What a value of `vae.family` stands for."""

    posterior: str  # a key of POSTERIORS
    prior: type[Prior]
    has_adversary: bool


POSTERIORS: dict[str, type[Posterior]] = {
    "gaussian": GaussianPosterior,
    "spike_and_slab": SpikeSlabPosterior,
}
FAMILIES = {
    "beta_vae": Family("gaussian", Gaussian, has_adversary=False),
    "vae_gan": Family("gaussian", Gaussian, has_adversary=True),
    "sparse_vae": Family("spike_and_slab", SpikeSlab, has_adversary=False),
    "sparse_vae_gan": Family("spike_and_slab", SpikeSlab, has_adversary=True),
}
