"""Settings of the phenotype profiles of cells."""

from pydantic import Field, model_validator

from covary.config.base import Positive, Section
from covary.config.vae import Family


class Phenotypes(Section):
    """The families of VAEs that are compared by how well they tell modes of action."""

    families: list[Family] = Field(
        ["beta_vae", "vae_gan", "sparse_vae", "sparse_vae_gan"],
        description="Families of VAEs that are trained side by side with the settings of `vae`, beside that "
        "of `vae.family` itself",
    )
    readback_draws: Positive = Field(
        2000, description="z drawn to measure how much of its latents can be read back from each family"
    )

    @model_validator(mode="after")
    def _families_differ(self):
        if len(set(self.families)) < len(self.families):
            raise ValueError(f"families must differ, got {', '.join(self.families)}")
        return self
