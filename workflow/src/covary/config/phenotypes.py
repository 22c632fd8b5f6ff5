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
    sparsity: Sparsity | None = Field(
        None, description="Spike-and-slab prior of sparse families beside `vae.family`; null: that of `vae`"
    )
    adversary: Adversary | None = Field(
        None, description="Discriminator of families beside `vae.family`; null: that of `vae`"
    )
    orientations: Literal[1, 4, 8] = Field(
        4,
        description="Images of each cell over which its features are averaged: 1, as it lies (paper); 4, in "
        "turns of a right angle; 8, these also mirrored",
    )
    readback_draws: Positive = Field(
        2000, description="z drawn to measure how much of its latents can be read back from each family"
    )

    def without_effect(self) -> dict[str, str]:
        """Settings of kinds of families that are not compared."""
        why = f"with families {', '.join(self.families)}"
        has = {
            "sparsity": any(family.startswith("sparse") for family in self.families),
            "adversary": any(family.endswith("gan") for family in self.families),
        }
        return {name: why for name, used in has.items() if not used}

    @model_validator(mode="after")
    def _families_differ(self):
        if len(set(self.families)) < len(self.families):
            raise ValueError(f"families must differ, got {', '.join(self.families)}")
        return self
