"""Settings of the phenotype profiles of cells."""

from typing import Literal

from pydantic import Field, model_validator

from covary.config.base import Positive, Section
from covary.config.vae import Adversary, Family, Sparsity


class Phenotypes(Section):
    """The families of VAEs that are compared by how well they tell modes of action."""

    families: list[Family] = Field(
        ["beta_vae", "vae_gan", "sparse_vae", "sparse_vae_gan"],
        description="Families of VAEs that are trained side by side with the settings of `vae`, beside that "
        "of `vae.family` itself",
    )
    sparsity: Sparsity = Field(
        default_factory=Sparsity,
        description="Spike-and-slab prior of the sparse families, but for that of `vae.family`",
    )
    adversary: Adversary = Field(
        default_factory=Adversary,
        description="Discriminator of the families with one, but for that of `vae.family`",
    )
    orientations: Literal[1, 4, 8] = Field(
        4,
        description="Images of each cell over which its features are averaged: 1, as it lies (paper); 4, in "
        "turns of a right angle; 8, these also mirrored",
    )
    readback_draws: Positive = Field(
        2000, description="z drawn to measure how much of its latents can be read back from each family"
    )

    @model_validator(mode="after")
    def _families_differ(self):
        if len(set(self.families)) < len(self.families):
            raise ValueError(f"families must differ, got {', '.join(self.families)}")
        return self
