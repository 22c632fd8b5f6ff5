"""Settings of the gates, at which a run stops whose images do not carry the random effects."""

from pydantic import Field

from covary.config.base import Fraction, Positive, Section


class Gates(Section):
    """How much of each random effect must be readable before the run goes on."""

    vae: Fraction | None = Field(
        0.5,
        description="The run stops after the VAE if less of some random effect (R²) can be read back from "
        "decodings; null goes on regardless",
    )
    generator: Fraction | None = Field(
        0.5,
        description="The run stops after the generator if less of some random effect (R²) can be read "
        "back from generated images; null goes on regardless",
    )
    images: Positive = Field(256, description="Images drawn for the gate of the generator")
